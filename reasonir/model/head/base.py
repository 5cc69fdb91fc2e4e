"""Interface of heads: hidden states to representations, and representations to scores.

A retriever's head computes one representation per text; a reranker's reads query and document together and gives the
pair one score; a pruner's is a reranker that also scores the tokens of the document. A new head is one file here with a
class that is a `RetrieverHead`, `RerankerHead` or `PrunerHead`, and one YAML whose `_target_` is the class's `load`.
The class describes itself; no other file lists heads. A head implements its tokenisation, pooling, similarity and
export format; batching, caching and precision belong to the encoder and the training engine.

Shape letters: T vectors or tokens of all texts, N texts or documents, Q queries, P pairs, L padded length, H hidden
size, D vector size.
"""

from __future__ import annotations

import math
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
LEAST_TEMPERATURE = 0.01
"""Lower bound of a learned temperature, as in CLIP, unless it starts below."""


class Tokenizer(Protocol):
    """Tokenizer of texts; picklable, for loader workers."""

    prompts: Prompts

    def __call__(self, texts: Sequence[Text], side: Side) -> Tokens:
        """Return the tokens of `texts` with prompts, truncated to the side's length, with the number of tokens lost."""

    def limit(self, side: Side) -> int:
        """Return the maximum tokens per text of `side`."""

    def least(self, side: Side) -> int:
        """Return the tokens that shorter texts of `side` are padded to; 0 for none."""

    def whole(self) -> Tokenizer:
        """Return the same layout without truncation and padding."""

    def stamp(self) -> Mapping[str, Any]:
        """Return lengths and prompts, for the protocol of results."""
        return {
            "query_length": self.limit("query"),
            "document_length": self.limit("document"),
            "query_prompt": self.prompts.query,
            "document_prompt": self.prompts.document,
            "instruction": self.prompts.instruction,
        }

    def collate(self, step: int, groups: Sequence[QueryGroup]) -> Batch:
        """Return the batch of a step."""
        return contrast(step, groups, tokenize=self)


class PairTokenizer(Protocol):
    """Tokenizer of pairs; picklable, for loader workers."""

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Tokens, Tensor]:
        """Return the tokens of `pairs`, and the label of every token that a pruner scores (see `PairBatch`)."""

    def limit(self, side: Side) -> int:
        """Return the maximum tokens per pair, for either side."""

    def least(self, side: Side) -> int:
        """Return 0: pairs are not padded."""

    def whole(self) -> PairTokenizer:
        """Return the same layout without truncation."""

    def stamp(self) -> Mapping[str, Any]:
        """Return the options that determine a pair's tokens (length, template), for the protocol of results."""

    def collate(self, step: int, groups: Sequence[QueryGroup]) -> PairBatch:
        """Return the batch of a step."""
        return pair(step, groups, tokenize=self)


