"""Plan of a run: its lengths, and the micro-batch budget that fits a step into the device's memory.

Printed before training and by `dry_run=true`, on any machine: it needs the model's configuration (or the dimensions in
its YAML), but neither its weights nor the device. Memory is estimated (`planning/memory.py`) for a step with the length
distribution of the sampled texts; `probe=true` measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reasonir.data.batch import micro_batches
from reasonir.data.batches.lengths import caps
from reasonir.engine.step import Budget
from reasonir.errors import NotHereError
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.planning.lengths import Measured
from reasonir.planning.memory import Cost, Estimate, TextShapes, Training
from reasonir.training.datamodule import RetrievalData
from reasonir.utils.memory_meter import GIB
from reasonir.utils.state import read_json, write_json

_USABLE, _USABLE_OF_HOST = 0.9, 0.7
"""Planned shares of a GPU's memory, where a step that runs out of memory is repeated, and of the host's free memory."""
_SEGMENT_SHARE = 0.25
_LARGEST_SEGMENT = {"cpu": 2048, "mps": 16384, "cuda": 65536}


@dataclass(frozen=True, slots=True)
class Fit:
    """Step on one device of a profile; `fits` is None if the device's memory is unknown."""

    hardware: Hardware
    budget: Budget
    cost: Cost

    @property
    def fits(self) -> bool | None:
        """True if the estimate is within the device's memory."""
        memory = self.hardware.memory_gib
        return None if memory is None else self.cost.total <= memory * GIB


@dataclass(frozen=True, slots=True)
class Plan:
    """Cost of a step on one device, and the lengths it is based on.

    Attributes:
        fit: budget and cost on the run's device.
        training: memory-relevant properties of the training.
        texts: a typical step's texts.
        lengths: measured columns.
        auto_lengths: length options of the head that were fitted to the data.
        measured: results of a probe.
        graph_scale: measured size of graphs over the estimate; 1 if not measured.
    """

    fit: Fit
    training: Training
    texts: TextShapes
    lengths: Measured
    auto_lengths: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    graph_scale: float = 1.0

    @property
    def width(self) -> int:
        """Maximum tokens of a text."""
        return max(self.lengths.limits.values())

    @property
    def tight(self) -> bool:
        """True if memory alone limits the stored graphs."""
        return self.fit.hardware.max_saved_tokens is None and self.budget.max_saved_tokens < self.texts.tokens

    def refitted(self, *, graph_scale: float | None = None, budget: Budget | None = None) -> Plan:
        """Return the plan with another graph scale or budget."""
        scale, hardware = self.graph_scale if graph_scale is None else graph_scale, self.fit.hardware
        if budget is not None:
            hardware = replace(
                hardware, micro_batch_tokens=budget.micro_batch, max_saved_tokens=budget.max_saved_tokens
            )
        fit = fit_step(self.training, hardware, self.texts, width=self.width, graph_scale=scale)
        return replace(self, fit=fit, graph_scale=scale)

    @property
    def budget(self) -> Budget:
        """Budget of the engine."""
        return self.fit.budget

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for plan.json."""
        hardware, limits = self.fit.hardware, caps(self.lengths.columns, self.lengths.positions)
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
            "auto_lengths": dict(self.auto_lengths),
            "lengths_counted": self.lengths.counted,
            "lengths": {
                column.name: column.to_dict(self.lengths.limits[column.side], limits) for column in self.lengths.columns
            },
            "queries_cut": self.lengths.queries_cut,
            "probe": dict(self.measured),
        }

    def write(self, folder: Path) -> None:
        """Write plan.json."""
        write_json(folder / "plan.json", self.to_dict())


def fit_step(training: Training, hardware: Hardware, texts: TextShapes, *, width: int, graph_scale: float = 1.0) -> Fit:
    """Fit a step into the memory of a profile.

    Args:
        training: what is trained.
        hardware: a resolved profile, or one of a device that isn't present.
        texts: texts of a step on one device.
        width: maximum tokens of a text.
        graph_scale: see `Estimate`.
    """
    estimate = Estimate(training, hardware, graph_scale)
    share = _USABLE_OF_HOST if estimate.on_cpu else _USABLE
    usable = share * (hardware.memory_gib or 0.0) * GIB
    equal_passes = estimate.shards > 1
    largest = max(width, _LARGEST_SEGMENT.get(hardware.accelerator, 65536))
    segment = hardware.micro_batch_tokens or _fitting_segment(estimate, texts, usable, width, largest)
    kept = hardware.max_saved_tokens
    if kept is None:
        trials = [segment] if hardware.micro_batch_tokens else [largest, (largest + segment) // 2, segment]
        for tokens in trials:  # the larger, the faster, but the more padding
            budget = Budget(tokens, texts.tokens * width, equal_passes=equal_passes)  # all graphs are kept
            if (whole := estimate.cost(texts, budget)).total <= usable:
                return Fit(hardware, budget, whole)
        kept = _fitting_graphs(estimate, texts, usable, segment)
    budget = Budget(segment, kept, equal_passes=equal_passes)
    return Fit(hardware, budget, estimate.cost(texts, budget))


def _fitting_segment(estimate: Estimate, texts: TextShapes, usable: float, width: int, largest: int) -> int:
    """Return the tokens of a micro-batch that takes its share of the bytes left by what is always in memory."""
    bare = estimate.cost(texts, Budget(max(1, texts.tokens)))
    resident = bare.weights + bare.gradients + bare.optimiser + max(bare.representations, bare.scores)
    per_token = estimate.graph(width) + estimate.layer(width)
    return int(np.clip(_SEGMENT_SHARE * max(0.0, usable - resident) / per_token, width, largest))


def _fitting_graphs(estimate: Estimate, texts: TextShapes, usable: float, segment: int) -> int:
    """Return the padded tokens whose graphs fit beside a step's other needs, if those of all don't."""
    parts = list(micro_batches(texts.lengths_N, segment))
    grid = [0, sum(int(texts.lengths_N[chosen_M].max()) * len(chosen_M) for chosen_M in parts[:-1])]
    return int(np.interp(usable, [estimate.cost(texts, Budget(segment, tokens)).total for tokens in grid], grid))


def plan_run(
    model: Model,
    hardware: Hardware,
    data: RetrievalData,
    lengths: Measured,
    *,
    optimiser: str = "adamw",
    accumulates: bool = False,
    auto_lengths: Mapping[str, int] | None = None,
) -> Plan:
    """Return the plan of a run, from the lengths of its data.

    Raises:
        InputError: the model's dimensions are neither in its checkpoint nor in its YAML.
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
    return Plan(fit, training, texts, lengths, auto_lengths or {})


