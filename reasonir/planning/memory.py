"""Memory of a training step on one device, from first principles: the peak of its four phases.

Weights and optimiser states are always resident. In addition, a step has four phases, and the largest decides: the end
of the forward pass (stored graphs, representations), scoring (stored graphs, representations, MaxSim's winners), the
backward pass (gradients, stored graphs, one recomputed graph, the gradients of one layer and of the representations)
and the update (gradients, the optimiser's scratch). All sizes in bytes.

Shape letters: N texts, M a selection of N.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from reasonir.data.batch import micro_batches
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.model.maxsim import BACKWARD_BYTES, BACKWARD_PAIRS, CPU_BLOCK, DEVICE_BLOCK, WINNER_BYTES
from reasonir.model.shape import Shape
from reasonir.training.optim import FUSED, STATE_BYTES
from reasonir.utils.memory_meter import GIB

FLOAT, HALF = 4, 2
_FORWARD_COPIES, _BACKWARD_COPIES = 3, 4
"""Copies of the representations: parts, joined and ordered; the gradients of each, and of queries and documents."""
_SCORE_BYTES = 28
"""Bytes per query-document pair in the loss: score, logits, masked logits, their gradients, and three masks."""
_MOMENTS = ("forward pass", "scoring", "backward pass", "update")


@dataclass(frozen=True, slots=True)
class TextShapes:
    """Texts of a step on one device: training tokens of each, queries first."""

    lengths_N: Tensor
    queries: int

    @property
    def tokens(self) -> int:
        """Total number of tokens."""
        return int(self.lengths_N.sum())


@dataclass(frozen=True, slots=True)
class Training:
    """Memory-relevant properties of a training, independent of device and step.

    Attributes:
        shape: the backbone.
        trained: parameters with gradients.
        state_bytes: optimiser state per trained parameter.
        fused: whether the optimiser updates in place, by one kernel; under loss scaling, and on
            devices without that kernel, it needs a copy as scratch.
        layers: number of layers that keep a graph.
        adapted: whether these have adapters on frozen weights.
        recomputed: whether each layer keeps only its input.
        vector_size: size of a vector.
        single_vector: one vector per text instead of one per token.
        accumulates: whether gradients are accumulated over batches.
    """

    shape: Shape
    trained: int
    state_bytes: int
    fused: bool
    layers: int
    adapted: bool
    recomputed: bool
    vector_size: int
    single_vector: bool
    accumulates: bool = False

    @classmethod
    def of(cls, model: Model, shape: Shape, vector_size: int, *, optimiser: str, accumulates: bool) -> Training:
        """Return the properties of a model."""
        adapted = bool(model.lora.rank)
        return cls(
            shape=shape,
            trained=_trained(shape, model),
            state_bytes=STATE_BYTES[optimiser],
            fused=optimiser == "adamw",
            layers=max(0, shape.layers - model.freeze_layers),
            adapted=adapted,
            recomputed=model.activation_checkpointing,
            vector_size=vector_size,
            single_vector=model.single_vector,
            accumulates=accumulates,
        )


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
    representations: float
    scores: float
    total: float
    moment: str

    def gib(self) -> dict[str, float]:
        """Return the parts in GiB, without `moment`."""
        return {f"{name}_gib": value / GIB for name, value in asdict(self).items() if name != "moment"}


class Estimate:
    """Memory estimate of a training on one device of a profile.

    Args:
        training: what is trained.
        hardware: the profile.
        graph_scale: measured size of graphs over the estimate; 1 if not measured.
    """

    def __init__(self, training: Training, hardware: Hardware, graph_scale: float = 1.0) -> None:
        self.training = training
        self.graph_scale = graph_scale
        self.devices = max(1, hardware.devices) * hardware.nodes
        self.on_cpu = hardware.accelerator == "cpu"
        self.mixed = hardware.precision.endswith("-mixed") or (hardware.precision == "auto" and not self.on_cpu)
        self.in_place = hardware.accelerator in (*FUSED, "auto")
        self.shards = self.devices if type(hardware.strategy).__name__ == "FSDPStrategy" else 1

    def layer(self, width: int) -> float:
        """Return a token's share of one layer's graph, in texts of `width` tokens."""
        training = self.training
        return training.shape.layer_bytes(width, mixed=self.mixed, on_cpu=self.on_cpu, adapted=training.adapted)

    def graph(self, width: int) -> float:
        """Return a token's share of the stored graph."""
        training, hidden = self.training, self.training.shape.hidden
        head = 0 if training.single_vector else hidden + 3 * training.vector_size
        embeddings = 3 * hidden if training.layers == training.shape.layers else 0
        layer = FLOAT * hidden if training.recomputed else self.layer(width)
        return self.graph_scale * (training.layers * layer + FLOAT * (embeddings + head))

    def cost(self, texts: TextShapes, budget: Budget) -> Cost:
        """Return the memory of a step on these texts, with the micro-batches of the engine."""
        kept_graphs, kept_parts, segment, working = 0.0, 0, 0.0, 0.0
        area = 0
        passing = 2 if self.training.recomputed else 1  # the gradients of a layer, and its graph if recomputed
        for chosen_M in micro_batches(texts.lengths_N, budget.micro_batch):
            width = int(texts.lengths_N[chosen_M].max())
            tokens = width * chosen_M.numel()
            area += tokens
            working = max(working, tokens * self.layer(width) * passing)
            if area <= budget.max_saved_tokens and not budget.equal_passes:
                kept_graphs += tokens * self.graph(width)
                kept_parts += 1
            else:
                segment = max(segment, tokens * self.graph(width))
        weights = self.training.shape.parameters * FLOAT / self.shards + self._casts(kept_parts, recomputes=segment > 0)
        gradients = self.training.trained * FLOAT / self.shards
        if self.training.accumulates or self.devices > self.shards:
            gradients *= 2  # of this backward pass, and the accumulated or exchanged ones
        optimiser = self.training.trained * self.training.state_bytes / self.shards
        vectors, scores = self._scoring(texts)
        moments = (
            kept_graphs + _FORWARD_COPIES * vectors,
            kept_graphs + 2 * vectors + scores,
            gradients + kept_graphs + segment + working + _BACKWARD_COPIES * vectors,
            gradients + self._scratch() / self.shards,
        )
        fullest = max(range(len(moments)), key=moments.__getitem__)
        return Cost(
            weights=weights,
            gradients=gradients,
            optimiser=optimiser,
            kept=kept_graphs,
            segment=segment + working,
            representations=_BACKWARD_COPIES * vectors,
            scores=scores,
            total=weights + optimiser + moments[fullest],
            moment=_MOMENTS[fullest],
        )

    def _casts(self, kept: int, *, recomputes: bool) -> float:
        """Return the bytes of 16-bit weight copies in stored graphs and in the recomputed one.

        Autocast casts frozen weights each time they are used, so each stored graph has its own copy.
        """
        if not self.mixed:
            return 0.0
        copies = (kept if self.training.adapted else min(kept, 1)) + recomputes
        return HALF * self.training.shape.layers * self.training.shape.layer_parameters * copies

    def _scoring(self, texts: TextShapes) -> tuple[float, float]:
        """Return the bytes of one copy of the representations (with the documents of all devices), and of scoring."""
        training, queries = self.training, texts.queries
        documents = (len(texts.lengths_N) - queries) * self.devices
        own, other = (int(part.sum()) for part in texts.lengths_N.tensor_split([queries]))
        if training.single_vector:
            own, other = queries, documents // self.devices
        vectors = FLOAT * training.vector_size * (own + other * self.devices)
        maxsim = 0 if training.single_vector else self._maxsim(own * documents)
        return vectors, maxsim + _SCORE_BYTES * queries * documents

    def _maxsim(self, pairs: int) -> float:
        """Return the bytes of MaxSim's winners and of a block's similarities or gradients."""
        block = 2 * FLOAT * (CPU_BLOCK if self.on_cpu else DEVICE_BLOCK)
        return pairs * WINNER_BYTES + max(block, min(pairs, BACKWARD_PAIRS) * BACKWARD_BYTES)

    def _scratch(self) -> float:
        """Return the scratch of the update: a copy of the parameters, or of the largest of them."""
        training = self.training
        if training.fused:
            return 0.0 if self.in_place else FLOAT * training.trained
        rest = training.shape.parameters - training.shape.layers * training.shape.layer_parameters
        return FLOAT * max(0, min(rest, training.trained))


def _trained(shape: Shape, model: Model) -> int:
    """Return the number of parameters with gradients, from the dimensions."""
    if model.lora.rank:
        matrices = 2 if shape.kind == "encoder" else 3
        per_layer = 8 * shape.hidden + matrices * (shape.hidden + shape.intermediate)
        return model.lora.rank * max(0, shape.layers - model.freeze_layers) * per_layer
    frozen = model.freeze_layers * shape.layer_parameters
    if model.freeze_layers or model.freeze_embeddings:
        frozen += max(0, shape.parameters - shape.layers * shape.layer_parameters)
    return max(0, shape.parameters - frozen)