class Head(Protocol):
    """Computes representations from hidden states. An nn.Module; its parameters are trained."""

    name: ClassVar[str]
    """Option of the group `model/head`; part of the registered model's name and of cache keys."""
    kind: ClassVar[Kind]
    """retriever (one representation per text), reranker (one score per pair) or pruner (also one logit per token)."""
    reads_pairs: ClassVar[bool]
    """True if query and document are read together."""
    single_vector: ClassVar[bool]
    """True if the representation of a text, or of a pair, is a single vector."""
    sparse: ClassVar[bool] = False
    """True if vectors are weights of the vocabulary's terms, 0 or more, mostly 0; `size` is then their number."""
    default_loss: ClassVar[str]
    """Default option of the group `loss`; `config.loss_of` reads its source."""
    usage: ClassVar[UsageSnippet]
    """Code that opens its export, for the model card."""
    graph_folder: ClassVar[str] = ""
    """Subfolder of an export whose library opens the graph of `graph_outputs`; empty for the export itself."""
    evidence: ClassVar[Evidence] = "none"
    """Highlights of a document in reports: none, tokens that match the query's, or sentences with their probability."""

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether a checkpoint's files belong to this head; derived heads are tried before their base."""
        return False

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """Return why the head can't read a checkpoint with the YAML's options, by its JSON files; None if it can."""
        return None

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """Return the maximum tokens per text for `folder` with the YAML's options; nothing is loaded."""

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> Tokenizer | PairTokenizer:
        """Return the tokenizer that loading `folder` with the YAML's options gives, without weights.

        Args:
            folder: the checkpoint.
            options: the YAML's options.
            tokenizer: the checkpoint's own, which may be changed.
            prompts: the YAML's prompts.
            positions: maximum length without an option.
        """

    @classmethod
    def length_options(cls, lengths: Mapping[Side, int]) -> dict[str, int]:
        """Return the YAML's options for these maximum tokens per text."""
        return {"max_length": max(lengths.values())}

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """Return the size of a vector, for a backbone of hidden size `hidden`."""

    def __call__(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return values_TD: the vectors of a micro-batch, text by text, in float32."""

    def inputs(self, padded: Padded) -> dict[str, Tensor]:
        """Return inputs of the backbone besides tokens and attention mask."""
        return {}

    def vectors(self, tokens: Tokens) -> Tensor:
        """Return lengths_N: the number of vectors of each text, by default 1."""
        return torch.ones_like(tokens.lengths_N)

    def stored(self, representation: Representation) -> Representation:
        """Return the representation of a micro-batch in the form that inference keeps, by default as it is."""
        return representation

    def outputs(self, representation: Representation) -> list[Tensor]:
        """Return the values of each text or pair by which an export is compared with the model."""
        return list(torch.split(representation.values_TD, representation.lengths_N.tolist()))

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the model in the format its ecosystem loads."""

    def graph_outputs(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a graph for other runtimes, by the names that libraries expect: the hidden states."""
        return {"last_hidden_state": hidden_NLH}

    def from_graph(self, outputs: Mapping[str, Tensor], padded: Padded) -> Tensor:
        """Return values_TD of a micro-batch, as a call does, from the outputs of its graph."""
        return self(outputs["last_hidden_state"], padded)

    def options(self) -> dict[str, Any]:
        """Return the options of `load` that an export's files don't contain, as plain values; by default none."""
        return {}


class RetrieverHead(Head, Protocol):
    """Scores every query with every document by their representations."""

    kind: ClassVar[Kind] = "retriever"
    reads_pairs: ClassVar[bool] = False
    metric: ClassVar[str]
    """Metric of single vectors: inner_product, or euclidean distance; other heads have none."""
    normalised: ClassVar[bool] = True
    """True if vectors have length 1."""
    temperature: float
    """Default divisor of the scores in a softmax; where it is learned, its first value."""
    log_temperature: nn.Parameter
    """Logarithm of a learned temperature, of shape (1,), which FSDP needs; absent otherwise."""
    tokenizer: Tokenizer

    def learn_temperature(self) -> None:
        """Make the logarithm of the temperature a parameter, as CLIP does (arXiv:2103.00020)."""
        self.log_temperature = nn.Parameter(torch.full((1,), math.log(self.temperature)))

    def learned_temperature(self) -> Tensor | None:
        """Return the temperature, `LEAST_TEMPERATURE` or more; None if it isn't learned.

        Its gradient never lowers a parameter that is below the bound already.
        """
        log_temperature: nn.Parameter | None = getattr(self, "log_temperature", None)
        if log_temperature is None:
            return None
        missing = math.log(min(LEAST_TEMPERATURE, self.temperature)) - log_temperature.detach()
        bounded = log_temperature + missing.clamp(min=0)
        if bounded.requires_grad:
            bounded.register_hook(lambda grad: grad.where((missing <= 0) | (grad < 0), 0))  # type: ignore[no-untyped-call]
        return bounded.exp().squeeze(0)

    def options(self) -> dict[str, Any]:
        """Return the learned temperature; see `Head.options`."""
        temperature = self.learned_temperature()
        return {} if temperature is None else {"temperature": temperature.item()}

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return scores_QN, higher is better; differentiable."""

    def views(
        self, queries: Representation, documents: Representation
    ) -> Iterator[tuple[Representation, Representation]]:
        """Yield the queries and documents that are trained: themselves by default, or for each trained vector size."""
        yield queries, documents

    def library_outputs(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> Mapping[str, Sequence[Tensor]]:
        """Return the vectors of each text by library, for the libraries that open an export; on `device`."""


class RerankerHead(Head, Protocol):
    """Scores pairs."""

    kind: ClassVar[Kind] = "reranker"
    reads_pairs: ClassVar[bool] = True
    single_vector: ClassVar[bool] = True
    tokenizer: PairTokenizer

    def scores(self, pairs: Representation) -> Tensor:
        """Return scores_P, logits: higher is better, 0 is undecided; differentiable."""

    def outputs(self, representation: Representation) -> list[Tensor]:
        """Return the logit of each pair; see `Head.outputs`."""
        return list(self.scores(representation)[:, None])

    def library_outputs(
        self, folder: Path, pairs: Sequence[Pair], device: torch.device, *, trust_remote_code: bool
    ) -> Mapping[str, Sequence[Tensor]]:
        """Return the logit of each pair by library, for the libraries that open an export; on `device`."""


class PrunerHead(RerankerHead, Protocol):
    """Scores pairs, and the tokens of their documents."""

    kind: ClassVar[Kind] = "pruner"
    single_vector: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "sentences"

    def outputs(self, representation: Representation) -> list[Tensor]:
        """Return the logit of each pair, then those of its tokens; see `Head.outputs`."""
        return Head.outputs(self, representation)

    def token_logits(self, pairs: Representation) -> Representation:
        """Return the logit that a token helps to answer, for every token with a label: one row per token."""


class HeadLoader(Protocol):
    """Partial of a head's `load`, built by its YAML."""

    def __call__(self, folder: Path, *, prompts: Prompts, model_kwargs: dict[str, Any]) -> tuple[nn.Module, Head]:
        """Return the backbone (a transformers model) and the head of the checkpoint in `folder`."""
