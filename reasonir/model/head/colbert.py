"""Late interaction: one normalised vector per token, scored by MaxSim (ColBERT, arXiv:2004.12832).

PyLate loads and saves the checkpoint, so any PyLate, Stanford or plain encoder checkpoint works, and exports open in
PyLate with the same scores. Tokenisation is implemented here, token for token like PyLate's, because PyLate pads every
document to the maximum length.

A checkpoint that is no ColBERT starts with long queries, without expansion, and with an orthogonal projection:
docs/log.md has the comparison with PyLate's choices (32 tokens, expanded; uniform initialisation).

Shape letters: N texts, T tokens, L padded length, H hidden size, Q queries.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from reasonir.data.batch import Padded, Representation, Tokens
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import (
    UNBOUNDED,
    Length,
    check_length,
    module_options,
    stated_options,
    stated_values,
    usable_positions,
)
from reasonir.model.head.base import Evidence, RetrieverHead, Tokenizer
from reasonir.model.head.usage_snippet import RETRIEVE, UsageSnippet
from reasonir.model.maxsim import maxsim
from reasonir.model.prompts import Prompts
from reasonir.model.tokenize import CutText, check_prompt, clear_truncation, count_tokens, cut_texts, prepare
from reasonir.types import Side, Text
from reasonir.utils.ranges import Positive, PositiveFloat

log = logging.getLogger(__name__)
DEFAULT_LENGTHS: dict[Side, int] = {"query": 128, "document": 180}
"""Maximum tokens per text without a value in the checkpoint."""
DEFAULT_VECTOR = 128
"""Vector size without a projection in the checkpoint."""


@dataclass(frozen=True, slots=True)
class ColBERTTokenizer(Tokenizer):
    """PyLate's layout: first token, side marker, the text, and for queries expansion tokens up to the length."""

    tokenizer: Any
    prompts: Prompts
    query_length: int
    document_length: int
    query_prefix_id: int | None
    document_prefix_id: int | None
    expand: bool
    attend_to_expansion: bool
    skiplist: frozenset[int]
    lower_case: bool

    @classmethod
    def read(cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts) -> ColBERTTokenizer:
        """Return the layout from an option, else a checkpoint's files, else PyLate's default; loads no model."""
        stated = stated_options(folder, "config_sentence_transformers.json")
        stanford = _is_stanford(folder)
        artifact = stated_options(folder, "artifact.metadata") if stanford else {}
        lengths = ColBERT.limits(folder, options)

        def choose(option: str, *others: Any) -> Any:
            return next((value for value in (options.get(option), *others) if value is not None), None)

        markers = {}
        for side, key, unused in (
            ("query", "query_token_id", "[unused0]"),
            ("document", "doc_token_id", "[unused1]"),
        ):
            default = artifact.get(key, unused) if stanford else f"[{side[0].upper()}] "
            markers[side] = choose(f"{side}_prefix", stated.get(f"{side}_prefix"), default)
        prepare(tokenizer).add_tokens([marker for marker in markers.values() if marker])
        ids = {side: tokenizer.convert_tokens_to_ids(marker) if marker else None for side, marker in markers.items()}
        fill = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.eos_token_id
        tokenizer.pad_token_id = tokenizer.pad_token_id if fill is None else fill
        words = choose("skiplist", stated.get("skiplist_words"), list(string.punctuation))
        attend = (
            "attend_to_expansion",
            stated.get("attend_to_expansion_tokens"),
            artifact.get("attend_to_mask_tokens"),
        )
        return cls(
            tokenizer,
            prompts.completed(stated.get("prompts", {})),
            lengths["query"],
            lengths["document"],
            ids["query"],
            ids["document"],
            bool(choose("query_expansion", stated.get("do_query_expansion"), bool(_lengths(folder) or stanford))),
            bool(choose(*attend)),
            frozenset(_vocabulary_words(tokenizer, words).values()),
            bool(stated_options(folder, "sentence_bert_config.json").get("do_lower_case")),
        )

    @classmethod
    def of(cls, source: Any, prompts: Prompts) -> ColBERTTokenizer:
        """Return the layout of a PyLate model, with `prompts` in place of its own if given."""
        return cls(
            source.tokenizer,
            prompts.completed(source.prompts),
            source.query_length,
            source.document_length,
            source.query_prefix_id,
            source.document_prefix_id,
            source.do_query_expansion,
            source.attend_to_expansion_tokens,
            frozenset(source.skiplist),
            source[0].do_lower_case,
        )

    def __post_init__(self) -> None:
        for side in get_args(Side):
            special = self.tokenizer.num_special_tokens_to_add() + (self._marker(side) is not None)
            prompt = count_tokens(self.tokenizer, self.prompts.of(side))
            check_prompt(f"{side}_length", self.limit(side), special, prompt)

    def limit(self, side: Side) -> int:
        """Return the maximum tokens per text of `side`, marker included."""
        return self.query_length if side == "query" else self.document_length

    def least(self, side: Side) -> int:
        """Return query_length for expanded queries, else 0."""
        return self.query_length if self.expand and side == "query" else 0

    def whole(self) -> ColBERTTokenizer:
        """Return the same layout without truncation and expansion."""
        return replace(self, query_length=UNBOUNDED, document_length=UNBOUNDED, expand=False)

    def __call__(self, texts: Sequence[Text], side: Side) -> Tokens:
        """Return the tokens of `texts`; documents keep no vector for skiplisted tokens, expanded queries keep all."""
        cuts = self._cut(texts, side)
        return Tokens.pack([self._row(cut.ids, self._marker(side), side) for cut in cuts], [cut.lost for cut in cuts])

    def _marker(self, side: Side) -> int | None:
        return self.query_prefix_id if side == "query" else self.document_prefix_id

    def _cut(self, texts: Sequence[Text], side: Side) -> list[CutText]:
        return cut_texts(
            self.tokenizer,
            texts,
            side,
            self.prompts,
            self.limit(side) - (self._marker(side) is not None),
            lower_case=self.lower_case,
            markers=(self.query_prefix_id, self.document_prefix_id),
        )

    def vector_offsets(self, text: Text, side: Side) -> tuple[str, list[tuple[int, int]], list[str]]:
        """Return the tokenised string of `text`, and for each vector its characters [start, end) and its token.

        Markers and expansion tokens have an empty range. Fast tokenizers only.
        """
        string = self.prompts.apply(text, side)
        if self.lower_case:
            string = string.lower()
        (cut,) = self._cut([text], side)
        offsets = list(cut.offsets)
        if self._marker(side) is not None:
            offsets.insert(1, (0, 0))
        tokens = self([text], side)
        offsets += [(0, 0)] * (len(tokens.ids_T) - len(offsets))
        kept = tokens.keep_T.nonzero()[:, 0].tolist()
        names = self.tokenizer.convert_ids_to_tokens(tokens.ids_T[tokens.keep_T].tolist())
        return string, [offsets[index] for index in kept], list(names)

    def _row(self, ids: list[int], marker: int | None, side: Side) -> tuple[list[int], list[bool], list[bool]]:
        if marker is not None:
            ids = [*ids[:1], marker, *ids[1:]]
        attend = [True] * len(ids)
        if side == "document":
            keep = [token not in self.skiplist for token in ids]
            return ids, attend, keep if any(keep) else attend
        missing = self.query_length - len(ids) if self.expand else 0
        ids = ids + [self.tokenizer.pad_token_id] * missing
        return ids, attend + [self.attend_to_expansion] * missing, [True] * len(ids)


