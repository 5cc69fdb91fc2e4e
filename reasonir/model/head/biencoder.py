"""One normalised vector per text, scored by cosine (Reimers and Gurevych 2019, arXiv:1908.10084).

sentence-transformers loads and saves the checkpoint, so any of its models or a plain encoder works, and exports open
there with the same scores. Texts are always padded on the right and pooled by their own length, which gives the same
vectors as a tokenizer that pads on the left. Several `dimensions` train nested prefixes of the vector (Matryoshka
representation learning, arXiv:2205.13147).

Shape letters: N texts or documents, Q queries, T tokens, L padded length, H hidden size, D vector size, M positions of
a micro-batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from annotated_types import MinLen
from torch import Tensor, nn
from torch.nn.functional import normalize

from reasonir.data.batch import Padded, Representation, Tokens
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import (
    UNBOUNDED,
    Length,
    check_length,
    module_options,
    sentence_options,
    stated_options,
    usable_positions,
)
from reasonir.model.head.base import RetrieverHead, Tokenizer
from reasonir.model.head.usage_snippet import RETRIEVE, UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.model.shape import Shape
from reasonir.model.tokenize import (
    CutText,
    OneLength,
    check_prompt,
    clear_truncation,
    count_tokens,
    cut_texts,
    ends_with_eos,
    ensure_padding,
    prepare,
)
from reasonir.types import Side, Text
from reasonir.utils.ranges import Positive, PositiveFloat

log = logging.getLogger(__name__)
PoolingMode = Literal["cls", "mean", "lasttoken"]


@dataclass(frozen=True, slots=True)
class BiEncoderTokenizer(OneLength, Tokenizer):
    """Prompt and text in one sequence; the prompt's tokens are excluded from pooling if the model does so."""

    tokenizer: Any
    prompts: Prompts
    max_length: int
    lower_case: bool
    include_prompt: bool

    def __post_init__(self) -> None:
        special = self.tokenizer.num_special_tokens_to_add()
        prompt = max(count_tokens(self.tokenizer, self.prompts.of(side)) for side in get_args(Side))
        check_prompt("max_length", self.max_length, special, prompt)

    def __call__(self, texts: Sequence[Text], side: Side) -> Tokens:
        """Return the tokens of `texts`, all attended to."""
        rows, lost = [], []
        for text, cut in zip(texts, self._cut(texts, side), strict=True):
            ids = cut.ids
            skipped = 0 if self.include_prompt else self._prompt_length(text, side) - cut.prompt_lost
            keep = [position >= skipped for position in range(len(ids))]
            rows.append((ids, [True] * len(ids), keep if any(keep) else [True] * len(ids)))
            lost.append(cut.lost)
        return Tokens.pack(rows, lost)

    def _cut(self, texts: Sequence[Text], side: Side) -> list[CutText]:
        return cut_texts(self.tokenizer, texts, side, self.prompts, self.max_length, lower_case=self.lower_case)

    def _prompt_length(self, text: Text, side: Side) -> int:
        if not self.prompts.of(side, text.instruction):
            return 0
        (prompt,) = replace(self, max_length=UNBOUNDED)._cut([Text("", text.instruction)], side)
        return len(prompt.ids) - (prompt.ids[-1] in self.tokenizer.all_special_ids)


