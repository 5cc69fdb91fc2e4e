"""What a head is: it turns the backbone's hidden states into a representation, and representations into scores.

A new head is one file here with a class that satisfies `Head`, and one YAML beside the others whose `_target_` is the
class's `load`. Heads own what is special about them (tokenisation, pooling, similarity, the format they are saved in);
batching, caching and precision belong to the encoder and the training engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from reasonir.model.prompts import Prompts
from reasonir.types import Padded, Representation, Side, Text, Tokens


class Tokenizer(Protocol):
    """Turns texts into tokens; picklable, so that loader workers can do it."""

    prompts: Prompts

    def __call__(self, texts: Sequence[Text], side: Side) -> Tokens:
        """The tokens of `texts`, prompts applied, truncated to the side's length; what was cut is counted."""

    def limit(self, side: Side) -> int:
        """The most tokens a text of `side` may have; what is beyond is cut."""


class Head(Protocol):
    """Hidden states to representation to scores. An nn.Module; its parameters are trained."""

    kind: ClassVar[str]
    """What it yields: "retriever" (one representation a text), "reranker" (one score a pair)."""
    single_vector: ClassVar[bool]
    """Whether a text's representation is one vector."""
    temperature: float
    """What this head's scores are divided by in a softmax, unless the loss says otherwise."""
    tokenizer: Tokenizer

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """The tokens a text may have when loaded from `folder` with the YAML's options; nothing is loaded."""

    def __call__(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """values_TD: the vectors of a micro-batch, text by text, in float32."""

    def vectors(self, tokens: Tokens) -> Tensor:
        """lengths_N: how many vectors each text will have."""

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """scores_QN, higher is better; differentiable."""

    def views(self, queries: Representation, documents: Representation) -> Iterator[Tensor]:
        """The scores that are trained: one scores_QN, or several where a head is trained at several sizes."""

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the model in the format its ecosystem loads."""


class HeadLoader(Protocol):
    """What a head's YAML builds: reads a checkpoint folder and gives its backbone and head."""

    def __call__(self, folder: Path, *, prompts: Prompts, model_kwargs: dict[str, Any]) -> tuple[nn.Module, Head]:
        """The backbone (a transformers model) and the head of the checkpoint in `folder`."""
