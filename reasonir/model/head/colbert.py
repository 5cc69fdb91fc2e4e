"""Late interaction: one normalised vector per token, scored by MaxSim (ColBERT, arXiv:2004.12832).

Any PyLate, Stanford or plain encoder checkpoint works, and exports open in PyLate and sentence-transformers 6 with the
same scores. Files and tokens are read and written here as PyLate does, token for token, except that documents aren't
padded to the maximum length.

A checkpoint that is no ColBERT starts with long queries, without expansion, and with an orthogonal projection:
docs/log.md has the comparison with PyLate's choices (32 tokens, expanded; uniform initialisation).

Shape letters: N texts, T tokens, L padded length, H hidden size, Q queries.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
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
    module_folders,
    module_options,
    sentence_options,
    stated_options,
    usable_positions,
)
from reasonir.model.head.base import Evidence, RetrieverHead, Tokenizer
from reasonir.model.head.usage_snippet import RETRIEVE, UsageSnippet
from reasonir.model.maxsim import maxsim
from reasonir.model.prompts import Prompts
from reasonir.model.sentence_modules import Dense, read_transformer, read_weights, write_modules
from reasonir.model.tokenize import CutText, check_prompt, count_tokens, cut_texts, prepare
from reasonir.types import Side, Text
from reasonir.utils.ranges import Positive, PositiveFloat

log = logging.getLogger(__name__)
DEFAULT_LENGTHS: dict[Side, int] = {"query": 128, "document": 180}
"""Maximum tokens per text of a checkpoint that is no ColBERT."""
PYLATE_LENGTHS: dict[Side, int] = {"query": 32, "document": 180}
"""Maximum tokens per text of a ColBERT that states none."""
DEFAULT_VECTOR = 128
"""Vector size without a projection in the checkpoint."""
_STANFORD = "linear.weight"
"""Name of a Stanford checkpoint's projection."""


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
        """Return the layout from an option, else a checkpoint's files, else PyLate's default; loads no model.

        Raises:
            InputError: a length leaves texts no share, or no token can pad.
        """
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
        prepare(tokenizer).padding_side = "right"  # PyLate would insert the marker among pads on the left
        tokenizer.add_tokens([marker for marker in markers.values() if marker])
        ids = {side: tokenizer.convert_tokens_to_ids(marker) if marker else None for side, marker in markers.items()}
        fills = (tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        tokenizer.pad_token_id = next((fill for fill in fills if fill is not None), None)
        if tokenizer.pad_token_id is None:
            raise InputError(
                f"{folder} has neither a mask, an end-of-text nor a padding token to expand queries with: set "
                "pad_token in its tokenizer_config.json"
            )
        expand = bool(choose("query_expansion", stated.get("do_query_expansion"), _is_colbert(folder)))
        attend = choose(
            "attend_to_expansion",
            stated.get("attend_to_expansion_tokens"),
            artifact.get("attend_to_mask_tokens"),
        )
        words = choose("skiplist", stated.get("skiplist_words"), list(string.punctuation))
        return cls(
            tokenizer,
            prompts.completed(stated.get("prompts") or {}),
            lengths["query"],
            lengths["document"],
            ids["query"],
            ids["document"],
            expand,
            expand and bool(attend),
            frozenset(_vocabulary_ids(tokenizer, words)),
            bool(sentence_options(folder).get("do_lower_case")),
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

    def __init__(self, projections: Sequence[Dense], tokenizer: ColBERTTokenizer, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.tokenizer = tokenizer
        self.projections = nn.ModuleList(projections)

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
        options = {
            "query_length": query_length,
            "document_length": document_length,
            "query_prefix": query_prefix,
            "document_prefix": document_prefix,
            "query_expansion": query_expansion,
            "attend_to_expansion": attend_to_expansion,
            "skiplist": skiplist,
        }
        backbone, tokenizer = read_transformer(folder, model_kwargs)
        vocabulary = len(tokenizer)
        layout = ColBERTTokenizer.read(folder, options, tokenizer=tokenizer, prompts=prompts)
        positions = usable_positions(backbone.config, tokenizer)
        check_length("query_length", layout.query_length, positions)
        check_length("document_length", layout.document_length, positions)
        stated = sentence_options(folder).get("max_seq_length") or tokenizer.model_max_length
        tokenizer.model_max_length = min(stated, positions)
        projections, new = _projections(folder, backbone.config.get_text_config().hidden_size, embedding_size)
        if layout.query_prefix_id is not None or layout.document_prefix_id is not None:
            _fit_vocabulary(backbone, vocabulary, len(tokenizer))
        if new:
            log.warning("%s has no projection of this size: a new one is initialised and has to be trained", folder)
            nn.init.orthogonal_(projections[-1].linear.weight)
        head = cls(projections, layout, temperature)
        head.to(backbone.dtype)
        return backbone, head

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`."""
        defaults = PYLATE_LENGTHS if folder and _is_colbert(folder) else DEFAULT_LENGTHS
        limits = defaults | _lengths(folder)
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
        return options.get("embedding_size") or _stated_size(folder) or DEFAULT_VECTOR

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Project the kept tokens, and normalise in float32."""
        values_TD = hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)
        for projection in self.projections:
            values_TD = projection(values_TD)
        return normalize(values_TD.float(), dim=-1)

    def vectors(self, tokens: Tokens) -> Tensor:
        """Return the number of kept tokens."""
        return tokens.kept_N

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return MaxSim, between minus and plus the number of query vectors."""
        return maxsim(queries, documents)

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write a PyLate model; its prompts carry the default instruction."""
        layout = self.tokenizer
        query, document, *skipped = (
            _written(layout.tokenizer, index)
            for index in (layout.query_prefix_id, layout.document_prefix_id, *sorted(layout.skiplist))
        )
        config = {
            "model_type": "ColBERT",
            "prompts": {side: layout.prompts.of(side) for side in get_args(Side)},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": query,
            "document_prefix": document,
            "query_length": layout.query_length,
            "document_length": layout.document_length,
            "attend_to_expansion_tokens": layout.attend_to_expansion,
            "skiplist_words": skipped,
            "do_query_expansion": layout.expand,
        }
        write_modules(folder, backbone, layout.tokenizer, self.projections, config=config, lower_case=layout.lower_case)

    def library_outputs(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RetrieverHead.library_outputs`: by PyLate, else by sentence-transformers from 6 on."""
        options: dict[str, Any] = {
            "device": str(device),
            "local_files_only": True,
            "trust_remote_code": trust_remote_code,
            "model_kwargs": {"dtype": torch.float32},
        }
        strings = [text.text for text in texts]
        if find_spec("pylate"):
            from pylate.models import ColBERT as PyLateColBERT

            vectors = PyLateColBERT(str(folder), **options).encode(
                strings, prompt_name=side, is_query=side == "query", convert_to_numpy=False, show_progress_bar=False
            )
            return {"PyLate": list(vectors)}
        if find_spec("sentence_transformers.multi_vector_encoder") and self._marks_first():
            from sentence_transformers import MultiVectorEncoder

            source = MultiVectorEncoder(str(folder), **options)
            encode = source.encode_query if side == "query" else source.encode_document
            return {"sentence-transformers": list(encode(strings, show_progress_bar=False))}
        log.warning("The vectors of a %s are compared with no other library's, which PyLate would allow", side)
        return {}

    def _marks_first(self) -> bool:
        """Return whether the marker precedes the text: sentence-transformers has no other place, PyLate the second."""
        layout = self.tokenizer
        unmarked = layout.query_prefix_id is None and layout.document_prefix_id is None
        return unmarked or layout.tokenizer.encode("a", verbose=False)[0] in layout.tokenizer.all_special_ids


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
    stated = stated_options(folder, "config.json").get("architectures") or []
    return "HF_ColBERT" in stated and not module_folders(folder, "Dense")


def _is_colbert(folder: Path) -> bool:
    return bool(_lengths(folder)) or _is_stanford(folder)


def _stated_size(folder: Path | None) -> int | None:
    """Return the vector size in a checkpoint's files; None without a projection."""
    if not folder or not _is_stanford(folder):
        return module_options(folder, "Dense").get("out_features")
    weight_DH = read_weights(folder, _STANFORD).get(_STANFORD)
    return stated_options(folder, "artifact.metadata").get("dim") if weight_DH is None else len(weight_DH)


def _projections(folder: Path, hidden: int, size: int | None) -> tuple[list[Dense], bool]:
    """Return the projections of a checkpoint to `size`, and whether the last is new: none has that size.

    A Stanford checkpoint has its projection among the weights of the backbone.
    """
    if _is_stanford(folder):
        found = [Dense(hidden, _stated_size(folder) or DEFAULT_VECTOR)]
        found[0].load(folder)
    else:
        found = [Dense.read(inner) for inner in module_folders(folder, "Dense")]
    present = found[-1].linear.out_features if found else None
    if present is not None and size in (None, present):
        return found, False
    return [*found, Dense(present or hidden, size or DEFAULT_VECTOR)], True


def _fit_vocabulary(backbone: Any, before: int, after: int) -> None:
    """Give a model the rows of its tokenizer, and new ones for the markers that the tokenizer got.

    Raises:
        InputError: the model's class doesn't allow it.
    """
    try:
        for rows in (before, after):  # PyLate's order: the new rows are drawn from the distribution of those in use
            backbone.resize_token_embeddings(rows)
    except NotImplementedError as error:
        raise InputError(
            f"{type(backbone).__name__} can't take tokens for markers: set model.head.query_prefix and "
            'model.head.document_prefix to ""'
        ) from error


def _written(tokenizer: Any, index: int | None) -> str:
    """Return the string that gives a token its id; empty for none. Added tokens are named as they are normalised."""
    if index is None:
        return ""
    added = tokenizer.added_tokens_decoder.get(index)
    return str(added.content if added else tokenizer.convert_ids_to_tokens(index))


def _vocabulary_ids(tokenizer: Any, words: Sequence[str]) -> set[int]:
    """Return the ids of the words that are tokens of the vocabulary; PyLate takes the others for unknown tokens."""
    ids = {tokenizer.convert_tokens_to_ids(word) for word in words}
    return ids - {None, tokenizer.unk_token_id}
