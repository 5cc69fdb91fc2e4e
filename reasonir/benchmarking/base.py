"""Peer protocol: an implementation of a training step on given texts, run in its own process.

All peers get the same exported model, texts and length limits, without dropout; times are reported only if losses
agree, and gradients up to a known factor. A peer may run in another environment, so a workload holds plain values, and
the modules imported there depend on torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from reasonir.data.batch import Batch, PairBatch
from reasonir.data.batches.collate import groups_of
from reasonir.engine.step import Budget
from reasonir.hardware import number_format
from reasonir.model import varlen
from reasonir.model.backbone import Model
from reasonir.model.head.base import PairTokenizer, Tokenizer
from reasonir.types import Document, Example, Side


@dataclass(frozen=True, slots=True)
class Workload:
    """Training step for all peers.

    Attributes:
        model: an exported model in the format that its ecosystem loads.
        columns: aligned texts: queries, positives, then hard negatives. For retrievers texts are distinct, so that
            in-batch negatives are the same for all peers; rerankers have at least one column of negatives.
        temperature: divisor of retrievers' scores; 1 for rerankers, whose scores are logits.
        limits: maximum tokens of a text by side, or of a pair; longer ones are truncated.
        device: torch device.
        budget: token budget of the plan for this hardware.
        precision: precision of the hardware profile, with autocast if mixed.
        memory_cap_gib: maximum GPU memory of a process in GiB; None for all of it.
    """

    model: Model
    columns: Sequence[Sequence[str]]
    temperature: float
    limits: Mapping[Side, int]
    device: str
    budget: Budget
    precision: str = "32-true"
    memory_cap_gib: float | None = None

    @property
    def load_options(self) -> dict[str, Any]:
        """Keyword arguments for peers to load `model.path`; without `varlen` attention."""
        attention = "sdpa" if self.model.attention == varlen.NAME else self.model.attention
        return {
            "device": self.device,
            "local_files_only": True,
            "model_kwargs": {"attn_implementation": attention},
        }

    def number_format(self) -> AbstractContextManager[Any]:
        """Return the context of the computation's number format."""
        return number_format(self.precision, self.device)

    @property
    def examples(self) -> list[Example]:
        """The columns' rows with labels."""
        return labelled(self.columns)

    def batch(self, tokenizer: Any) -> Batch | PairBatch:
        """Return the step's batch, tokenised by the head's tokenizer."""
        return batch_of(self.columns, tokenizer)


def labelled(columns: Sequence[Sequence[str]]) -> list[Example]:
    """Return the rows of aligned columns with label 1 for positives and 0 for negatives."""
    examples = []
    for number, (query, *texts) in enumerate(zip(*columns, strict=True)):
        documents = [Document(f"{number}.{i}", text, label=float(i == 0)) for i, text in enumerate(texts)]
        examples.append(Example(str(number), query, tuple(documents)))
    return examples


def batch_of(columns: Sequence[Sequence[str]], tokenizer: Tokenizer | PairTokenizer) -> Batch | PairBatch:
    """Return the batch of aligned columns, tokenised by a head's tokenizer."""
    return tokenizer.collate(0, groups_of(labelled(columns)))


@dataclass(frozen=True, slots=True)
class Failure:
    """Error of a peer's process."""

    reason: str
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class FirstStep:
    """A peer's first step, for comparison with the others.

    Attributes:
        loss: value of the loss.
        gradient: norm of all gradients, divided by the peer's known factor.
        positions: token positions of one forward pass over all texts, padding included.
        forward_positions: token positions of all forward passes, recomputation included.
    """

    loss: float
    gradient: float
    positions: int
    forward_positions: int


class Peer(Protocol):
    """Implementation of a training step, in the current environment and with exact gradients by default."""

    heads: ClassVar[frozenset[str]]
    """Names of the heads that it can train."""

    @property
    def python(self) -> str | None:
        """Interpreter of its environment; None for the current one."""
        return None

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """Load the model and tokenise the texts, untimed; return the model and a function that computes the loss."""

    def gradient_scale(self, workload: Workload) -> float:
        """Return the known factor by which its gradients are too large."""
        return 1.0