class ColBERT(nn.Module, RetrieverHead):
    """Projections and similarity of a PyLate ColBERT; see `Head`."""

    name: ClassVar[str] = "colbert"
    single_vector: ClassVar[bool] = False
    default_loss: ClassVar[str] = "cached_contrastive"
    evidence: ClassVar[Evidence] = "matches"
    usage: ClassVar[UsageSnippet] = UsageSnippet(
        "PyLate",
        "sentence-similarity",
        "late-interaction retriever (one vector per token, MaxSim)",
        """from pylate import models, rank

model = models.ColBERT("{name}")
queries = model.encode(["why does it rain"], is_query=True, prompt_name="query")
documents = model.encode(["Warm air rises.", "Copper conducts."], is_query=False, prompt_name="document")
print(rank.rerank([[0, 1]], queries, [documents]))""",
        RETRIEVE,
        ("ColBERT", "PyLate", "sentence-transformers", "sentence-similarity", "feature-extraction"),
        "Py Late Information Retrieval",
        "MaxSim",
    )

    def __init__(self, source: Any, tokenizer: ColBERTTokenizer, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.tokenizer = tokenizer
        self.projections = nn.ModuleList(list(source)[1:])
        self._source = (source,)  # a tuple, so that its parameters aren't registered a second time

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a PyLate or Stanford checkpoint."""
        stated = stated_options(folder, "config_sentence_transformers.json")
        return "query_length" in stated or _is_stanford(folder)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        query_length: Length | None = None,
        document_length: Length | None = None,
        embedding_size: Positive | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        query_expansion: bool | None = None,
        attend_to_expansion: bool | None = None,
        skiplist: list[str] | None = None,
        temperature: PositiveFloat = 1.0,
    ) -> tuple[nn.Module, ColBERT]:
        """Load the backbone and head of a checkpoint; None uses the checkpoint's value, else the default.

        Args:
            folder: a PyLate, Stanford or plain transformers checkpoint.
            prompts: prefixes of texts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            query_length: maximum tokens of a query, expansion included. Default 128.
            document_length: maximum tokens of a document. Default 180.
            embedding_size: vector size, for a checkpoint without projection.
            query_prefix: marker token of queries; "" for none.
            document_prefix: marker token of documents; "" for none.
            query_expansion: pad queries to query_length with mask tokens that are scored too. Default false.
            attend_to_expansion: let the other tokens attend to expansion tokens.
            skiplist: words whose tokens give documents no vector.
            temperature: see `RetrieverHead`.

        Raises:
            InputError: a length exceeds the model's positions or leaves texts no share, or no token can pad.
        """
        from pylate.models import ColBERT as PyLateColBERT

        if not _lengths(folder) and not _is_stanford(folder):
            query_length = query_length or DEFAULT_LENGTHS["query"]
            query_expansion = bool(query_expansion)
        try:
            source = PyLateColBERT(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=model_kwargs.get("trust_remote_code", False),
                model_kwargs={k: v for k, v in model_kwargs.items() if k != "trust_remote_code"},
                query_length=query_length,
                document_length=document_length,
                embedding_size=embedding_size,
                query_prefix=query_prefix,
                document_prefix=document_prefix,
                do_query_expansion=query_expansion,
                attend_to_expansion_tokens=attend_to_expansion,
                skiplist_words=skiplist,
            )
        except NotImplementedError as error:  # no mask, end-of-text or padding token
            raise InputError(f"{folder}: {error}: set pad_token in its tokenizer_config.json") from error
        _fix_pylate(source)
        if len(source) - 1 > _projections(folder):
            log.warning("%s has no projection: a new one is initialised and has to be trained", folder)
            nn.init.orthogonal_(source[-1].linear.weight)
        backbone = source[0].auto_model
        positions = usable_positions(backbone.config, source.tokenizer)
        check_length("query_length", source.query_length, positions)
        check_length("document_length", source.document_length, positions)
        return backbone, cls(source, ColBERTTokenizer.of(source, prompts), temperature)

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`."""
        limits = DEFAULT_LENGTHS | _lengths(folder)
        return {side: options.get(f"{side}_length") or limit for side, limit in limits.items()}

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> ColBERTTokenizer:
        """See `Head.read_tokenizer`."""
        return ColBERTTokenizer.read(folder, options, tokenizer=tokenizer, prompts=prompts)

    @classmethod
    def length_options(cls, lengths: Mapping[Side, int]) -> dict[str, int]:
        """See `Head.length_options`."""
        return {f"{side}_length": length for side, length in lengths.items()}

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """See `Head.vector_size`."""
        last = module_options(folder, "Dense")
        return options.get("embedding_size") or last.get("out_features") or DEFAULT_VECTOR

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Project the kept tokens, and normalise in float32."""
        features = {"token_embeddings": hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)}
        for projection in self.projections:
            features = projection(features)
        return normalize(features["token_embeddings"].float(), dim=-1)

    def vectors(self, tokens: Tokens) -> Tensor:
        """Return the number of kept tokens."""
        return tokens.kept_N

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return MaxSim, between minus and plus the number of query vectors."""
        return maxsim(queries, documents)

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write a PyLate model; its prompts carry the default instruction."""
        (source,) = self._source
        source[0].auto_model = backbone
        source.prompts = {side: self.tokenizer.prompts.of(side) for side in ("query", "document")}
        clear_truncation(source.tokenizer)
        source.save(str(folder), create_model_card=False)

    def library_outputs(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RetrieverHead.library_outputs`: by PyLate."""
        from pylate.models import ColBERT as PyLateColBERT

        source = PyLateColBERT(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch.float32},
        )
        vectors = source.encode(
            [text.text for text in texts],
            prompt_name=side,
            is_query=side == "query",
            convert_to_numpy=False,
            show_progress_bar=False,
        )
        return {"PyLate": list(vectors)}


