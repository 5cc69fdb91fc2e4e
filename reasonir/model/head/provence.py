"""Joint reranking and context pruning (Provence, Chirkova et al. 2025, arXiv:2501.16214).

A cross-encoder with one linear layer in addition to its classifier, on the same hidden states: the logit that a token
is kept. A pair's rows are its score and then its document's tokens. The published format (OpenProvence) has two logits
per token; only their difference matters, which is trained here. `save` writes the classifier in transformers' format,
with the layer in the two-logit form in `pruning_head.safetensors`; OpenProvence's own checkpoints, which hold both in
one file, are read too.

Shape letters: N pairs of a micro-batch, T rows of all pairs, L padded length, H hidden size, 2 logits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation, Tokens
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import Length, stated_options
from reasonir.model.head.base import PrunerHead
from reasonir.model.head.cross_encoder import CrossEncoder, PairEncoding, read_classifier
from reasonir.model.head.usage_snippet import PRUNE, UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.model.tokenize import QUERY_SHARE, QueryShare
from reasonir.utils.ranges import Fraction

log = logging.getLogger(__name__)

KEEP_FILE = "pruning_head.safetensors"
_KEEP, _RANK = "pruning_head.classifier.", "ranking_model."


class Provence(CrossEncoder, PrunerHead):
    """Classifier without its backbone, and a layer that scores tokens; see `PrunerHead`."""

    name: ClassVar[str] = "provence"
    default_loss: ClassVar[str] = "provence"
    usage: ClassVar[UsageSnippet] = replace(
        CrossEncoder.usage,
        library="transformers",
        summary="reranker that also drops the sentences of a document that don't help (reasonir prunes, "
        "the others rank)",
        reasonir_code=PRUNE,
    )

    def __init__(self, source: Any, tokenizer: PairEncoding, *, dropout: float, keep: Mapping[str, Tensor]) -> None:
        super().__init__(source, tokenizer)
        self.dropout = nn.Dropout(dropout)
        self.keep = nn.Linear(source.config.hidden_size, 1)
        if keep:
            weight_2H, bias_2 = keep["weight"].float(), keep["bias"].float()
            self.keep.load_state_dict({"weight": (weight_2H[1] - weight_2H[0])[None], "bias": bias_2[1:] - bias_2[:1]})
        else:
            nn.init.normal_(self.keep.weight, std=getattr(source.config, "initializer_range", 0.02))
            nn.init.zeros_(self.keep.bias)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: either format."""
        return (folder / KEEP_FILE).is_file() or _is_published(stated_options(folder, "config.json"))

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """See `CrossEncoder.unusable`; published checkpoints name their own architecture."""
        return None if _is_published(stated_options(folder, "config.json")) else super().unusable(folder, options)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        max_length: Length | None = None,
        query_share: QueryShare = QUERY_SHARE,
        dropout: Fraction = 0.0,
    ) -> tuple[nn.Module, Provence]:
        """Load the backbone and head of a sequence classifier, a plain encoder, or a pruner of either format.

        Args:
            folder: a transformers checkpoint, with or without the pruning layer.
            prompts: prefixes of queries and documents.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            max_length: maximum tokens of a pair; the longer side is truncated first. Default 512.
            query_share: share of the tokens that a long query may use next to a long document.
            dropout: dropout on the pruning layer's input.

        Raises:
            InputError: see `CrossEncoder.load`; or the pruning layer has another size.
        """
        source, keep = _read(folder, model_kwargs)
        if not keep:
            log.warning("%s has no pruning layer: a new one is initialised and has to be trained", folder)
        elif (shape := tuple(keep["weight"].shape)) != (expected := (2, source.config.hidden_size)):
            raise InputError(f"{folder}: the pruning layer has shape {shape}, this model needs {expected}")
        options = {"max_length": max_length, "query_share": query_share}
        tokenizer = cls._encoding(folder, source, prompts, options, model_kwargs)
        return cls._checked(source, tokenizer, dropout=dropout, keep=keep)

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> PairEncoding:
        """See `Head.read_tokenizer`: every token of a document gives a vector and a label."""
        encoding = super().read_tokenizer(folder, options, tokenizer=tokenizer, prompts=prompts, positions=positions)
        return replace(encoding, token_labels=True)

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return the score of each pair, followed by the logit of every token of its document."""
        scores_N = self._scores(hidden_NLH, padded)
        kept_TH = hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)
        with torch.autocast(hidden_NLH.device.type, enabled=False):
            keep_T: Tensor = self.keep(self.dropout(kept_TH.float()))[:, 0]
        return self._rows(scores_N, keep_T, padded)

    def graph_outputs(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> dict[str, Tensor]:
        """See `Head.graph_outputs`: the classifier's logits, and the logit that each token is kept."""
        return super().graph_outputs(hidden_NLH, ids_NL, attend_NL) | {"token_logits": self.keep(hidden_NLH)[..., 0]}

    def from_graph(self, outputs: Mapping[str, Tensor], padded: Padded) -> Tensor:
        """See `Head.from_graph`."""
        keep_T = outputs["token_logits"].flatten().index_select(0, padded.rows_T)
        return self._rows(outputs["logits"][:, 0], keep_T, padded)

    def _rows(self, scores_N: Tensor, keep_T: Tensor, padded: Padded) -> Tensor:
        """Return the rows of each pair: its score in the place of its first token's logit, then those of the others."""
        pair_T = padded.rows_T // padded.ids_NL.shape[1]
        first_T = torch.cat([pair_T.new_full((1,), -1), pair_T[:-1]]) != pair_T
        return keep_T.masked_scatter(first_T, scores_N)[:, None]

    def vectors(self, tokens: Tokens) -> Tensor:
        """Return 1 per pair for the score, plus 1 per token of the document."""
        return tokens.kept_N

    def token_logits(self, pairs: Representation) -> Representation:
        """Return the rows after the score."""
        first_N = pairs.lengths_N.cumsum(0) - pairs.lengths_N
        token_T = torch.ones(len(pairs.values_TD), dtype=torch.bool).index_fill_(0, first_N, value=False)
        rows = token_T.nonzero()[:, 0].to(pairs.values_TD.device, non_blocking=True)
        return Representation(pairs.values_TD.index_select(0, rows), pairs.lengths_N - 1)

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the classifier, and the pruning layer as two logits, the first of them 0."""
        from safetensors.torch import save_file

        super().save(backbone, folder)
        weight_2H = torch.cat([torch.zeros_like(self.keep.weight), self.keep.weight]).detach().cpu()
        bias_2 = torch.cat([torch.zeros_like(self.keep.bias), self.keep.bias]).detach().cpu()
        save_file({f"{_KEEP}weight": weight_2H, f"{_KEEP}bias": bias_2}, folder / KEEP_FILE, {"format": "pt"})


def _read(folder: Path, model_kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """Load the classifier of a checkpoint and its pruning layer as weight and bias; empty if it has none."""
    from safetensors.torch import load_file

    stated = stated_options(folder, "config.json")
    if _is_published(stated):
        weights = load_file(folder / "model.safetensors")
        return _published(stated["base_model_config"], weights, model_kwargs), _with_prefix(_KEEP, weights)
    file = folder / KEEP_FILE
    return read_classifier(folder, model_kwargs), _with_prefix(_KEEP, load_file(file)) if file.is_file() else {}


def _is_published(stated: Mapping[str, Any]) -> bool:
    """Return whether the configuration is that of an OpenProvence checkpoint."""
    return stated.get("model_type") == "open_provence"


def _published(stated: Mapping[str, Any], weights: Mapping[str, Tensor], model_kwargs: Mapping[str, Any]) -> Any:
    """Build the classifier within an OpenProvence checkpoint."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(**stated)
    own = {**model_kwargs, "trust_remote_code": False}  # transformers would ask for it
    source = AutoModelForSequenceClassification.from_config(config, **own)
    source.load_state_dict(_with_prefix(_RANK, weights))
    return source


def _with_prefix(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
