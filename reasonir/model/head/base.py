"""Heads: hidden states of the backbone to representations, and representations to scores.

A retriever's head makes one representation per text; a reranker's reads query and document together and gives the pair
one score; a pruner's is a reranker that also scores the tokens of the document. A new head is one file here with a
class that is a `RetrieverHead`, `RerankerHead` or `PrunerHead`, and one YAML beside the others whose `_target_` is the
class's `load`. A head's class describes it to all other parts; no other file has a list of heads. Heads own what is
special about them (tokenisation, pooling, similarity, the format they are saved in); batching, caching and precision
belong to the encoder and the training engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from reasonir.data.batch import Batch, Padded, PairBatch, Representation, Tokens
from reasonir.data.batches.collate import QueryGroup, contrast, pair
from reasonir.model.head.usage_snippet import UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.types import Pair, Side, Text

Kind = Literal["retriever", "reranker", "pruner"]
Evidence = Literal["none", "matches", "sentences"]


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

    def stamp(self) -> Mapping[str, Any]:
        """Lengths and prompts, for the protocol of results."""
        return {
            "query_length": self.limit("query"),
            "document_length": self.limit("document"),
            "query_prompt": self.prompts.query,
            "document_prompt": self.prompts.document,
            "instruction": self.prompts.instruction,
        }

    def collate(self, step: int, groups: Sequence[QueryGroup]) -> Batch:
        """The batch of a step."""
        return contrast(step, groups, tokenize=self)


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
        """Options that decide a pair's tokens (length, template, instruction), for the protocol of results."""

    def collate(self, step: int, groups: Sequence[QueryGroup]) -> PairBatch:
        """The batch of a step."""
        return pair(step, groups, tokenize=self)


class Head(Protocol):
    """Hidden states to representation. An nn.Module; its parameters are trained."""

    name: ClassVar[str]
    """The option of the group `model/head`; part of the registered model's name and of what caches are kept under."""
    kind: ClassVar[Kind]
    """retriever (one representation per text), reranker (one score per pair) or pruner (and one logit per token)."""
    reads_pairs: ClassVar[bool]
    """Whether query and document are read together."""
    single_vector: ClassVar[bool]
    """Whether the representation of a text, or of a pair, is one vector."""
    default_loss: ClassVar[str]
    """The option of the group `loss` that trains it where none is chosen; `config.loss_of` reads its source."""
    usage: ClassVar[UsageSnippet]
    """How its export is opened, for the model card."""
    evidence: ClassVar[Evidence] = "none"
    """Marks of a document in reports: none, tokens that match the query's, or sentences with their probability."""

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the files of a checkpoint say that it has this head; asked after the heads that build on this one."""
        return False

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

    def inputs(self, padded: Padded) -> dict[str, Tensor]:
        """Inputs of the backbone besides tokens and attention mask."""
        return {}

    def vectors(self, tokens: Tokens) -> Tensor:
        """lengths_N: how many vectors each text will have."""

    def outputs(self, read: Representation) -> list[Tensor]:
        """The values of each text or pair by which an export is compared with the model."""
        return list(torch.split(read.values_TD, read.lengths_N.tolist()))

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the model in the format its ecosystem loads."""

    def options(self) -> dict[str, Any]:
        """Those options of `load` that an export of this head doesn't state by itself, as plain values."""


class RetrieverHead(Head, Protocol):
    """Scores every query against every document by their representations."""

    kind: ClassVar[Kind] = "retriever"
    reads_pairs: ClassVar[bool] = False
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

    kind: ClassVar[Kind] = "reranker"
    reads_pairs: ClassVar[bool] = True
    single_vector: ClassVar[bool] = True
    tokenizer: PairTokenizer

    def scores(self, pairs: Representation) -> Tensor:
        """scores_P, logits: higher is better, 0 is undecided; differentiable."""

    def outputs(self, read: Representation) -> list[Tensor]:
        """See `Head.outputs`: the logit of each pair."""
        return list(self.scores(read)[:, None])

    def opened_elsewhere(
        self, folder: Path, pairs: Sequence[Pair], device: torch.device, *, trust_remote_code: bool
    ) -> Mapping[str, Sequence[Tensor]]:
        """The logit of each pair by the libraries that open an export, by the library's name; on `device`."""


class PrunerHead(RerankerHead, Protocol):
    """Scores pairs, and the tokens of their documents."""

    kind: ClassVar[Kind] = "pruner"
    single_vector: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "sentences"

    def outputs(self, read: Representation) -> list[Tensor]:
        """See `Head.outputs`: the logit of each pair, then those of its tokens."""
        return Head.outputs(self, read)

    def token_logits(self, pairs: Representation) -> Representation:
        """The logit that a token helps to answer, for every token that the tokenizer gives a label: rows of one."""


class HeadLoader(Protocol):
    """What a head's YAML builds: reads a checkpoint folder and gives its backbone and head."""

    def __call__(self, folder: Path, *, prompts: Prompts, model_kwargs: dict[str, Any]) -> tuple[nn.Module, Head]:
        """The backbone (a transformers model) and the head of the checkpoint in `folder`."""
