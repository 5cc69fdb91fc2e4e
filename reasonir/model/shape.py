"""A backbone's dimensions: what the plan needs to know before, or without, loading any weight."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_GATED_ENCODERS = ("modernbert", "gemma3")
_DECODERS = ("qwen", "llama", "mistral", "gemma", "phi", "olmo")


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a transformer.

    Attributes:
        layers: transformer layers.
        hidden: size of a hidden state.
        intermediate: inner size of the MLP.
        heads: attention heads.
        parameters: weights in all.
        kind: "encoder" (BERT-like), "gated_encoder" (GeGLU, as ModernBERT) or "decoder" (as Qwen3).
        attention_dropout: the probability with which attention weights are dropped in training.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    parameters: int
    kind: str = "encoder"
    attention_dropout: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """The dimensions stated in a checkpoint folder, its weights present or not."""
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        config = config.get("text_config", config)
        layers = _first(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
        hidden = _first(config, "hidden_size", "dim", "n_embd", "d_model")
        intermediate = _first(config, "intermediate_size", "hidden_dim", "n_inner", "d_ff", default=4 * hidden)
        family = str(config.get("model_type", ""))
        kind = "gated_encoder" if any(name in family for name in _GATED_ENCODERS) else "encoder"
        kind = "decoder" if any(name in family for name in _DECODERS) and kind == "encoder" else kind
        per_layer = 4 * hidden + (2 if kind == "encoder" else 3) * intermediate
        return cls(
            layers=layers,
            hidden=hidden,
            intermediate=intermediate,
            heads=_first(config, "num_attention_heads", "n_heads", "n_head"),
            parameters=_count(folder) or (_first(config, "vocab_size") + layers * per_layer) * hidden,
            kind=kind,
            attention_dropout=float(config.get("attention_probs_dropout_prob") or config.get("attention_dropout") or 0),
        )

    def graph_bytes(self, width: int, *, mixed: bool, on_cpu: bool) -> float:
        """Bytes that the graph of one token keeps for the backward pass, in texts `width` tokens long.

        Fitted to what autograd saves (float32, measured with saved-tensor hooks on BERT, ModernBERT and Qwen3 layers).
        Attention itself keeps no weights, except on the CPU with attention dropout, where each token keeps its row.
        """
        elements = {
            "encoder": 9 * self.hidden + 2 * self.intermediate,
            "gated_encoder": 10.5 * self.hidden + 4 * self.intermediate,
            "decoder": 21 * self.hidden + 4 * self.intermediate,
        }[self.kind]
        rows = 12.0 * self.heads * width if on_cpu and self.attention_dropout else 0.0
        return self.layers * (elements * 4 * (0.7 if mixed else 1.0) + rows)


def _first(config: dict[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        if config.get(name):
            return int(config[name])
    if default is None:
        raise KeyError(f"config.json states none of {names}")
    return default


def _count(folder: Path) -> int:
    """Parameters by the headers of the safetensors files, 0 without any."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
