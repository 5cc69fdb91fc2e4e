"""Memory and time of a training step on one device, put together from the trace of its parts.

Weights and optimiser states are always resident. In addition, a step has four phases, and the largest decides: the
forward pass, scoring (stored graphs, representations, scores), the backward pass (gradients, the graphs that are still
stored, and one micro-batch at a time), and the update. The backward pass goes through the micro-batches from the last
one, the shortest texts, to the first; the first of all finds no gradients yet. All sizes in bytes.

Shape letters: N texts, M a selection of N.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate

from reasonir.data.batch import micro_batches
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware
from reasonir.model.encoder import PACKED_STRETCH
from reasonir.planning.cards import Card
from reasonir.planning.trace import MicroBatch, StepTrace, TextShapes, sizes_of
from reasonir.utils.memory_meter import GIB

_MOMENTS = ("forward pass", "scoring", "backward pass", "update")


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes by purpose.

    `total` is the peak, reached in the phase `moment`; it isn't the sum of all parts.
    """

    weights: float
    gradients: float
    optimiser: float
    kept: float
    segment: float
    scores: float
    total: float
    moment: str

    def gib(self) -> dict[str, float]:
        """Return the parts in GiB, without `moment`."""
        return {f"{name}_gib": value / GIB for name, value in asdict(self).items() if name != "moment"}


@dataclass(frozen=True, slots=True)
class _Part:
    """Micro-batch of a step: what its cost depends on (`sizes_of`), and whether its graph is stored."""

    sizes: tuple[int, int, int, int]
    kept: bool


class Estimate:
    """Memory and time of a step on one device of a profile.

    Args:
        trace: of the step's parts, on a device of this kind.
        hardware: the profile.
        accumulates: whether gradients are accumulated over batches.
    """

    def __init__(self, trace: StepTrace, hardware: Hardware, *, accumulates: bool = False) -> None:
        self.trace = trace
        self.devices = max(1, hardware.devices) * hardware.nodes
        self.shards = self.devices if type(hardware.strategy).__name__ == "FSDPStrategy" else 1
        self.doubled = accumulates or self.devices > self.shards
        self.graph = trace.fitted(lambda part: part.graph)
        self.forward = trace.fitted(lambda part: part.forward)
        self.backward = trace.fitted(lambda part: part.backward)

    def cost(self, texts: TextShapes, budget: Budget) -> Cost:
        """Return the memory of a step on these texts, with the micro-batches of the engine."""
        trace, parts = self.trace, list(self._parts(texts, budget))
        casts = trace.casts
        weights, optimiser = trace.weights / self.shards, trace.optimiser / self.shards
        gradients = trace.gradients / self.shards
        stash = gradients if self.doubled else 0.0  # the accumulated or exchanged ones
        graphs = [self.graph(*part.sizes) if part.kept else 0.0 for part in parts]
        kept = sum(graphs) + casts * any(part.kept for part in parts)
        scores = max(trace.scoring.forward, trace.scoring.backward)
        before = accumulate(graphs, initial=0.0)
        forward = max(held + self.forward(*part.sizes) for held, part in zip(before, parts, strict=False))
        moments = [stash + casts + forward, stash + kept + casts * (not kept) + scores]
        fullest, passing = 0.0, 0.0
        still_kept = kept
        for number, (part, graph) in enumerate(zip(reversed(parts), reversed(graphs), strict=True)):
            still_kept -= graph
            most = self.backward(*part.sizes)
            if not part.kept:
                most = max(most, self.forward(*part.sizes)) + casts
            present = gradients if number else min(gradients, trace.first)
            if (moment := present + still_kept + most) > fullest:
                fullest, passing = moment, most
        moments += [stash + fullest + trace.scoring.held, stash + gradients + trace.update / self.shards]
        largest = max(range(len(moments)), key=moments.__getitem__)
        return Cost(
            weights=weights,
            gradients=gradients + stash,
            optimiser=optimiser,
            kept=kept,
            segment=passing,
            scores=scores,
            total=weights + optimiser + moments[largest],
            moment=_MOMENTS[largest],
        )

    def seconds(self, texts: TextShapes, budget: Budget, card: Card) -> float:
        """Return the time of a step on a card."""
        trace = self.trace

        def forward(part: MicroBatch) -> float:
            return part.forward_work.seconds(card)

        def backward(part: MicroBatch) -> float:
            return part.backward_work.seconds(card)

        forward_at, backward_at = trace.fitted(forward), trace.fitted(backward)
        total = trace.scoring.work.seconds(card) + trace.update_work.seconds(card)
        for part in self._parts(texts, budget):
            passes = 1 if part.kept else 2
            total += passes * forward_at(*part.sizes) + backward_at(*part.sizes)
        return total

    def _parts(self, texts: TextShapes, budget: Budget) -> Iterator[_Part]:
        area = 0
        stretch = PACKED_STRETCH if self.trace.packs else 1
        for chosen_M in micro_batches(texts.lengths_N, budget.micro_batch, stretch=stretch):
            lengths_M = texts.lengths_N[chosen_M]
            sizes = sizes_of(lengths_M, packed=self.trace.packs)
            area += sizes[0]
            yield _Part(sizes, area <= budget.max_saved_tokens and not budget.equal_passes)
