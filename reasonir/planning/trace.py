"""Trace of a training step without weights or device: bytes and operations of its parts.

The step's own code (encoder, objective, optimiser) runs on hollow tensors (`reasonir.invented`) that claim to be on the
profile's kind of device. Five micro-batches of long and short texts give how the bytes of a graph, of both passes and
the operations depend on a micro-batch's tokens, the squares of its lengths, its area with padding and its number of
texts, whose vectors may be as long as a vocabulary: nothing else enters a transformer's cost. Scoring and the
optimiser's step are traced whole. `reasonir.planning.memory` puts the parts together for any budget.

Shape letters: N texts, M a selection of N, T tokens or vectors.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reasonir.data.batch import Batch, PairBatch, Relation, Representation, Tokens
from reasonir.distributed.ranks import present_ranks
from reasonir.engine.step import score_step
from reasonir.errors import InputError
from reasonir.hardware import Hardware, number_format
from reasonir.invented.device import DeviceTensor, Tracing
from reasonir.loss.base import Objective
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.planning.hollow import hollow_encoder, stand_in
from reasonir.planning.work import Recorder, Work
from reasonir.training.gradients import clip
from reasonir.training.optim import Optim
from reasonir.utils.devices import INVENTED, standing_for

log = logging.getLogger(__name__)
_STAND_IN = "a stand-in"  # no hub id
_TRACED_TOKENS = 4096
_TRACEABLE = ("varlen", "sdpa", "eager")


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
class MicroBatch:
    """Bytes and work of a micro-batch.

    Attributes:
        tokens: positions that the backbone computes.
        squares: sum over texts of the squares of their (padded) lengths.
        area: texts x longest.
        texts: number of texts.
        graph: bytes of its stored graph, vectors included.
        forward: most bytes of its forward pass.
        backward: most bytes of its backward pass, graph included, gradients of the weights left out.
        forward_work: operations of a forward pass.
        backward_work: operations of a backward pass.
    """

    tokens: int
    squares: int
    area: int
    texts: int
    graph: int
    forward: int
    backward: int
    forward_work: Work
    backward_work: Work


@dataclass(frozen=True, slots=True)
class Scoring:
    """Most bytes while texts are scored and the loss is computed, then in the backward pass; afterwards; its work."""

    forward: int
    backward: int
    held: int
    work: Work


@dataclass(frozen=True, slots=True)
class StepTrace:
    """Bytes and work of a step's parts.

    Attributes:
        parameters: number of weights.
        trained: number of weights with gradients.
        weights: bytes of weights and buffers.
        gradients: bytes of their gradients.
        optimiser: bytes of the optimiser's state.
        update: bytes that its step takes in addition.
        casts: bytes of weights in 16 bits, shared by the graphs of a forward pass.
        first: bytes of gradients that exist at the fullest moment of the first backward pass.
        micro_batches: traced micro-batches, the largest first.
        scoring: of the whole step.
        update_work: operations of the optimiser's step.
        packs: whether padding is left out.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimiser: int
    update: int
    casts: int
    first: int
    micro_batches: tuple[MicroBatch, ...]
    scoring: Scoring
    update_work: Work
    packs: bool

    def fitted(self, value: Callable[[MicroBatch], float]) -> Callable[[int, int, int, int], float]:
        """Return a value of micro-batches as a function of their tokens, squares, area and texts."""
        features = np.array([(1.0, part.tokens, part.squares, part.area, part.texts) for part in self.micro_batches])
        scale = features.max(axis=0)
        solved, *_ = np.linalg.lstsq(features / scale, [value(part) for part in self.micro_batches], rcond=1e-9)
        constant, *slopes = (solved / scale).tolist()
        return lambda *of: max(0.0, constant + sum(slope * number for slope, number in zip(slopes, of, strict=True)))


def trace_step(
    model: Model, objective: Objective, optim: Optim, hardware: Hardware, texts: TextShapes, *, documents: int
) -> StepTrace:
    """Trace a step on one device of a profile.

    Args:
        model: backbone and head.
        objective: the loss.
        optim: the optimiser.
        hardware: the profile, resolved or of a device that isn't here.
        texts: texts of the step.
        documents: documents of each query.

    Raises:
        InputError: the model's configuration is neither here nor in its YAML.
    """
    if model.attention not in _TRACEABLE:
        model = replace(model, attention="sdpa")  # packages that only a GPU's machine has keep what SDPA keeps
    traced = partial(_traced, objective=objective, optim=optim, hardware=hardware, texts=texts, documents=documents)
    try:
        return traced(model)
    except InputError:
        raise
    except Exception as error:  # code of a checkpoint may do anything
        like = stand_in(model)
        log.warning(
            "%s can't be traced (%s): the plan is that of a %s of its size",
            model.path,
            _first(error),
            like["model_type"],
        )
        return traced(replace(model, path=_STAND_IN, hub_id=_STAND_IN, revision=None, packaged=None, config=like))


