"""Qwen3 model of any size with random weights, to measure a step's cost without a download.

Its tokenizer is the tiny model's, extended by unused words to the rows of the embedding, and pads on the left like
Qwen3-Embedding's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from reasonir.model.backbone import Model
from reasonir.model.download import locate
from reasonir.model.tiny import word_tokenizer, write_random
from reasonir.utils.ranges import Positive
from reasonir.utils.state import cached_folder


@dataclass(frozen=True, slots=True)
class RandomQwen(Model):
    """Randomly initialised Qwen3; its checkpoint is written under `path` on first use.

    Attributes:
        layers: transformer layers.
        hidden: hidden size.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head_dim: size of a head.
        intermediate: inner size of the MLP.
        vocabulary: rows of the embedding.
        positions: maximum length in tokens.
    """

    layers: Positive = 28
    hidden: Positive = 1024
    heads: Positive = 16
    kv_heads: Positive = 8
    head_dim: Positive = 128
    intermediate: Positive = 3072
    vocabulary: Positive = 151669
    positions: Positive = 32768

    def locate(self, *, weights: bool = True) -> Path:
        """Return the folder of the checkpoint, written on first use."""
        sizes = (self.layers, self.hidden, self.heads, self.kv_heads, self.head_dim, self.intermediate)
        folder = Path(self.path) / f"qwen3-{'x'.join(map(str, sizes))}-{self.vocabulary}-{self.positions}"
        cached_folder(folder, self._write)
        return locate(str(folder), weights=weights, trust_remote_code=self.trust_remote_code)

    def _write(self, folder: Path) -> None:
        from transformers import Qwen3Config, Qwen3Model

        tokenizer = word_tokenizer(2000, rows=self.vocabulary, model_max_length=self.positions, padding_side="left")
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_position_embeddings=self.positions,
            pad_token_id=tokenizer.pad_token_id,
            dtype=torch.bfloat16,
        )
        write_random(folder, Qwen3Model, config, tokenizer)