def _lengths(folder: Path | None) -> dict[Side, int]:
    """Return the lengths in a PyLate or Stanford checkpoint; empty for other checkpoints."""
    pylate = stated_options(folder, "config_sentence_transformers.json")
    stanford = stated_options(folder, "artifact.metadata")
    lengths: dict[Side, int | None] = {
        "query": pylate.get("query_length") or stanford.get("query_maxlen"),
        "document": pylate.get("document_length") or stanford.get("doc_maxlen"),
    }
    return {side: length for side, length in lengths.items() if length}


def _is_stanford(folder: Path) -> bool:
    return "HF_ColBERT" in (stated_options(folder, "config.json").get("architectures") or [])


def _projections(folder: Path) -> int:
    """Return the number of projections in a checkpoint."""
    if _is_stanford(folder):
        return 1
    return sum(module["type"].endswith("Dense") for module in stated_values(folder / "modules.json", list))


def _fix_pylate(source: Any) -> None:
    """Work around two defects of PyLate 1.6 that change scores after export.

    A tokenizer that pads on the left gets its marker inserted among the pads, and a skiplist word that isn't in the
    vocabulary skips every unknown token.
    """
    tokenizer = prepare(source.tokenizer)
    tokenizer.padding_side = "right"
    words = _vocabulary_words(tokenizer, source.skiplist_words)
    source.skiplist_words, source.skiplist = list(words), list(words.values())


def _vocabulary_words(tokenizer: Any, words: Sequence[str]) -> dict[str, int]:
    """Return the ids of the words that are tokens of the vocabulary."""
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in words}
    return {word: i for word, i in ids.items() if i is not None and i != tokenizer.unk_token_id}
