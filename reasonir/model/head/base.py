"""What a head is: it turns the backbone's hidden states into a representation, and representations into scores.

A retriever's head makes one representation a text; a reranker's reads query and document together and makes one score
of them; a pruner's is a reranker that also says which tokens of the document help. A new head is one file here with a
class that satisfies `Retriever`, `Reranker` or `Pruner`, and one YAML beside the others whose `_target_` is the class's
`load`. Heads own what is special about them (tokenisation, pooling, similarity, the format they are saved in);
batching, caching and precision belong to the encoder and the training engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from reasonir.model.prompts import Prompts
from reasonir.types import Padded, Pair, Representation, Side, Text, Tokens


class Tokenizer(Protocol):
    """Turns texts into tokens; picklable, so that loader workers can do it."""

    prompts: Prompts

    def __call__(self, texts: Sequence[Text], side: Side) -> Tokens:
        """The tokens of `texts`, prompts applied, truncated to the side's length; what was cut is counted."""

    def limit(self, side: Side) -> int:
        """The most tokens a text of `side` may have; what is beyond is cut."""

    def least(self, side: Side) -> int:
        """The tokens a shorter text of `side` is filled up to; 0 where none is."""

    def whole(self) -> Tokenizer:
        """The same layout, with nothing cut and nothing filled up."""


class PairTokenizer(Protocol):
    """Turns pairs into tokens; picklable, so that loader workers can do it."""

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Tokens, Tensor]:
        """The tokens of `pairs`, and the label of every token that a pruner judges (see `PairBatch`)."""

    def limit(self, side: Side) -> int:
        """The most tokens of a pair, whichever side."""

    def least(self, side: Side) -> int:
        """0: no pair is filled up."""

    def whole(self) -> PairTokenizer:
        """The same layout, with nothing cut."""

    def stamp(self) -> Mapping[str, Any]:
        """What decides a pair's tokens (length, template, instruction), for the protocol of results."""


class Head(Protocol):
    """Hidden states to representation. An nn.Module; its parameters are trained."""

    kind: ClassVar[str]
    """retriever (one representation a text), reranker (one score a pair) or pruner (that, and a logit a token)."""

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """The tokens a text may have when loaded from `folder` with the YAML's options; nothing is loaded."""

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> Tokenizer | PairTokenizer:
        """The tokenizer that loading `folder` with the YAML's options gives; no weights are needed.

        `tokenizer` is the checkpoint's own, which may be changed; `positions` bound what no option states.
        """

    @classmethod
    def length_options(cls, lengths: Mapping[Side, int]) -> dict[str, int]:
        """The YAML's options that make these the tokens a text may have."""

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """Numbers in a vector, for a backbone of `hidden` when loaded from `folder` with the YAML's options."""

    def __call__(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """values_TD: the vectors of a micro-batch, text by text, in float32."""

    def vectors(self, tokens: Tokens) -> Tensor:
        """lengths_N: how many vectors each text will have."""

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the model in the format its ecosystem loads."""

    def options(self) -> dict[str, Any]:
        """Those options of `load` that an export of this head doesn't state by itself, as plain values."""


class RetrieverHead(Head, Protocol):
    """Scores every query against every document by their representations."""

    single_vector: ClassVar[bool]
    """Whether a text's representation is one vector."""
    metric: ClassVar[str]
    """What single vectors are ranked by: inner_product, or euclidean distance; other heads have none."""
    temperature: float
    """What this head's scores are divided by in a softmax, unless the loss says otherwise."""
    tokenizer: Tokenizer

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """scores_QN, higher is better; differentiable."""

    def views(self, queries: Representation, documents: Representation) -> Iterator[Tensor]:
        """The scores that are trained: one scores_QN, or several where a head is trained at several sizes."""

    def opened_elsewhere(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> Mapping[str, Sequence[Tensor]]:
        """The vectors of each text by the libraries that open an export, by the library's name; on `device`."""


class RerankerHead(Head, Protocol):
    """Scores pairs."""

    tokenizer: PairTokenizer

    def scores(self, pairs: Representation) -> Tensor:
        """scores_P, logits: higher is better, 0 is undecided; differentiable."""

    def opened_elsewhere(
        self, folder: Path, pairs: Sequence[Pair], device: torch.device, *, trust_remote_code: bool
    ) -> Mapping[str, Sequence[Tensor]]:
        """The logit of each pair by the libraries that open an export, by the library's name; on `device`."""


class PrunerHead(RerankerHead, Protocol):
    """Scores pairs, and the tokens of their documents."""

    def token_logits(self, pairs: Representation) -> Representation:
        """The logit that a token helps to answer, for every token that the tokenizer gives a label: rows of one."""


class HeadLoader(Protocol):
    """What a head's YAML builds: reads a checkpoint folder and gives its backbone and head."""

    def __call__(self, folder: Path, *, prompts: Prompts, model_kwargs: dict[str, Any]) -> tuple[nn.Module, Head]:
        """The backbone (a transformers model) and the head of the checkpoint in `folder`."""
