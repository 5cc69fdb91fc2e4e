"""Sequence classifier that reads query and document together (Nogueira and Cho 2019, arXiv:1901.04085).

Any transformers sequence classifier works, with the scores of transformers: its own pooling, dense layers and
classifier run on the backbone's output by its own code, with the backbone replaced by a module that returns that
output. A single label is the logit; of several, the first one is. A plain encoder gets a new classifier with one label.

Pairs are tokenised by the checkpoint's tokenizer. If a pair is too long, the longer side is truncated first, so that
each side keeps its share of the length. The row of a pair's score is the last token before its document.

Shape letters: N pairs of a micro-batch, T tokens or rows of all pairs, L padded length, H hidden size, P pairs, S
spans.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation, Tokens
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import (
    UNBOUNDED,
    Length,
    architecture_of,
    check_length,
    is_retriever,
    stated_options,
    usable_positions,
)
from reasonir.model.control_tokens import TextReader, reader_of
from reasonir.model.encoder import Encoder
from reasonir.model.head.base import PairTokenizer, RerankerHead
from reasonir.model.head.usage_snippet import RERANK, UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.model.spans import spans_of_tokens
from reasonir.model.tokenize import (
    QUERY_SHARE,
    OneLength,
    QueryShare,
    check_prompt,
    clear_truncation,
    count_tokens,
    ensure_padding,
    kept_of_side,
    prepare,
    split_room,
)
from reasonir.types import Pair, Side, Text

log = logging.getLogger(__name__)

MAX_LENGTH = 512
_PROBE = ("how do bees find flowers", "Some dance. Others follow.")


@dataclass(frozen=True, slots=True)
class PairEncoding(OneLength, PairTokenizer):
    """Tokenises pairs like the checkpoint, with each side truncated to its part of `max_length` (`split_room`).

    With `token_labels`, every token of a document gives a vector, and a label if it belongs to a labelled span.
    """

    tokenizer: Any
    prompts: Prompts
    max_length: int
    query_share: float = QUERY_SHARE
    token_labels: bool = False

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Tokens, Tensor]:
        """Return the tokens of `pairs`, and with `token_labels` the label of every document token."""
        rows, labels, lost, lost_query = [], [], [], []
        for pair, encoding in zip(pairs, self._read(self.prompted(pairs, self._named)), strict=True):
            kept, cut_query, cut_document = self._truncate(pair, encoding)
            side_T = encoding.sequence_ids
            document = [row for row, index in enumerate(kept) if side_T[index] == 1]
            before = (document[0] if document else len(kept) - 1) - 1
            keep = [False] * len(kept)
            for row in (before, *(document if self.token_labels else ())):
                keep[row] = True
            ids, offsets_T = encoding.ids, encoding.offsets  # each makes a list of all tokens
            rows.append(([ids[index] for index in kept], [True] * len(kept), keep))
            lost.append(cut_query + cut_document)
            lost_query.append(cut_query)
            if self.token_labels:
                offsets = [offsets_T[kept[row]] for row in document]
                labels.append(_labels(pair, self.prompts.of("document", pair.document.instruction), offsets))
        return Tokens.pack(rows, lost, lost_query), torch.cat(labels) if labels else torch.zeros(0)

    def prompted(self, pairs: Sequence[Pair], prompts: Prompts | None = None) -> list[tuple[str, str]]:
        """Return the strings of each pair, with `prompts` or the model's own."""
        own = prompts or self.prompts
        return [
            (
                own.of("query", pair.query.instruction) + pair.query.text,
                own.of("document", pair.document.instruction) + pair.document.text,
            )
            for pair in pairs
        ]

    @property
    def _reader(self) -> TextReader:
        return reader_of(self.tokenizer, (self.prompts.query, self.prompts.document))

    @property
    def _named(self) -> Prompts:
        return self.prompts.mapped(self._reader.rewrite)

    def _read(self, strings: Sequence[Any], *, special: bool = True) -> list[Any]:
        return self._reader.encode(strings, special=special)

    def stamp(self) -> dict[str, Any]:
        """See `PairTokenizer`."""
        prompts = {"query_prompt": self.prompts.of("query"), "document_prompt": self.prompts.of("document")}
        return {"max_length": self.max_length, "query_share": self.query_share, **prompts}

    def room(self, query: Text) -> int:
        """Return the maximum tokens of a document in a pair with this query."""
        (encoding,) = self._read([self._named.of("query", query.instruction) + query.text], special=False)
        room = self.max_length - int(self.tokenizer.num_special_tokens_to_add(pair=True))
        return split_room(len(encoding), UNBOUNDED, room, self.query_share)[1]

    def offsets(self, document: Text) -> list[tuple[int, int]]:
        """Return the characters [start, end) of all tokens of a document; its prompt counts as position 0."""
        prompt = self._named.of("document", document.instruction)
        (encoding,) = self._read([prompt + document.text], special=False)
        return [(max(start - len(prompt), 0), max(end - len(prompt), 0)) for start, end in encoding.offsets]

    def _truncate(self, pair: Pair, encoding: Any) -> tuple[Sequence[int], int, int]:
        """Return the indices of kept tokens of a pair, and how many tokens its query and its document lose."""
        side_T = encoding.sequence_ids
        if len(side_T) <= self.max_length:
            return range(len(side_T)), 0, 0
        query, document = ([index for index, value in enumerate(side_T) if value == side] for side in (0, 1))
        room = self.max_length - (len(side_T) - len(query) - len(document))
        kept_query, kept_document = split_room(len(query), len(document), room, self.query_share)
        offsets_T = encoding.offsets
        dropped = {
            *self._dropped(offsets_T, query, "query", pair.query, kept_query),
            *self._dropped(offsets_T, document, "document", pair.document, kept_document),
        }
        kept = [index for index in range(len(side_T)) if index not in dropped]
        return kept, len(query) - kept_query, len(document) - kept_document

    def _dropped(
        self, offsets_T: Sequence[tuple[int, int]], indices: Sequence[int], side: Side, text: Text, room: int
    ) -> set[int]:
        """Return the tokens that one side loses, so that its text keeps a share next to its prompt."""
        prompt, tail = len(self.prompts.of(side, text.instruction)), len(self.prompts.tail(side))
        kept = kept_of_side([offsets_T[index] for index in indices], prompt, tail, room)
        return {*indices}.difference(indices[position] for position in kept)


