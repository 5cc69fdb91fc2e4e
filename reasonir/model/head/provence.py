"""One pass that ranks a document and says which of its tokens help (Provence, Chirkova et al. 2025, arXiv:2501.16214).

A cross-encoder, and beside its classifier one linear layer on the same hidden states: the logit that a token is kept.
A pair's rows are its score and then its document's tokens. The published format (OpenProvence) has two logits a token;
what counts of them is their difference, which is what is trained here. `save` writes the classifier as transformers has
it, with the layer in the two-logit form in `pruning_head.safetensors` beside it; OpenProvence's own checkpoints, which
hold both in one file, are read too.
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
    """A classifier without its backbone, and a layer that judges tokens; see `PrunerHead`."""

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
        """See `Head.recognises` in either format."""
        return (folder / KEEP_FILE).is_file() or _is_published(stated_options(folder, "config.json"))

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
        """The backbone and head of a sequence classifier, a plain encoder, or a pruner of either format.

        Args:
            folder: a transformers checkpoint, with the layer that judges tokens or without.
            prompts: put before queries and documents.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            max_length: tokens of a pair; of a longer one the longer side is cut first. Default 512.
            query_share: of the tokens, what a long query may have beside a long document.
            dropout: of the hidden states that the layer reads.

        Raises:
            InputError: see `CrossEncoder.load`; or a layer of another size.
        """
        source, keep = _read(folder, model_kwargs)
        if not keep:
            log.warning("%s brings no layer that judges tokens: a new one is drawn and has to be trained", folder)
        elif (found := tuple(keep["weight"].shape)) != (expected := (2, source.config.hidden_size)):
            raise InputError(f"{folder}: the layer that judges tokens has shape {found}, this model wants {expected}")
        options = {"max_length": max_length, "query_share": query_share}
        tokenizer = cls._encoding(folder, source, prompts, options, model_kwargs)
        return cls._of(source, tokenizer, dropout=dropout, keep=keep)

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> PairEncoding:
        """See `Head.read_tokenizer`: every token of a document gives a vector, and a label."""
        encoding = super().read_tokenizer(folder, options, tokenizer=tokenizer, prompts=prompts, positions=positions)
        return replace(encoding, judged=True)

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Of each pair the score, then the logit of every token of its document."""
        scores_N = self._scores(hidden_NLH, padded)
        kept_TH = hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)
        with torch.autocast(hidden_NLH.device.type, enabled=False):
            keep_T: Tensor = self.keep(self.dropout(kept_TH.float()))[:, 0]
        pair_T = padded.rows_T // padded.ids_NL.shape[1]
        first_T = torch.cat([pair_T.new_full((1,), -1), pair_T[:-1]]) != pair_T
        return keep_T.masked_scatter(first_T, scores_N)[:, None]

    def vectors(self, tokens: Tokens) -> Tensor:
        """One for the score, and one a token of the document."""
        return tokens.kept_N

    def token_logits(self, pairs: Representation) -> Representation:
        """The rows behind the score."""
        first_N = pairs.lengths_N.cumsum(0) - pairs.lengths_N
        token_T = torch.ones(len(pairs.values_TD), dtype=torch.bool).index_fill_(0, first_N, value=False)
        rows = token_T.nonzero()[:, 0].to(pairs.values_TD.device, non_blocking=True)
        return Representation(pairs.values_TD.index_select(0, rows), pairs.lengths_N - 1)

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write the classifier, and beside it the layer that judges tokens as two logits, the first of them 0."""
        from safetensors.torch import save_file

        super().save(backbone, folder)
        weight_2H = torch.cat([torch.zeros_like(self.keep.weight), self.keep.weight]).detach().cpu()
        bias_2 = torch.cat([torch.zeros_like(self.keep.bias), self.keep.bias]).detach().cpu()
        save_file({f"{_KEEP}weight": weight_2H, f"{_KEEP}bias": bias_2}, folder / KEEP_FILE, {"format": "pt"})


def _read(folder: Path, model_kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """The classifier of a checkpoint and its layer that judges tokens, as weight and bias; empty where it has none."""
    from safetensors.torch import load_file

    stated = stated_options(folder, "config.json")
    if _is_published(stated):
        weights = load_file(folder / "model.safetensors")
        return _published(stated["base_model_config"], weights, model_kwargs), _under(_KEEP, weights)
    file = folder / KEEP_FILE
    return read_classifier(folder, model_kwargs), _under(_KEEP, load_file(file)) if file.is_file() else {}


def _is_published(stated: Mapping[str, Any]) -> bool:
    """The configuration is that of an OpenProvence checkpoint."""
    return stated.get("model_type") == "open_provence"


def _published(stated: Mapping[str, Any], weights: Mapping[str, Tensor], model_kwargs: Mapping[str, Any]) -> Any:
    """The classifier within an OpenProvence checkpoint."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(**stated)
    own = {**model_kwargs, "trust_remote_code": False}  # transformers prompts for it otherwise
    source = AutoModelForSequenceClassification.from_config(config, **own)
    source.load_state_dict(_under(_RANK, weights))
    return source


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