class BiEncoder(nn.Module, RetrieverHead):
    """Pooling and the modules after it; see `Head`."""

    name: ClassVar[str] = "biencoder"
    single_vector: ClassVar[bool] = True
    metric: ClassVar[str] = "inner_product"
    default_loss: ClassVar[str] = "cached_contrastive"
    usage: ClassVar[UsageSnippet] = UsageSnippet(
        "sentence-transformers",
        "sentence-similarity",
        "retriever (one vector per text)",
        """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
queries = model.encode_query(["why does it rain"])
documents = model.encode_document(["Warm air rises.", "Copper conducts."])
print(model.similarity(queries, documents))""",
        RETRIEVE,
        ("sentence-transformers", "sentence-similarity", "feature-extraction", "dense"),
        "Information Retrieval",
        "cosine",
    )

    def __init__(
        self,
        source: Any,
        tokenizer: BiEncoderTokenizer,
        pooling: str,
        dimensions: tuple[int, ...],
        temperature: float,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.dimensions = dimensions
        self.rest = nn.ModuleList(list(source)[2:])
        self._source = (source,)  # a tuple, so that its parameters aren't registered a second time

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a checkpoint with a pooling module."""
        return bool(module_options(folder, "Pooling"))

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        pooling: PoolingMode | None = None,
        max_length: Length | None = None,
        dimensions: Annotated[list[Positive], MinLen(1)] | None = None,
        temperature: PositiveFloat = 0.05,
    ) -> tuple[nn.Module, BiEncoder]:
        """Load the backbone and head of a checkpoint; None uses the checkpoint's value.

        Args:
            folder: a sentence-transformers or plain transformers checkpoint.
            prompts: prefixes of texts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            pooling: cls, mean or lasttoken.
            max_length: maximum tokens of a text, prompt included.
            dimensions: vector sizes to train; None trains the full one only.
            temperature: see `RetrieverHead`.

        Raises:
            InputError: the model doesn't support the pooling, length or dimension.
        """
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling

        source = SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=model_kwargs.get("trust_remote_code", False),
            model_kwargs={k: v for k, v in model_kwargs.items() if k != "trust_remote_code"},
        )
        source.float()
        backbone = source[0].auto_model
        prepare(ensure_padding(source.tokenizer, backbone.config)).padding_side = "right"  # so that cls is first
        if len(source) < 2 or not isinstance(source[1], Pooling):  # a plain encoder, or a late-interaction model
            source = SentenceTransformer(
                modules=[source[0], _pooling(source, pooling or "mean")], prompts=source.prompts
            )
        elif pooling is not None:
            source[1] = _pooling(source, pooling)
        mode = _checked_pooling(_pooling_mode(source[1]))
        if mode == "lasttoken" and not ends_with_eos(source.tokenizer):
            log.warning("%s pools the last token of a text, and its tokenizer adds none: it is one of the text", folder)
        if not isinstance(source[-1], Normalize):
            source.append(Normalize())
        positions = usable_positions(backbone.config, source.tokenizer)
        source[0].max_seq_length = max_length or min(source[0].max_seq_length or positions, positions)
        check_length("max_length", source[0].max_seq_length, positions)
        tokenizer = BiEncoderTokenizer(
            source.tokenizer,
            prompts.completed(source.prompts),
            source[0].max_seq_length,
            source[0].do_lower_case,
            source[1].include_prompt,
        )
        size = source.get_sentence_embedding_dimension()
        for dimension in dimensions or []:
            if not 0 < dimension <= size:
                raise InputError(f"model.head.dimensions contains {dimension}: choose values from 1 to {size}")
        return backbone, cls(source, tokenizer, mode, tuple(dimensions or [size]), temperature)

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """See `Head.unusable`: a trained size above that of the vectors, or pooling that reads one token."""
        dimensions, pooling = options.get("dimensions"), options.get("pooling")
        if pooling == "cls" and Shape.read(folder).causal:
            return "model.head.pooling=cls: a decoder's first token sees no other: choose lasttoken or mean"
        if not dimensions:
            return None
        size = cls.vector_size(folder, options, Shape.read(folder).hidden)
        wrong = [dimension for dimension in dimensions if dimension > size]
        return f"model.head.dimensions contains {wrong[0]}: choose values from 1 to {size}" if wrong else None

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`; by default the size of the position table."""
        stated = sentence_options(folder).get("max_seq_length")
        table = stated_options(folder, "config.json").get("max_position_embeddings")
        length = options.get("max_length") or stated or table or 512
        return {"query": length, "document": length}

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> BiEncoderTokenizer:
        """See `Head.read_tokenizer`."""
        stated = sentence_options(folder)
        return BiEncoderTokenizer(
            prepare(tokenizer),
            prompts.completed(stated_options(folder, "config_sentence_transformers.json").get("prompts", {})),
            options.get("max_length") or min(stated.get("max_seq_length") or positions, positions),
            bool(stated.get("do_lower_case")),
            module_options(folder, "Pooling").get("include_prompt", True),
        )

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """See `Head.vector_size`."""
        return module_options(folder, "Dense").get("out_features") or hidden

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Pool each text by its own length, apply the following modules (dense layers), normalise in float32."""
        return normalize(self.embed(hidden_NLH, padded), dim=-1)

    def embed(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return the vector of each text by the checkpoint's own modules, in float32."""
        features = {"sentence_embedding": self._pool(hidden_NLH, padded)}
        for module in self.rest:
            features = module(features)
        return features["sentence_embedding"].float()

    def _pool(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        if self.pooling == "cls":
            return hidden_NLH[:, 0]
        flat_MH = hidden_NLH.flatten(0, 1)
        if self.pooling == "lasttoken":
            return flat_MH.index_select(0, padded.last_N)
        weight_NL = torch.zeros(flat_MH.shape[0], device=flat_MH.device).index_fill_(0, padded.rows_T, 1.0)
        weight_NL = weight_NL.view(hidden_NLH.shape[:2])
        return (hidden_NLH * weight_NL[..., None]).sum(1) / weight_NL.sum(1, keepdim=True)

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return the cosine, between -1 and 1."""
        return queries.values_TD @ documents.values_TD.T

    def views(
        self, queries: Representation, documents: Representation
    ) -> Iterator[tuple[Representation, Representation]]:
        """Yield every trained prefix of the vectors, normalised."""
        for dimension in self.dimensions:
            first, second = (
                Representation(normalize(side.values_TD[:, :dimension], dim=-1), side.lengths_N)
                for side in (queries, documents)
            )
            yield first, second

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write a sentence-transformers model; its prompts carry the default instruction."""
        (source,) = self._source
        setattr(source[0], "auto_model" if "auto_model" in source[0]._modules else "model", backbone)
        source.prompts = {side: self.tokenizer.prompts.of(side) for side in ("query", "document")}
        clear_truncation(source.tokenizer)
        source.save(str(folder), create_model_card=False)

    def library_outputs(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RetrieverHead.library_outputs`: by sentence-transformers."""
        from sentence_transformers import SentenceTransformer

        source = SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch.float32},
        )
        vectors_ND = source.encode(
            [text.text for text in texts], prompt_name=side, convert_to_tensor=True, show_progress_bar=False
        )
        return {"sentence-transformers": list(vectors_ND[:, None])}


def _pooling(source: Any, mode: str) -> Any:
    from sentence_transformers.models import Pooling

    hidden = source[0].auto_model.config.get_text_config().hidden_size
    return Pooling(hidden, pooling_mode=_checked_pooling(mode))


def _pooling_mode(pooling: Any) -> str:
    """Return the mode of a pooling module of sentence-transformers 5 or 6, with plus signs between several."""
    modes = getattr(pooling, "pooling_mode", None) or pooling.get_pooling_mode_str()
    return modes if isinstance(modes, str) else "+".join(modes)


def _checked_pooling(pooling: str) -> str:
    if pooling not in get_args(PoolingMode):
        raise InputError(
            f"model.head.pooling={pooling} isn't supported: choose one of {', '.join(get_args(PoolingMode))}"
        )
    return pooling
