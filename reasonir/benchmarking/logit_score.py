"""sentence-transformers' cross-encoder on a language model that answers yes or no, from its version 6 on.

It loads the exported language model unchanged. Pairs are tokenised by the published template and padded on the left;
output rows, and embeddings tied to them, are frozen, as in this package.

Shape letters: N texts, L padded length, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload
from reasonir.benchmarking.cross_encoder import loss_on_tokens
from reasonir.data.batch import Tokens


@dataclass(frozen=True, slots=True)
class LogitScore(Peer):
    """BinaryCrossEntropyLoss over LogitScore, all pairs at once, padded to the longest; `python` as in `Peer`."""

    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"yes_no"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        import sentence_transformers

        model = sentence_transformers.CrossEncoder(workload.model.path, **workload.load_options)
        model.model.get_output_embeddings().requires_grad_(False)
        tokenizer, _ = workload.model.read_tokenizer(Path(workload.model.path))
        tokens = _left_padded(workload.batch(tokenizer).tokens, tokenizer.tokenizer.pad_token_id)
        tokens = {key: value.to(workload.device) for key, value in tokens.items()}
        return model, loss_on_tokens(model, {**tokens, "modality": "text"}, workload)


def _left_padded(tokens: Tokens, pad: int) -> dict[str, Tensor]:
    width = int(tokens.lengths_N.max())
    inside_NL = torch.arange(width) >= width - tokens.lengths_N[:, None]
    ids_NL = torch.full(inside_NL.shape, pad)
    ids_NL[inside_NL] = tokens.ids_T.long()
    return {"input_ids": ids_NL, "attention_mask": inside_NL.long()}