def _labels(pair: Pair, prompt: str, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """Return the label of each token: that of the span with most of its characters, NaN without a span."""
    shift = len(prompt)
    spans = [(start + shift, end + shift) for start, end in pair.spans]
    span_T = torch.from_numpy(spans_of_tokens(prompt + pair.document.text, offsets, spans))
    label_S = torch.tensor([*pair.span_labels, torch.nan], dtype=torch.float32)
    return label_S[span_T]  # NOWHERE, -1, selects the last one


class CrossEncoder(nn.Module, RerankerHead):
    """Classifier without its backbone; see `RerankerHead`."""

    name: ClassVar[str] = "cross_encoder"
    default_loss: ClassVar[str] = "bce"
    usage: ClassVar[UsageSnippet] = UsageSnippet(
        "sentence-transformers",
        "text-ranking",
        "reranker (cross-encoder)",
        """from sentence_transformers import CrossEncoder

model = CrossEncoder("{name}")
print(model.predict([("why does it rain", "Warm air rises."), ("why does it rain", "Copper conducts.")]))""",
        RERANK,
        ("sentence-transformers", "cross-encoder", "reranker"),
        "Cross Encoder Reranking",
    )

    def __init__(self, source: Any, tokenizer: PairEncoding) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        backbone = source.base_model
        self.classifier = source
        setattr(source, source.base_model_prefix, PrecomputedBackbone(getattr(backbone, "pooler", None)))
        if self.classifier.base_model.pooler is not None:
            backbone.pooler = None
        self._two_types = any(tokenizer.tokenizer("a", "b").get("token_type_ids", ()))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a sequence classifier."""
        return _is_classifier(folder) and not is_retriever(folder)

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """See `Head.unusable`: an encoder with a decoder, or a model without a classifier in transformers."""
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
        )

        stated = stated_options(folder, "config.json")
        family = stated.get("model_type")
        if stated.get("is_encoder_decoder"):
            reason = f"{folder} is an encoder with a decoder ({family}), whose classifier reads the decoder"
        elif family not in CLASSIFIERS and "auto_map" not in stated:
            reason = f"{folder} has no classifier in transformers ({family})"
        else:
            return None
        return f"model/head={cls.name}: {reason}: choose another checkpoint, or model/head=biencoder or colbert"

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        max_length: Length | None = None,
        query_share: QueryShare = QUERY_SHARE,
    ) -> tuple[nn.Module, CrossEncoder]:
        """Load the backbone and head of a sequence classifier, or of a plain encoder with a new classifier.

        Args:
            folder: a transformers checkpoint.
            prompts: prefixes of queries and documents.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            max_length: maximum tokens of a pair; the longer side is truncated first. Default 512.
            query_share: share of the tokens that a long query may use next to a long document.

        Raises:
            InputError: the tokenizer gives no offsets, the length or share is out of range, or the classifier
                uses more than its backbone's output.
        """
        source = read_classifier(folder, model_kwargs)
        options = {"max_length": max_length, "query_share": query_share}
        return cls._checked(source, cls._encoding(folder, source, prompts, options, model_kwargs))

    @classmethod
    def _encoding(
        cls,
        folder: Path,
        source: Any,
        prompts: Prompts,
        options: Mapping[str, Any],
        model_kwargs: Mapping[str, Any],
    ) -> PairEncoding:
        """Return the tokenizer of a checkpoint's pairs.

        Raises:
            InputError: the length or share is out of range.
        """
        from transformers import AutoTokenizer

        trust = model_kwargs.get("trust_remote_code", False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust, verbose=False)
        ensure_padding(tokenizer, source.config)
        positions = usable_positions(source.config, tokenizer)
        encoding = cls.read_tokenizer(folder, options, tokenizer=tokenizer, prompts=prompts, positions=positions)
        check_length("max_length", encoding.max_length, positions)
        special = int(tokenizer.num_special_tokens_to_add(pair=True))
        prompt = sum(count_tokens(tokenizer, prompts.of(side)) for side in get_args(Side))
        check_prompt("max_length", encoding.max_length, special, prompt)
        if encoding.max_length < (least := special + 16):
            raise InputError(
                f"model.head.max_length={encoding.max_length} leaves no room for a pair: set it to {least} or more"
            )
        return encoding

    @classmethod
    @torch.no_grad()
    def _checked(cls, source: Any, tokenizer: PairEncoding, **options: Any) -> tuple[nn.Module, Self]:
        """Return backbone and head after checking that they score a pair like the whole classifier."""
        query, document = tokenizer.prompts.of("query") + _PROBE[0], tokenizer.prompts.of("document") + _PROBE[1]
        expected = float(source.eval()(**tokenizer.tokenizer(query, document, return_tensors="pt")).logits[0, 0])
        backbone = source.base_model
        head = cls(source, tokenizer, **options)
        score = float(Encoder(backbone, head).score_pairs([Pair(Text(_PROBE[0]), Text(_PROBE[1]))])[0])
        if abs(score - expected) > 1e-4 * max(1.0, abs(expected)):
            raise InputError(
                f"{type(source).__name__} needs more than its backbone's last hidden states "
                f"({score:.4f} instead of {expected:.4f}): choose another checkpoint"
            )
        return backbone, head

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`: tokens per pair."""
        length = options.get("max_length") or MAX_LENGTH
        return {"query": length, "document": length}

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> PairEncoding:
        """See `Head.read_tokenizer`."""
        length = options.get("max_length") or min(MAX_LENGTH, positions)
        share = options.get("query_share") or QUERY_SHARE
        return PairEncoding(prepare(tokenizer), prompts, length, share)

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """Return 1, for the logit."""
        return 1

    def inputs(self, padded: Padded) -> dict[str, Tensor]:
        """Return token types if the tokenizer uses them: 1 after the score's row."""
        if not self._two_types:
            return {}
        kept_NL = torch.zeros_like(padded.ids_NL).flatten().index_fill(0, padded.rows_T, 1).view_as(padded.ids_NL)
        return {"token_type_ids": (kept_NL.cumsum(1) > kept_NL).long()}

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return the score of each pair."""
        return self._scores(hidden_NLH, padded)[:, None]

    def _scores(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        with torch.autocast(hidden_NLH.device.type, enabled=False):
            return self._logits(hidden_NLH.float(), padded.ids_NL, padded.attend_NL)[:, 0]

    def _logits(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> Tensor:
        """Return the logits of all labels of each pair."""
        output = self.classifier(
            input_ids=ids_NL.masked_fill(~attend_NL, self.classifier.config.pad_token_id),
            attention_mask=attend_NL.long(),
            inputs_embeds=hidden_NLH,
        )
        logits: Tensor = output.logits
        return logits

    def graph_outputs(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> dict[str, Tensor]:
        """See `Head.graph_outputs`: the logits of a sequence classifier."""
        return {"logits": self._logits(hidden_NLH, ids_NL, attend_NL)}

    def from_graph(self, outputs: Mapping[str, Tensor], padded: Padded) -> Tensor:
        """See `Head.from_graph`."""
        return outputs["logits"][:, :1]

    def scores(self, pairs: Representation) -> Tensor:
        """Return the first label's logit."""
        first_N = (pairs.lengths_N.cumsum(0) - pairs.lengths_N).to(pairs.values_TD.device, non_blocking=True)
        return pairs.values_TD[first_N, 0]

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the classifier, which transformers opens with the same scores."""
        with _with_backbone(self.classifier, backbone):
            self.classifier.save_pretrained(folder)
        tokenizer = clear_truncation(self.tokenizer.tokenizer)
        tokenizer.model_max_length = self.tokenizer.max_length  # sentence-transformers truncates pairs to it
        tokenizer.save_pretrained(folder)

    def options(self) -> dict[str, Any]:
        """See `Head.options`."""
        return {"max_length": self.tokenizer.max_length, "query_share": self.tokenizer.query_share}

    def library_outputs(
        self, folder: Path, pairs: Sequence[Pair], device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RerankerHead.library_outputs`: by sentence-transformers, with prompts in the texts."""
        from sentence_transformers import CrossEncoder as SentenceCrossEncoder

        source = SentenceCrossEncoder(
            str(folder), device=str(device), local_files_only=True, trust_remote_code=trust_remote_code
        )
        logits_P = source.predict(
            self.tokenizer.prompted(pairs),
            activation_fn=nn.Identity(),
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return {"sentence-transformers": list(logits_P.flatten(1)[:, :1] if logits_P.ndim > 1 else logits_P[:, None])}


class PrecomputedBackbone(nn.Module):
    """Replacement of a backbone that returns its precomputed output, pooled by the backbone's own pooler."""

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        """Return the output whose last hidden states are `inputs_embeds`."""
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


@contextmanager
def _with_backbone(classifier: Any, backbone: Any) -> Iterator[None]:
    """Put the backbone back into its classifier within the block."""
    precomputed = classifier.base_model
    if precomputed.pooler is not None:
        backbone.pooler = precomputed.pooler
    setattr(classifier, classifier.base_model_prefix, backbone)
    try:
        yield
    finally:
        setattr(classifier, classifier.base_model_prefix, precomputed)
        if precomputed.pooler is not None:
            backbone.pooler = None


def read_classifier(folder: Path, model_kwargs: Mapping[str, Any]) -> Any:
    """Load the sequence classifier of a checkpoint; a plain encoder gets a new one with one label."""
    from transformers import AutoModelForSequenceClassification

    labels = {}
    if not _is_classifier(folder):
        log.warning("%s has no classifier: a new one is initialised and has to be trained", folder)
        labels = {"num_labels": 1}
    return AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, **labels, **model_kwargs)


def _is_classifier(folder: Path) -> bool:
    return architecture_of(folder).endswith("ForSequenceClassification")
