"""Plan of a run: its lengths, and the micro-batch budget that fits a step into the device's memory.

Printed before training and by `dry_run=true`, on any machine: it needs the model's configuration (or the one in its
YAML), but neither its weights nor the device. Memory and time are those of a trace of the step (`planning/trace.py`)
with the length distribution of the sampled texts; `probe=true` measures them.
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
from reasonir.hardware import Hardware
from reasonir.loss.base import Objective
from reasonir.model.backbone import Model
from reasonir.planning.cards import card_of
from reasonir.planning.lengths import Measured
from reasonir.planning.memory import Cost, Estimate
from reasonir.planning.trace import StepTrace, TextShapes, trace_step
from reasonir.training.optim import Optim
from reasonir.utils.memory_meter import GIB
from reasonir.utils.state import read_json, write_json

_USABLE, _USABLE_OF_HOST = 0.9, 0.7
"""Planned shares of a GPU's memory, where a step that runs out of memory is repeated, and of the host's free memory."""
_SEGMENT_SHARE = 0.25
_LARGEST_SEGMENT = {"cpu": 2048, "mps": 16384, "cuda": 65536}


@dataclass(frozen=True, slots=True)
class Step:
    """A typical step on one device.

    Attributes:
        model: backbone and head.
        objective: the loss.
        optim: the optimiser.
        texts: its texts.
        documents: documents of each query.
        width: maximum tokens of a text.
        accumulates: whether gradients are accumulated over batches.
    """

    model: Model
    objective: Objective
    optim: Optim
    texts: TextShapes
    documents: int
    width: int
    accumulates: bool = False

    @classmethod
    def of(cls, model: Model, objective: Objective, optim: Optim, lengths: Measured, counts: dict[str, int]) -> Step:
        """Return the step with `counts` texts of each measured column."""
        documents = round((counts["positives"] + counts["negatives"]) / max(1, counts["queries"]))
        width = max(lengths.limits.values())
        return cls(model, objective, optim, lengths.texts(counts), documents, width)

    def trace(self, hardware: Hardware) -> StepTrace:
        """Trace the step on a profile."""
        return trace_step(self.model, self.objective, self.optim, hardware, self.texts, documents=self.documents)


@dataclass(frozen=True, slots=True)
class Fit:
    """Step on one device of a profile.

    Attributes:
        hardware: the profile.
        budget: of the step.
        cost: its memory.
        seconds: its time; None if the device's rates are unknown.
    """

    hardware: Hardware
    budget: Budget
    cost: Cost
    seconds: float | None

    @property
    def fits(self) -> bool | None:
        """True if the step is within the device's memory, None if that is unknown."""
        memory = self.hardware.memory_gib
        return None if memory is None else self.cost.total <= memory * GIB