def _first(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _traced(
    model: Model, *, objective: Objective, optim: Optim, hardware: Hardware, texts: TextShapes, documents: int
) -> StepTrace:
    kind = "cuda" if hardware.accelerator == "auto" else hardware.accelerator
    device = torch.device("cpu")
    with Tracing(hollow=True) as tracing, standing_for(kind), _no_collection():
        encoder = hollow_encoder(model, tracing)
        if kind != "cpu":
            device = torch.device(INVENTED)
            encoder.to(device)
        for autocast in (False, True):  # its check compares values
            encoder._packs[device.type, autocast] = encoder.may_pack
        precision = "bf16-mixed" if hardware.precision == "auto" and kind != "cpu" else hardware.precision
        return _Tracer(tracing, encoder, objective, optim, partial(number_format, precision, device.type)).trace(
            texts, documents
        )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep what loading left behind, so that its end isn't taken for that of a graph."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Tracer:
    def __init__(
        self,
        tracing: Tracing,
        encoder: Encoder,
        objective: Objective,
        optim: Optim,
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.used, self.encoder, self.objective, self.optim = tracing.allocations, encoder, objective, optim
        self.precision = precision
        self.recorder = Recorder()
        tracing.on_operation = self.recorder

    def trace(self, texts: TextShapes, documents: int) -> StepTrace:
        """Trace the parts of a step."""
        parameters = list(self.encoder.parameters())
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        first, *others = _sampled(int(texts.lengths_N.max()))
        casts = self._casts(first)
        unstarted = self._micro_batch(first, casts).backward  # finds no gradients yet
        micro_batches = tuple(self._micro_batch(lengths_M, casts) for lengths_M in (first, *others))
        try:
            scoring = self._scoring(texts, documents)
        except Exception as error:  # a loss of the user's own may read values
            log.warning("The plan leaves out scores and loss: they can't be traced (%s)", _first(error))
            scoring = Scoring(0, 0, 0, self.recorder.taken())
        optimiser, update, update_work = self._update(trained)
        gradients = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        return StepTrace(
            parameters=sum(parameter.numel() for parameter in parameters),
            trained=sum(parameter.numel() for parameter in trained),
            weights=_bytes([*parameters, *self.encoder.buffers()]),
            gradients=gradients,
            optimiser=optimiser,
            update=update,
            casts=casts,
            first=min(gradients, max(0, unstarted - micro_batches[0].backward)),
            micro_batches=micro_batches,
            scoring=scoring,
            update_work=update_work,
            packs=self.encoder.packs,
        )

    def _embed(self, lengths_M: Tensor) -> tuple[Tensor, tuple[int, int, int, int]]:
        """Return the vectors of a micro-batch, and its sizes (see `sizes_of`)."""
        tokens = _tokens(lengths_M, self.encoder.head)
        padded = self.encoder.pad(tokens, torch.arange(len(lengths_M)))
        return self.encoder(padded), sizes_of(lengths_M, packed=padded.packing is not None)

    def _casts(self, lengths_M: Tensor) -> int:
        """Return the bytes that a second graph in the same block of mixed precision shares with the first."""
        with self.precision():
            before = self.used.total
            first = self._embed(lengths_M)
            between = self.used.total
            second = self._embed(lengths_M)
            shared = (between - before) - (self.used.total - between)
            del first, second
        return shared

    def _micro_batch(self, lengths_M: Tensor, casts: int) -> MicroBatch:
        """Trace both passes of a micro-batch."""
        self.recorder.taken()
        self.used.reset()
        before = self.used.total + casts
        with self.precision():
            vectors, sizes = self._embed(lengths_M)
        graph, forward = self.used.total - before, self.used.peak - before
        forward_work = self.recorder.taken()
        self.used.reset()
        vectors.backward(torch.ones_like(vectors))  # type: ignore[no-untyped-call]
        return MicroBatch(*sizes, graph, forward, self.used.peak - before, forward_work, self.recorder.taken())

    def _scoring(self, texts: TextShapes, documents: int) -> Scoring:
        head = self.encoder.head
        tokens = _tokens(texts.lengths_N, head)
        batch = _batch(tokens, texts.queries, documents, self.objective, head)
        lengths_N = head.vectors(tokens)
        with torch.no_grad():
            size = self._embed(texts.lengths_N[:1])[0].shape[1]
        weight = next(iter(self.encoder.parameters()))
        values_TD = weight.new_empty((int(lengths_N.sum()), size), dtype=torch.float32).requires_grad_()
        self.recorder.taken()
        self.used.reset()
        before = self.used.total
        representation = Representation.join([Representation(values_TD, lengths_N)]).take(torch.arange(len(tokens)))
        loss = score_step(head, self.objective, batch, representation, present_ranks())["loss"]
        del representation
        forward = self.used.peak - before
        self.used.reset()
        loss.backward()  # type: ignore[no-untyped-call]
        backward = self.used.peak - before
        del loss
        return Scoring(forward, backward, self.used.total - before, self.recorder.taken())

    def _update(self, trained: list[torch.nn.Parameter]) -> tuple[int, int, Work]:
        """Return the bytes of the optimiser's state, those that its step takes in addition, and its work."""
        eight_bit = self.optim.name == "adamw_8bit"  # has kernels for CUDA alone
        optimizer = (replace(self.optim, name="adamw") if eight_bit else self.optim).optimizer(self.encoder)
        before = self.used.total
        optimizer.step()
        state = (self.used.total - before) // (4 if eight_bit else 1)
        self.recorder.taken()
        self.used.reset()
        before = self.used.total
        clip(None, trained, 1.0, None)
        optimizer.step()
        return state, self.used.peak - before, self.recorder.taken()


def _bytes(tensors: list[Tensor]) -> int:
    allocations = {id(tensor.allocation): tensor.allocation for tensor in tensors if isinstance(tensor, DeviceTensor)}
    return sum(allocation.size for allocation in allocations.values() if allocation is not None)


def sizes_of(lengths_M: Tensor, *, packed: bool) -> tuple[int, int, int, int]:
    """Return what a micro-batch's cost depends on: computed positions, squares of lengths, area with padding, texts."""
    count, width = len(lengths_M), int(lengths_M.max())
    if packed:
        return int(lengths_M.sum()), int(lengths_M.square().sum()), count * width, count
    return count * width, count * width**2, count * width, count


def _sampled(longest: int) -> list[Tensor]:
    """Return the lengths of five micro-batches: long texts, half as many, short ones, middling ones, and a mixture.

    Lengths differ by up to a quarter, as in sorted texts: padding takes a mask or is packed away, and a CPU attends to
    texts of one length at a time.
    """
    short, count = max(1, longest // 4), max(4, _TRACED_TOKENS // longest)
    middle = max(1, longest // 2)
    alike = [(longest, count), (longest, count // 2), (short, count * longest // short), (middle, count)]
    uneven = [width - torch.arange(texts).clamp(max=width // 4) for width, texts in alike]
    return [*uneven, torch.cat([uneven[1], uneven[2][: count // 2]])]


def _tokens(lengths_N: Tensor, head: Any) -> Tokens:
    """Return texts of these lengths; a reranker keeps one token of each."""
    total = int(lengths_N.sum())
    keep_T = torch.ones(total, dtype=torch.bool)
    if head.kind == "reranker":
        keep_T = torch.zeros_like(keep_T).index_fill_(0, lengths_N.cumsum(0) - 1, value=True)
    ids_T, none_N = torch.ones(total, dtype=torch.int32), torch.zeros_like(lengths_N)
    return Tokens(ids_T, torch.ones(total, dtype=torch.bool), keep_T, lengths_N, none_N, none_N)


def _batch(tokens: Tokens, queries: int, per_query: int, objective: Objective, head: Any) -> Batch | PairBatch:
    """Return a batch of these tokens: the first document of each query is relevant."""
    documents = len(tokens) - queries
    query_P = torch.arange(documents) // max(1, per_query)
    label_P = torch.ones(documents)
    label_P[1:][query_P[1:] == query_P[:-1]] = 0.0
    teachers = {name: torch.linspace(0.0, 1.0, documents) for name in objective.teachers}
    if head.reads_pairs:
        labels = int(tokens.keep_T.sum()) - documents if head.kind == "pruner" else 0
        return PairBatch(0, tokens, query_P, label_P, teachers, torch.zeros(labels))
    split = int(tokens.lengths_N[:queries].sum())
    own, other = (
        Tokens(
            tokens.ids_T[part], tokens.attend_T[part], tokens.keep_T[part], *(x[texts] for x in (tokens.lengths_N,) * 3)
        )
        for part, texts in ((slice(split), slice(queries)), (slice(split, None), slice(queries, None)))
    )
    query_P = query_P.clamp(max=max(0, queries - 1))
    key_N = torch.arange(documents)
    relation = Relation(query_P, key_N, label_P, teachers, key_N, query_P, key_N, torch.arange(queries))
    return Batch(0, own, other, relation)
