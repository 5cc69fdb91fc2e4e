"""Dimensions of a backbone, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.model.checkpoint_config import stated_options
from reasonir.utils.ranges import Fraction, Positive

_DECODERS = ("qwen", "llama", "mistral", "gemma", "phi", "olmo")
_GATED = ("modernbert", *_DECODERS)


def is_decoder(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is that of a causal decoder; EmbeddingGemma's attends in both directions."""
    family = str(config.get("model_type", ""))
    return any(name in family for name in _DECODERS) and not config.get("use_bidirectional_attention")


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a transformer.

    Attributes:
        layers: transformer layers.
        hidden: size of a hidden state.
        intermediate: inner size of the MLP.
        heads: attention heads.
        key_value_heads: heads of keys and values.
        head_size: size of a head.
        gated: whether the MLP has a gate, a third matrix.
        causal: whether a token sees only earlier ones.
        attention_dropout: dropout probability of attention weights.
    """

    layers: Positive
    hidden: Positive
    intermediate: Positive
    heads: Positive
    key_value_heads: Positive
    head_size: Positive
    gated: bool = False
    causal: bool = False
    attention_dropout: Fraction = 0.0

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """Return the dimensions in a checkpoint folder, with or without its weights."""
        return cls.of(stated_options(folder, "config.json"))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Return the dimensions in a configuration of transformers."""
        config = config.get("text_config", config)
        hidden = _first(config, "hidden_size", "dim", "n_embd", "d_model")
        heads = _first(config, "num_attention_heads", "n_heads", "n_head")
        return cls(
            layers=_first(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers"),
            hidden=hidden,
            intermediate=_first(config, "intermediate_size", "hidden_dim", "n_inner", "d_ff", default=4 * hidden),
            heads=heads,
            key_value_heads=_first(config, "num_key_value_heads", default=heads),
            head_size=_first(config, "head_dim", default=hidden // heads),
            gated=any(name in str(config.get("model_type", "")) for name in _GATED),
            causal=is_decoder(config),
            attention_dropout=float(config.get("attention_probs_dropout_prob") or config.get("attention_dropout") or 0),
        )

    @property
    def layer_parameters(self) -> int:
        """Number of weights of one layer's matrices."""
        attention = 2 * (self.heads + self.key_value_heads) * self.head_size
        return (attention + (3 if self.gated else 2) * self.intermediate) * self.hidden


def _first(config: Mapping[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        if config.get(name):
            return int(config[name])
    if default is None:
        raise KeyError(f"config.json states none of {names}")
    return default