@dataclass(frozen=True, slots=True)
class Plan:
    """Cost of a step on one device, and the lengths it is based on.

    Attributes:
        fit: budget and cost on the run's device.
        step: the step that was traced.
        trace: its trace on the run's kind of device.
        lengths: measured columns.
        steps: batches of the whole run on one device; None if unknown.
        auto_lengths: length options of the head that were fitted to the data.
        measured: results of a probe.
    """

    fit: Fit
    step: Step
    trace: StepTrace
    lengths: Measured
    steps: int | None = None
    auto_lengths: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def texts(self) -> TextShapes:
        """Texts of a typical step."""
        return self.step.texts

    def refitted(self, budget: Budget) -> Plan:
        """Return the plan with another budget."""
        hardware = replace(
            self.fit.hardware, micro_batch_tokens=budget.micro_batch, max_saved_tokens=budget.max_saved_tokens
        )
        return replace(self, fit=fit_step(self.trace, hardware, self.step))

    @property
    def budget(self) -> Budget:
        """Budget of the engine."""
        return self.fit.budget

    def run_seconds(self, fit: Fit) -> float | None:
        """Time of all batches of the run on a profile; None if a step's time or their number is unknown."""
        return None if fit.seconds is None or self.steps is None else fit.seconds * self.steps

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for plan.json."""
        hardware, limits = self.fit.hardware, caps(self.lengths.columns, self.lengths.positions)
        return {
            "hardware": hardware.name,
            "present": hardware.missing() is None,
            "precision": hardware.precision,
            "memory_gib": hardware.memory_gib,
            "parameters": self.trace.parameters,
            "trained": self.trace.trained,
            **self.fit.cost.gib(),
            "fullest_moment": self.fit.cost.moment,
            "fits": self.fit.fits,
            "micro_batch_tokens": self.budget.micro_batch,
            "max_saved_tokens": self.budget.max_saved_tokens,
            "seconds_per_step": self.fit.seconds,
            "steps": self.steps,
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


def fit_step(trace: StepTrace, hardware: Hardware, step: Step) -> Fit:
    """Fit a step into the memory of a profile.

    Args:
        trace: of the step, on the profile's kind of device.
        hardware: a resolved profile, or one of a device that isn't present.
        step: the step.
    """
    estimate, texts = Estimate(trace, hardware, accumulates=step.accumulates), step.texts
    share = _USABLE_OF_HOST if hardware.accelerator == "cpu" else _USABLE
    usable = share * (hardware.memory_gib or 0.0) * GIB
    largest = max(step.width, _LARGEST_SEGMENT.get(hardware.accelerator, 65536))
    segment = hardware.micro_batch_tokens or _fitting_segment(estimate, step, usable, largest)
    budget = Budget(segment, texts.tokens * step.width, equal_passes=estimate.shards > 1)  # all graphs are kept
    if hardware.max_saved_tokens is not None:
        budget = replace(budget, max_saved_tokens=hardware.max_saved_tokens)
    else:
        trials = [segment] if hardware.micro_batch_tokens else [largest, (largest + segment) // 2, segment]
        wide = [replace(budget, micro_batch=tokens) for tokens in trials]  # the larger, the faster and the more padded
        fitting = [trial for trial in wide if estimate.cost(texts, trial).total <= usable]
        kept = _fitting_graphs(estimate, texts, usable, segment)
        budget = fitting[0] if fitting else replace(budget, max_saved_tokens=kept)
    card = card_of(hardware)
    seconds = None if card is None else estimate.seconds(texts, budget, card)
    return Fit(hardware, budget, estimate.cost(texts, budget), seconds)


def _fitting_segment(estimate: Estimate, step: Step, usable: float, largest: int) -> int:
    """Return the tokens of a micro-batch that takes its share of the bytes left by what is always in memory."""
    bare = estimate.cost(step.texts, Budget(max(1, step.texts.tokens)))
    resident = bare.weights + bare.gradients + bare.optimiser + bare.scores
    width = step.width
    one, two = (estimate.backward(count * width, count * width**2, count * width, count) for count in (1, 2))
    per_token = (two - one) / width
    return int(np.clip(_SEGMENT_SHARE * max(0.0, usable - resident) / max(per_token, 1.0), width, largest))


def _fitting_graphs(estimate: Estimate, texts: TextShapes, usable: float, segment: int) -> int:
    """Return the padded tokens whose graphs fit beside a step's other needs, if those of all don't."""
    parts = list(micro_batches(texts.lengths_N, segment))
    grid = [0, sum(int(texts.lengths_N[chosen_M].max()) * len(chosen_M) for chosen_M in parts[:-1])]
    return int(np.interp(usable, [estimate.cost(texts, Budget(segment, tokens)).total for tokens in grid], grid))


def plan_run(
    step: Step, hardware: Hardware, lengths: Measured, *, steps: int | None = None, auto_lengths: Mapping[str, int] = {}
) -> Plan:
    """Return the plan of a run, from the lengths of its data.

    Raises:
        InputError: the model's configuration is neither in its checkpoint nor in its YAML.
    """
    trace = step.trace(hardware)
    return Plan(fit_step(trace, hardware, step), step, trace, lengths, steps, auto_lengths)


def survey(plan: Plan, profiles: Mapping[str, Hardware]) -> dict[str, Fit]:
    """Return how the plan's step fits on one device of each profile, with its attention where the run follows that."""
    model = plan.step.model
    follows = model.attention == plan.fit.hardware.attention
    traces: dict[tuple[str, bool, str], StepTrace] = {}
    fits = {}
    for name, profile in {"": plan.fit.hardware, **profiles}.items():
        attention = profile.attention if follows else model.attention
        key = (profile.accelerator, profile.precision == "32-true", attention)
        if key not in traces:
            step = replace(plan.step, model=replace(model, attention=attention))
            traces[key] = step.trace(profile) if name else plan.trace
        fits[name] = fit_step(traces[key], profile, plan.step)
    del fits[""]
    return fits


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
