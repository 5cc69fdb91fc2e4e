"""The plan of a run: its lengths, and how a step fits into the device's memory.

Printed before training and by `dry_run=true`, on any machine: it needs the model's configuration (or the dimensions
its YAML states), not its weights and not the device. What it says of memory is an estimate (`planning/memory.py`) for a
step whose texts are spread as the sampled ones are; `probe=true` measures one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reasonir.data.batches.lengths import caps
from reasonir.engine.step import Budget
from reasonir.errors import NotHereError
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.planning.lengths import Measured
from reasonir.planning.memory import Cost, Estimate, TextShapes, Training
from reasonir.training.datamodule import RetrievalData
from reasonir.utils.files import atomic_path
from reasonir.utils.memory_meter import GIB

_USABLE, _SEGMENT_SHARE, _KEPT_SHARE = 0.9, 0.25, 0.5
_LARGEST_SEGMENT = {"cpu": 2048, "mps": 16384, "cuda": 65536}


@dataclass(frozen=True, slots=True)
class Fit:
    """A step on one device of a profile; `fits` is None where the device's memory isn't known."""

    hardware: Hardware
    budget: Budget
    cost: Cost

    @property
    def fits(self) -> bool | None:
        """Whether the estimate is within the device's memory."""
        memory = self.hardware.memory_gib
        return None if memory is None else self.cost.total <= memory * GIB


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step costs on one device, and on what lengths that rests.

    `found` are the head's options that were fitted to the data, `measured` what a probe says, `graph_scale` how many
    times larger graphs are than estimated, where that was measured.
    """

    fit: Fit
    training: Training
    texts: TextShapes
    lengths: Measured
    found: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    graph_scale: float = 1.0

    @property
    def width(self) -> int:
        """The longest text there may be."""
        return max(self.lengths.limits.values())

    @property
    def tight(self) -> bool:
        """Whether memory, and nothing else, decides what is kept."""
        return self.fit.hardware.max_saved_tokens is None and self.budget.max_saved_tokens < self.texts.tokens

    def refitted(self, *, graph_scale: float | None = None, budget: Budget | None = None) -> Plan:
        """The same step with other graphs, or another budget."""
        scale, hardware = self.graph_scale if graph_scale is None else graph_scale, self.fit.hardware
        if budget is not None:
            hardware = replace(
                hardware, micro_batch_tokens=budget.micro_batch, max_saved_tokens=budget.max_saved_tokens
            )
        fit = fit_step(self.training, hardware, self.texts, width=self.width, graph_scale=scale)
        return replace(self, fit=fit, graph_scale=scale)

    @property
    def budget(self) -> Budget:
        """What the engine is told."""
        return self.fit.budget

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for plan.json."""
        hardware, tried = self.fit.hardware, caps(self.lengths.columns, self.lengths.positions)
        return {
            "hardware": hardware.name,
            "present": hardware.missing() is None,
            "precision": hardware.precision,
            "memory_gib": hardware.memory_gib,
            "parameters": self.training.shape.parameters,
            "trained": self.training.trained,
            **self.fit.cost.gib(),
            "fullest_moment": self.fit.cost.moment,
            "fits": self.fit.fits,
            "micro_batch_tokens": self.budget.micro_batch,
            "max_saved_tokens": self.budget.max_saved_tokens,
            "graphs_measured_over_estimated": self.graph_scale,
            "tokens_per_step": self.texts.tokens,
            "auto_lengths": dict(self.found),
            "lengths_counted": self.lengths.counted,
            "lengths": {
                column.name: column.to_dict(self.lengths.limits[column.side], tried) for column in self.lengths.columns
            },
            "queries_cut": self.lengths.queries_cut,
            "probe": dict(self.measured),
        }

    def write(self, folder: Path) -> None:
        """Write plan.json."""
        with atomic_path(folder / "plan.json") as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=2))


def fit_step(training: Training, hardware: Hardware, texts: TextShapes, *, width: int, graph_scale: float = 1.0) -> Fit:
    """Fit a step into the memory of a profile.

    Args:
        training: what is trained.
        hardware: resolved, or a profile of a device that isn't here.
        texts: those of a step on one device.
        width: the longest text there may be.
        graph_scale: see `Estimate`.
    """
    estimate = Estimate(training, hardware, graph_scale)
    bare = estimate.cost(texts, Budget(max(1, texts.tokens)))
    held = bare.weights + bare.gradients + bare.optimiser + max(bare.representations, bare.scores)
    free = max(0.0, _USABLE * (hardware.memory_gib or 0.0) * GIB - held)
    most = _LARGEST_SEGMENT.get(hardware.accelerator, 65536)
    per_token = estimate.graph(width) + estimate.layer(width)
    segment = hardware.micro_batch_tokens or int(np.clip(_SEGMENT_SHARE * free / per_token, width, max(width, most)))
    kept = hardware.max_saved_tokens
    if kept is None:
        everything = estimate.cost(texts, Budget(segment, texts.tokens * width)).kept
        kept = int(_KEPT_SHARE * free / (everything / texts.tokens))
    budget = Budget(segment, kept, equal_passes=estimate.shards > 1)
    return Fit(hardware, budget, estimate.cost(texts, budget))


def plan_run(
    model: Model,
    hardware: Hardware,
    data: RetrievalData,
    lengths: Measured,
    *,
    optimiser: str = "adamw",
    accumulates: bool = False,
    found: Mapping[str, int] | None = None,
) -> Plan:
    """The plan of a run, from the lengths of its data.

    Raises:
        InputError: the model's dimensions are neither readable nor stated.
    """
    shape = model.measure()
    try:
        folder = model.locate(weights=False)
    except NotHereError:
        folder = None
    training = Training.of(
        model, shape, model.vector_size(folder, shape.hidden), optimiser=optimiser, accumulates=accumulates
    )
    texts = lengths.texts(data.texts_per_step(max(1, hardware.devices) * hardware.nodes))
    fit = fit_step(training, hardware, texts, width=max(lengths.limits.values()))
    return Plan(fit, training, texts, lengths, found or {})


def survey(plan: Plan, profiles: Mapping[str, Hardware]) -> dict[str, Fit]:
    """How the step of a plan would fit on one device of each of the profiles."""
    return {name: fit_step(plan.training, profile, plan.texts, width=plan.width) for name, profile in profiles.items()}


def planned_lengths(file: Path) -> dict[str, int]:
    """The lengths that an earlier plan fitted to the data: a resumed run keeps them."""
    return dict(json.loads(file.read_text()).get("auto_lengths", {})) if file.is_file() else {}


def as_planned(hardware: Hardware, file: Path) -> Hardware:
    """The profile with the budget of an earlier plan, so that resuming changes no bit of what dropout draws.

    What was free on a CPU then isn't what is free now. Another profile, or memory that the earlier plan doesn't fit
    into, is planned anew.
    """
    before = json.loads(file.read_text()) if file.is_file() else {}
    same = (before.get("hardware"), before.get("precision")) == (hardware.name, hardware.precision)
    if not same or before["total_gib"] > (hardware.memory_gib or 0.0):
        return hardware
    kept = before["max_saved_tokens"] if hardware.max_saved_tokens is None else hardware.max_saved_tokens
    return replace(
        hardware, micro_batch_tokens=hardware.micro_batch_tokens or before["micro_batch_tokens"], max_saved_tokens=kept
    )
