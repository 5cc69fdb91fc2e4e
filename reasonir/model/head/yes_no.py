"""Causal language model that answers "yes" or "no" (Qwen3-Reranker, arXiv:2506.05176); the score is yes minus no.

The template is the published one, byte for byte, where the vocabulary has the control tokens of its chat; others would
read these letter by letter, and get a plain one. It follows the token that the model's tokenizer puts in
front of every text, if there is one, and is never truncated: if a pair is too long, the longer side is truncated first,
so that each keeps its share of the length. Only the two vocabulary rows of the answers are multiplied with the last
token's hidden state, which gives the same score as the full vocabulary without its memory and gradient. The rows are
frozen, and so is an embedding that is tied to them.

`save` writes the language model in the hub's format, and a sequence classifier whose one row is yes minus no.

Shape letters: N pairs, L padded length, H hidden size, 2 answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation, Tokens
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import Length, architecture_of, check_length, is_retriever, usable_positions
from reasonir.model.control_tokens import reader_of
from reasonir.model.head.base import PairTokenizer, RerankerHead
from reasonir.model.head.usage_snippet import RERANK, UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.model.tokenize import (
    QUERY_SHARE,
    OneLength,
    QueryShare,
    check_prompt,
    clear_truncation,
    ensure_padding,
    split_room,
    text_share,
)
from reasonir.types import Pair, Side


@dataclass(frozen=True, slots=True)
class Template:
    """Text around a pair.

    Attributes:
        name: name in the protocol of results.
        prefix: text in front of the pair.
        suffix: text behind the pair.
        space: text between the suffix and the answer.
    """

    name: str
    prefix: str
    suffix: str
    space: str = ""

    def token(self, tokenizer: Any, key: str, word: str) -> int:
        """Return the token of an answer behind the suffix.

        Raises:
            InputError: it isn't one token.
        """
        before, ids = (
            tokenizer.encode(self.suffix + answer, add_special_tokens=False) for answer in ("", self.space + word)
        )
        if len(ids) != len(before) + 1 or ids[:-1] != before or ids[-1] == tokenizer.unk_token_id:
            raise InputError(
                f"model.head.{key}={word!r} isn't one token of this model's vocabulary: choose a word that is"
            )
        return int(ids[-1])


CHAT = Template(
    "qwen3-reranker",
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)
PLAIN = Template("plain", "", "\n<Relevant, yes or no>:", " ")
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""Default instruction of the model card of Qwen/Qwen3-Reranker-0.6B, which has the template `CHAT`."""
MAX_LENGTH = 8192
CLASSIFIER = "cross_encoder"
"""Folder of the sequence classifier in an export."""


def template_of(tokenizer: Any) -> Template:
    """Return the template that a tokenizer's vocabulary suits."""
    return CHAT if {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_vocab().keys() else PLAIN


def body(instruction: str, query: str, document: str) -> str:
    """Return the text between prefix and suffix."""
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


@dataclass(frozen=True, slots=True)
class YesNoTokenizer(OneLength, PairTokenizer):
    """Prefix, body and suffix of each pair; only the last token gives a vector."""

    tokenizer: Any
    template: Template
    instruction: str
    max_length: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    query_share: float = QUERY_SHARE

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Tokens, Tensor]:
        """Return the tokens of `pairs`; a query's own instruction replaces the default one."""
        room = self.max_length - len(self.prefix) - len(self.suffix)
        rows, lost, lost_query = [], [], []
        for pair, ids in zip(pairs, self._ids([self._body(pair) for pair in pairs]), strict=True):
            kept, cut_query, cut_document = (ids, 0, 0) if len(ids) <= room else self._cut(pair, ids, room)
            whole = [*self.prefix, *kept, *self.suffix]
            rows.append((whole, [True] * len(whole), [False] * (len(whole) - 1) + [True]))
            lost.append(cut_query + cut_document)
            lost_query.append(cut_query)
        return Tokens.pack(rows, lost, lost_query), torch.zeros(0)

    def stamp(self) -> dict[str, Any]:
        """See `PairTokenizer`."""
        return {
            "max_length": self.max_length,
            "query_share": self.query_share,
            "template": self.template.name,
            "instruction": self.instruction,
        }

    def _body(self, pair: Pair) -> str:
        return body(self._instruction(pair), pair.query.text, pair.document.text)

    def _instruction(self, pair: Pair) -> str:
        return pair.query.instruction if pair.query.instruction.strip() else self.instruction

    def _ids(self, strings: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._read(strings)]

    def _read(self, strings: Sequence[str]) -> list[Any]:
        return reader_of(self.tokenizer, ids=(*self.prefix, *self.suffix)).encode(strings, special=False)

    def _cut(self, pair: Pair, ids: list[int], room: int) -> tuple[list[int], int, int]:
        """Return the truncated body of a pair, and how many tokens its query, with instruction, and document lose.

        An instruction that leaves the texts less than their share loses its end. Tokens may merge where parts meet, so
        a body that is still too long is truncated again by the excess.
        """
        query, document = (self._ends(text) for text in (pair.query.text, pair.document.text))
        instruction = self._instruction(pair)
        least = min(len(query) + len(document), text_share(room))
        while instruction and (missing := least + self._frame(instruction) - room) > 0:
            ends = self._ends(instruction)
            instruction = _beginning(instruction, ends, max(len(ends) - missing, 0))
        cut_instruction = len(self._ends(self._instruction(pair))) - len(self._ends(instruction))
        if cut_instruction:
            (ids,) = self._ids([body(instruction, pair.query.text, pair.document.text)])
        free = room - self._frame(instruction)
        while len(ids) > room and free > 1:
            kept_query, kept_document = split_room(len(query), len(document), free, self.query_share)
            lost = len(query) - kept_query, len(document) - kept_document
            if not lost[0]:
                return ids[:room], cut_instruction, len(ids) - room
            query_text = _beginning(pair.query.text, query, kept_query)
            document_text = _beginning(pair.document.text, document, kept_document)
            (cut,) = self._ids([body(instruction, query_text, document_text)])
            if len(cut) <= room:
                return cut, cut_instruction + lost[0], lost[1]
            free -= len(cut) - room
        if len(ids) > room:
            raise InputError(f"model.head.max_length={self.max_length} leaves no room for texts: increase it")
        return ids, cut_instruction, 0

    def _frame(self, instruction: str) -> int:
        """Return the tokens of the body without texts."""
        return len(self._ids([body(instruction, "", "")])[0])

    def _ends(self, text: str) -> list[int]:
        """Return the end of each token in a text."""
        (encoding,) = self._read([text])
        return [end for _, end in encoding.offsets]


