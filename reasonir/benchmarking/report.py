"""What a race says: every peer's figures, ours over each peer's, as bench.json and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from reasonir.benchmarking.base import Checked
from reasonir.errors import InputError
from reasonir.utils.table import TEXT, Table

_TOLERANCES = {"32-true": (2e-3, 3e-2), "bf16-mixed": (2e-2, 0.15), "16-mixed": (2e-2, 0.15)}
"""How far loss and gradient norm may be from ours, as shares: in 16 bits everybody scores in other types."""
_BASELINE = "plain"


@dataclass(frozen=True, slots=True)
class Step:
    """What all peers were given.

    Attributes:
        name: of the workload.
        texts: queries and documents, or pairs.
        tokens: the real ones of all of them, as they are cut.
        operations: what is useful of them (see `reasonir.benchmarking.flops`).
        precision: that of the hardware profile.
        device: what computes.
        peak_operations: of the device a second, on a CPU those of its matrix products; None where nobody knows them.
    """

    name: str
    texts: int
    tokens: int
    operations: float
    precision: str
    device: str
    peak_operations: float | None


@dataclass(frozen=True, slots=True)
class Timed:
    """What a peer did: its first step, seconds of every timed one, peak GiB above the model."""

    checked: Checked
    seconds: tuple[float, ...]
    peak_gib: float


def refuse_disagreement(timed: Mapping[str, Timed], precision: str) -> None:
    """Let no time count where the first peer and another don't compute the same.

    Raises:
        InputError: naming both and how they differ.
    """
    (first, expected), *others = timed.items()
    for name, other in others:
        for what, ours, theirs, tolerance in zip(
            ("loss", "gradient norm"),
            (expected.checked.loss, expected.checked.gradient),
            (other.checked.loss, other.checked.gradient),
            _TOLERANCES[precision],
            strict=True,
        ):
            if not abs(ours - theirs) <= tolerance * abs(ours):  # neither does what isn't a number
                raise InputError(
                    f"{first} and {name} don't compute the same: {what} {ours:.6g} and {theirs:.6g}; no time counts"
                )


def report(step: Step, timed: Mapping[str, Timed]) -> dict[str, Any]:
    """The content of bench.json: figures, the first peer's over each other's, and what caching costs."""
    peers = {name: _figures(step, each) for name, each in timed.items()}
    first, *others = peers
    found: dict[str, Any] = {
        "texts": step.texts,
        "tokens": step.tokens,
        "precision": step.precision,
        "device": step.device,
        "peak_operations": step.peak_operations,
        "peers": peers,
        "ratios": {other: _over(peers[first], peers[other]) for other in others},
    }
    if _BASELINE in peers:
        found["over_plain"] = {
            name: _over(figures, peers[_BASELINE]) for name, figures in peers.items() if name != _BASELINE
        }
    return {"workloads": {step.name: found}}


def _figures(step: Step, timed: Timed) -> dict[str, Any]:
    seconds, checked = median(timed.seconds), timed.checked
    found = {
        "step_s": seconds,
        "step_s_min": min(timed.seconds),
        "step_s_max": max(timed.seconds),
        "texts_per_s": step.texts / seconds,
        "tokens_per_s": step.tokens / seconds,
        "peak_bytes": int(timed.peak_gib * 2**30),
        "padding": 1 - step.tokens / checked.positions,
        "forward_tokens_per_real": checked.passed / step.tokens,
        "loss": checked.loss,
        "gradient_norm": checked.gradient,
        "seconds": list(timed.seconds),
    }
    if step.peak_operations:
        found["mfu"] = step.operations / seconds / step.peak_operations
    return found


def _over(figures: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    return {key: figures[key] / other[key] for key in ("step_s", "peak_bytes") if other[key]}


def table(step: Step, peers: Mapping[str, Mapping[str, Any]]) -> Table:
    """The peers' step times, rates, memory above the model and padding."""
    first = next(iter(peers.values()))
    columns = {
        "peer": TEXT,
        "step": "{:.3f} s",
        "from to": "{0[0]:.3f} {0[1]:.3f}",
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
            each["step_s"],
            (each["step_s_min"], each["step_s_max"]),
            each["step_s"] / first["step_s"],
            each["texts_per_s"],
            each["tokens_per_s"],
            each["peak_bytes"] / 2**30,
            each["padding"],
            each["forward_tokens_per_real"],
            *([each["mfu"]] if "MFU" in columns else []),
            each["loss"],
        ]
        for name, each in peers.items()
    ]
    title = f"One training step: {step.name}, {step.texts:,} texts, {step.tokens:,} tokens, {step.precision}"
    return Table(title, columns, rows)
