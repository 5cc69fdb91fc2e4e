"""Results of a comparison: every peer's measurements and ratios, as bench.json and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from reasonir.benchmarking.base import FirstStep
from reasonir.errors import InputError
from reasonir.utils.table import TEXT, Table

_TOLERANCES = {"32-true": (2e-3, 3e-2), "bf16-mixed": (2e-2, 0.15), "16-mixed": (2e-2, 0.15)}
"""Relative tolerances of loss and gradient norm by precision: in 16 bits peers score in different types."""
_BASELINE = "uncached"


@dataclass(frozen=True, slots=True)
class Step:
    """The compared step.

    Attributes:
        name: name of the workload.
        texts: number of queries and documents, or of pairs.
        tokens: tokens after truncation, without padding.
        operations: useful operations (see `reasonir.benchmarking.flops`).
        precision: precision of the hardware profile.
        device: name of the device.
        peak_operations: the device's peak operations per second; None if unknown.
    """

    name: str
    texts: int
    tokens: int
    operations: float
    precision: str
    device: str
    peak_operations: float | None


@dataclass(frozen=True, slots=True)
class PeerResult:
    """A peer's first step, seconds of every timed step, and peak GiB above the model."""

    first_step: FirstStep
    seconds: tuple[float, ...]
    peak_gib: float


def refuse_disagreement(timed: Mapping[str, PeerResult], precision: str) -> None:
    """Raise if another peer's loss or gradient norm differs from the first one's.

    Raises:
        InputError: naming both peers and values.
    """
    (first, expected), *others = timed.items()
    for name, other in others:
        for quantity, reference, value, tolerance in zip(
            ("loss", "gradient norm"),
            (expected.first_step.loss, expected.first_step.gradient),
            (other.first_step.loss, other.first_step.gradient),
            _TOLERANCES[precision],
            strict=True,
        ):
            if not abs(reference - value) <= tolerance * abs(reference):  # NaN fails too
                raise InputError(
                    f"{first} and {name} don't compute the same: {quantity} {reference:.6g} and {value:.6g}: their "
                    "times aren't comparable"
                )


def report(step: Step, timed: Mapping[str, PeerResult], left_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of bench.json: measurements, ratios of the first peer to the others, and to the uncached.

    Args:
        step: the compared step.
        timed: results by peer.
        left_out: peers that ran out of memory.
    """
    peers = {name: _figures(step, result) for name, result in timed.items()}
    first, *others = peers
    document: dict[str, Any] = {
        "texts": step.texts,
        "tokens": step.tokens,
        "operations": step.operations,
        "precision": step.precision,
        "device": step.device,
        "peak_operations": step.peak_operations,
        "peers": peers,
        "left_out": list(left_out),
        "ratios": {other: _over(peers[first], peers[other]) for other in others},
    }
    if _BASELINE in peers:
        document["over_uncached"] = {
            name: _over(figures, peers[_BASELINE]) for name, figures in peers.items() if name != _BASELINE
        }
    return {"workloads": {step.name: document}}


def _figures(step: Step, result: PeerResult) -> dict[str, Any]:
    seconds, first_step = median(result.seconds), result.first_step
    figures = {
        "step_s": seconds,
        "step_s_min": min(result.seconds),
        "step_s_max": max(result.seconds),
        "texts_per_s": step.texts / seconds,
        "tokens_per_s": step.tokens / seconds,
        "peak_bytes": int(result.peak_gib * 2**30),
        "padding": 1 - step.tokens / first_step.positions,
        "forward_tokens_per_real": first_step.forward_positions / step.tokens,
        "loss": first_step.loss,
        "gradient_norm": first_step.gradient,
        "seconds": list(result.seconds),
    }
    if step.peak_operations:
        figures["mfu"] = step.operations / seconds / step.peak_operations
    return figures


def _over(figures: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    return {key: figures[key] / other[key] for key in ("step_s", "peak_bytes") if other[key]}


def tables(workloads: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Yield the table of each workload in the content of bench.json."""
    for name, found in workloads.items():
        stated = (found[key] for key in ("texts", "tokens", "operations", "precision", "device", "peak_operations"))
        note = f"Out of memory: {', '.join(found['left_out'])}" if found["left_out"] else ""
        yield replace(table(Step(name, *stated), found["peers"]), note=note)


def table(step: Step, peers: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of step times, rates, peak memory above the model and padding."""
    first = next(iter(peers.values()))
    columns = {
        "peer": TEXT,
        "step": "{:.3f} s",
        "min max": "{0[0]:.3f} {0[1]:.3f}",
        "times the first": "{:.2f}",
        "texts/s": "{:,.1f}",
        "tokens/s": "{:,.0f}",
        "peak above": "{:.2f} GiB",
        "padding": "{:.1%}",
        "forward/real": "{:.2f}",
        **({"MFU": "{:.1%}"} if step.peak_operations is not None else {}),
        "loss": "{:.5f}",
    }
    rows = [
        [
            name,
            figures["step_s"],
            (figures["step_s_min"], figures["step_s_max"]),
            figures["step_s"] / first["step_s"],
            figures["texts_per_s"],
            figures["tokens_per_s"],
            figures["peak_bytes"] / 2**30,
            figures["padding"],
            figures["forward_tokens_per_real"],
            *([figures["mfu"]] if "MFU" in columns else []),
            figures["loss"],
        ]
        for name, figures in peers.items()
    ]
    title = f"One training step: {step.name}, {step.texts:,} texts, {step.tokens:,} tokens, {step.precision}"
    return Table(title, columns, rows)