def survey(plan: Plan, profiles: Mapping[str, Hardware]) -> dict[str, Fit]:
    """Return how the plan's step fits on one device of each profile."""
    return {name: fit_step(plan.training, profile, plan.texts, width=plan.width) for name, profile in profiles.items()}


def read_plan(file: Path) -> dict[str, Any]:
    """Return the content of a run's plan.json.

    Raises:
        InputError: the file is damaged.
    """
    keys = ("hardware", "precision", "total_gib", "micro_batch_tokens", "max_saved_tokens")
    return read_json(file, keys=keys, remedy="copy it again, or delete it to plan the run again")


def planned_lengths(file: Path) -> dict[str, int]:
    """Return the fitted lengths in an earlier plan file, which a resumed run keeps; empty without a file.

    Raises:
        InputError: the file is damaged.
    """
    return dict(read_plan(file).get("auto_lengths", {})) if file.is_file() else {}


def as_planned(hardware: Hardware, file: Path) -> Hardware:
    """Return the profile with the budget of an earlier plan, so that a resumed run draws the same dropout masks.

    The free memory of a CPU changes from run to run. With another profile, or too little memory for the earlier plan,
    the profile is returned unchanged and the run is planned again.

    Raises:
        InputError: the file is damaged.
    """
    earlier = read_plan(file) if file.is_file() else {}
    same = (earlier.get("hardware"), earlier.get("precision")) == (hardware.name, hardware.precision)
    if not same or earlier["total_gib"] > (hardware.memory_gib or 0.0):
        return hardware
    kept = earlier["max_saved_tokens"] if hardware.max_saved_tokens is None else hardware.max_saved_tokens
    return replace(
        hardware, micro_batch_tokens=hardware.micro_batch_tokens or earlier["micro_batch_tokens"], max_saved_tokens=kept
    )