def _beginning(text: str, ends: Sequence[int], kept: int) -> str:
    """Return the first `kept` tokens of a text, which end at `ends`."""
    return text[: ends[kept - 1]] if kept else ""


class YesNo(nn.Module, RerankerHead):
    """Vocabulary rows of the two answers; see `RerankerHead`."""

    name: ClassVar[str] = "yes_no"
    default_loss: ClassVar[str] = "bce"
    graph_folder: ClassVar[str] = CLASSIFIER
    usage: ClassVar[UsageSnippet] = UsageSnippet(
        "transformers",
        "text-ranking",
        "reranker (a language model that answers yes or no)",
        """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")  # the folder cross_encoder/ is a sequence classifier
tokenizer = AutoTokenizer.from_pretrained("{name}")""",
        RERANK,
        ("reranker",),
        "Cross Encoder Reranking",
    )
    rows_2H: Tensor

    def __init__(self, source: Any, tokenizer: YesNoTokenizer, answers: tuple[int, int]) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.answers = answers
        rows_2H = source.get_output_embeddings().weight.detach()[list(answers)].float().clone()
        self.register_buffer("rows_2H", rows_2H, persistent=False)
        self._source = (source,)  # a tuple, so that its parameters aren't registered a second time

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a causal language model."""
        return _is_language_model(folder) and not is_retriever(folder)

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """See `Head.unusable`: no causal language model."""
        if _is_language_model(folder):
            return None
        made_for = architecture_of(folder) or "no known architecture"
        return (
            f"model/head=yes_no needs a causal language model, {folder} is made for {made_for}: "
            "choose model=qwen_reranker, or another head"
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        max_length: Length | None = None,
        query_share: QueryShare = QUERY_SHARE,
        instruction: str | None = None,
        positive: str = "yes",
        negative: str = "no",
    ) -> tuple[nn.Module, YesNo]:
        """Load the backbone and head of a causal language model.

        Args:
            folder: a transformers checkpoint with a language model's head.
            prompts: their instruction is the default if `instruction` is None; the template has no other prompts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            max_length: maximum tokens of a pair, template included; the longer side is truncated first. Default 8192.
            query_share: share of the tokens that a long query may use next to a long document.
            instruction: relevance criterion for queries without their own.
            positive: answer that means relevant, one token.
            negative: the opposite answer.

        Raises:
            InputError: no language model, an answer that isn't one token, or a length out of range.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        trust = model_kwargs.get("trust_remote_code", False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust, verbose=False)
        source = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **model_kwargs)
        template = template_of(tokenizer)
        answers = (template.token(tokenizer, "negative", negative), template.token(tokenizer, "positive", positive))
        if source.get_output_embeddings().weight is source.get_input_embeddings().weight:
            source.get_input_embeddings().requires_grad_(False)
        ensure_padding(tokenizer, source.config)
        options = {"max_length": max_length, "instruction": instruction, "query_share": query_share}
        positions = usable_positions(source.config, tokenizer)
        encoding = cls.read_tokenizer(folder, options, tokenizer=tokenizer, prompts=prompts, positions=positions)
        check_length("max_length", encoding.max_length, positions)
        around, frame = len(encoding.prefix) + len(encoding.suffix), encoding._frame(encoding.instruction)
        check_prompt("max_length", encoding.max_length, around, frame)
        if encoding.max_length < (least := around + frame + 16):
            raise InputError(
                f"model.head.max_length={encoding.max_length} leaves no room for texts: set it to {least} or more"
            )
        return source.base_model, cls(source, encoding, answers)

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`: tokens per pair."""
        length = options.get("max_length") or MAX_LENGTH
        return {"query": length, "document": length}

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> YesNoTokenizer:
        """See `Head.read_tokenizer`."""
        template = template_of(tokenizer)
        prefix, suffix = (
            tuple(tokenizer.encode(text, add_special_tokens=False)) for text in (template.prefix, template.suffix)
        )
        instruction = options.get("instruction") or prompts.instruction or INSTRUCTION
        length = options.get("max_length") or min(MAX_LENGTH, positions)
        share = options.get("query_share") or QUERY_SHARE
        return YesNoTokenizer(
            tokenizer, template, instruction, length, _beginning_of_text(tokenizer) + prefix, suffix, share
        )

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """Return 2, for the two logits."""
        return 2

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return the answers' logits (no, yes) of each pair."""
        last_NH = hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)
        with torch.autocast(hidden_NLH.device.type, enabled=False):  # a half's logits differ in steps of 0.1
            return last_NH.float() @ self.rows_2H.T

    def graph_outputs(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> dict[str, Tensor]:
        """See `Head.graph_outputs`: the logit of the sequence classifier, for texts padded on either side."""
        last_N = (attend_NL * torch.arange(attend_NL.shape[1], device=attend_NL.device)).amax(1)
        last_NH = hidden_NLH.gather(1, last_N[:, None, None].expand(-1, 1, hidden_NLH.shape[2]))[:, 0]
        return {"logits": last_NH @ (self.rows_2H[1:] - self.rows_2H[:1]).T}

    def from_graph(self, outputs: Mapping[str, Tensor], padded: Padded) -> Tensor:
        """See `Head.from_graph`: the logit of "no" is 0."""
        return torch.cat([torch.zeros_like(outputs["logits"]), outputs["logits"]], dim=1)

    def scores(self, pairs: Representation) -> Tensor:
        """Return yes minus no; its sigmoid is the probability of "yes" among the two."""
        return pairs.values_TD[:, 1] - pairs.values_TD[:, 0]

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the language model, and the sequence classifier to its folder `cross_encoder`."""
        (source,) = self._source
        tied = source.get_output_embeddings().weight is source.get_input_embeddings().weight
        setattr(source, source.base_model_prefix, backbone)
        if tied:  # to the embeddings of this backbone, which with merged adapters is a copy
            source.get_output_embeddings().weight = backbone.get_input_embeddings().weight  # type: ignore[operator]
        source.save_pretrained(folder)
        clear_truncation(self.tokenizer.tokenizer).save_pretrained(folder)
        self._save_classifier(source, folder / CLASSIFIER)

    def options(self) -> dict[str, Any]:
        """See `Head.options`."""
        encoding, (negative, positive) = self.tokenizer, self.answers
        return {
            "max_length": encoding.max_length,
            "query_share": encoding.query_share,
            "instruction": encoding.instruction,
            "positive": encoding.tokenizer.decode([positive]).strip(),
            "negative": encoding.tokenizer.decode([negative]).strip(),
        }

    @torch.no_grad()
    def library_outputs(
        self, folder: Path, pairs: Sequence[Pair], device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RerankerHead.library_outputs`: language model and classifier by transformers, padded on the left."""
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **options)
        tokens, _ = replace(self.tokenizer, tokenizer=tokenizer)(pairs)
        rows = [ids.tolist() for ids in torch.split(tokens.ids_T, tokens.lengths_N.tolist())]
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(device)
        outputs = {}
        for name, kind, location in (
            ("transformers", AutoModelForCausalLM, folder),
            ("transformers' classifier", AutoModelForSequenceClassification, folder / CLASSIFIER),
        ):
            model = kind.from_pretrained(location, dtype=torch.float32, **options).to(device).eval()
            last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
            logits = model(**batch, **last).logits
            if logits.ndim == 3:
                logits = logits[:, -1, self.answers[1:]] - logits[:, -1, self.answers[:1]]
            outputs[name] = list(logits)
        return outputs

    def _save_classifier(self, source: Any, folder: Path) -> None:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        config = AutoConfig.for_model(**source.config.to_dict())
        config.num_labels = 1
        config.pad_token_id = self.tokenizer.tokenizer.pad_token_id
        with torch.device("meta"):
            classifier = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        weights = dict(getattr(source, source.base_model_prefix).state_dict())
        prefix = classifier.base_model_prefix
        row_1H = (self.rows_2H[1] - self.rows_2H[0])[None].cpu()
        classifier.load_state_dict(
            {**{f"{prefix}.{name}": value for name, value in weights.items()}, "score.weight": row_1H},
            assign=True,
        )
        classifier.save_pretrained(folder)
        clear_truncation(self.tokenizer.tokenizer).save_pretrained(folder)


def _beginning_of_text(tokenizer: Any) -> tuple[int, ...]:
    """Return the token that a tokenizer puts in front of every text; empty where there is none."""
    return tuple(index for index in tokenizer.encode("a")[:1] if index == tokenizer.bos_token_id)


def _is_language_model(folder: Path) -> bool:
    return architecture_of(folder).endswith("ForCausalLM")
