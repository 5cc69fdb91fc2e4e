"""Dimensions of a backbone, from its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt

from reasonir.errors import raise_errors
from reasonir.model.checkpoint_config import stated_options
from reasonir.utils.ranges import Fraction, NotBlank, out_of_range

_DECODERS = ("qwen", "llama", "mistral", "gemma", "phi", "olmo")
_GATED = ("modernbert", *_DECODERS)
_HIDDEN = ("hidden_size", "dim", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_heads", "n_head")
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_INTERMEDIATE = ("intermediate_size", "hidden_dim", "n_inner", "d_ff")
_KEY_VALUE_HEADS, _HEAD_SIZE = ("num_key_value_heads",), ("head_dim",)
_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
Size = Annotated[int, Ge(1), Lt(2**31)]
_DECLARED: Mapping[str, Any] = {
    "model_type": NotBlank,
    "tie_word_embeddings": bool,
    "architectures": list[str] | None,
    **dict.fromkeys((*_HIDDEN, *_HEADS, *_LAYERS, "vocab_size", "max_position_embeddings"), Size),
    **dict.fromkeys((*_INTERMEDIATE, *_KEY_VALUE_HEADS, *_HEAD_SIZE), Size | None),
    **dict.fromkeys(_DROPOUT, Fraction),
}
"""Keys of a configuration that plans rest on; transformers accepts any value for most of them."""


def is_decoder(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is that of a causal decoder; EmbeddingGemma's attends in both directions."""
    family = str(config.get("model_type", ""))
    return any(name in family for name in _DECODERS) and not config.get("use_bidirectional_attention")


def mistakes(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a message for each value of a configuration that no transformer can have, and for dimensions it lacks."""
    if isinstance(inner := config.get("text_config"), Mapping):
        config, prefix = inner, f"{prefix}text_config."
    faults = [
        fault
        for key, hint in _DECLARED.items()
        if key in config
        for fault in out_of_range(f"{prefix}{key}", config[key], hint)
    ] or [
        f"{prefix}{names[0]} is missing: state the model's"
        for names in (_LAYERS, _HIDDEN, _HEADS)
        if not any(name in config for name in names)
    ]
    yield from faults
    if not faults:
        shape = Shape.of(config)
        if shape.heads % shape.key_value_heads:
            yield f"{prefix}{_KEY_VALUE_HEADS[0]}={shape.key_value_heads}: give a divisor of the {shape.heads} heads"
        if shape.hidden % shape.heads and not _first(config, *_HEAD_SIZE):
            yield f"{prefix}{_HIDDEN[0]}={shape.hidden}: give a multiple of the {shape.heads} heads, or state head_dim"


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

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    gated: bool = False
    causal: bool = False
    attention_dropout: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """Return the dimensions in a checkpoint folder, with or without its weights.

        Raises:
            InputError: its configuration states none that a transformer can have.
        """
        stated = stated_options(folder, "config.json")
        raise_errors([*mistakes(stated)], f"mistake in {folder / 'config.json'}")
        return cls.of(stated)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Return the dimensions in a configuration of transformers without `mistakes`."""
        config = config.get("text_config", config)
        hidden, heads = _first(config, *_HIDDEN), _first(config, *_HEADS)
        return cls(
            layers=_first(config, *_LAYERS),
            hidden=hidden,
            intermediate=_first(config, *_INTERMEDIATE) or 4 * hidden,
            heads=heads,
            key_value_heads=_first(config, *_KEY_VALUE_HEADS) or heads,
            head_size=_first(config, *_HEAD_SIZE) or hidden // heads,
            gated=any(name in str(config.get("model_type", "")) for name in _GATED),
            causal=is_decoder(config),
            attention_dropout=_first(config, *_DROPOUT),
        )

    @property
    def layer_parameters(self) -> int:
        """Number of weights of one layer's matrices."""
        attention = 2 * (self.heads + self.key_value_heads) * self.head_size
        return (attention + (3 if self.gated else 2) * self.intermediate) * self.hidden


def _first(config: Mapping[str, Any], *names: str) -> Any:
    """Return the first of these values that is stated; 0 without one."""
    return next((config[name] for name in names if config.get(name)), 0)
