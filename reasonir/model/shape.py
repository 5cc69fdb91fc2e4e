"""Dimensions of a backbone, for planning without loading its weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from reasonir.model.checkpoint_config import stated_options
from reasonir.utils.ranges import Fraction, NonNegative, Positive

Kind = Literal["encoder", "gated_encoder", "decoder"]
_GATED_ENCODERS = ("modernbert", "gemma3")
_DECODERS = ("qwen", "llama", "mistral", "gemma", "phi", "olmo")
_EAGER = ("mpnet",)
"""Families without fused attention in transformers."""
_HALVED = 0.7
"""Autocast's share of a float32 graph: matrices are halved, norms and softmax stay in float32."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a transformer.

    Attributes:
        layers: transformer layers.
        hidden: size of a hidden state.
        intermediate: inner size of the MLP.
        heads: attention heads.
        parameters: total number of weights.
        kind: "encoder" (BERT-like), "gated_encoder" (GeGLU, as ModernBERT) or "decoder" (as Qwen3).
        attention_dropout: dropout probability of attention weights.
        attention_width: heads x head size; 0 if that is `hidden`.
        fused: whether attention can run in kernels that store no weights.
    """

    layers: Positive
    hidden: Positive
    intermediate: Positive
    heads: Positive
    parameters: Positive
    kind: Kind = "encoder"
    attention_dropout: Fraction = 0.0
    attention_width: NonNegative = 0
    fused: bool = True

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """Return the dimensions in a checkpoint folder, with or without its weights."""
        config = stated_options(folder, "config.json")
        config = config.get("text_config", config)
        layers = _first(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
        hidden = _first(config, "hidden_size", "dim", "n_embd", "d_model")
        intermediate = _first(config, "intermediate_size", "hidden_dim", "n_inner", "d_ff", default=4 * hidden)
        family = str(config.get("model_type", ""))
        kind: Kind = "gated_encoder" if any(name in family for name in _GATED_ENCODERS) else "encoder"
        kind = "decoder" if any(name in family for name in _DECODERS) and kind == "encoder" else kind
        per_layer = 4 * hidden + (2 if kind == "encoder" else 3) * intermediate
        heads = _first(config, "num_attention_heads", "n_heads", "n_head")
        return cls(
            layers=layers,
            hidden=hidden,
            intermediate=intermediate,
            heads=heads,
            parameters=_count(folder) or (_first(config, "vocab_size") + layers * per_layer) * hidden,
            kind=kind,
            attention_dropout=float(config.get("attention_probs_dropout_prob") or config.get("attention_dropout") or 0),
            attention_width=heads * (config.get("head_dim") or hidden // heads),
            fused=family not in _EAGER,
        )

    @property
    def layer_parameters(self) -> int:
        """Number of weights of one layer's matrices; decoders have half as many key-value heads as query heads."""
        width = self.attention_width or self.hidden
        attention = 3 * width if self.kind == "decoder" else 4 * width
        return (attention + (2 if self.kind == "encoder" else 3) * self.intermediate) * self.hidden

    def layer_bytes(self, width: int, *, mixed: bool, on_cpu: bool, adapted: bool = False) -> float:
        """Return the bytes per token that one layer's graph keeps for the backward pass, in texts of `width` tokens.

        Counted with saved-tensor hooks on BERT, ModernBERT and Qwen3 layers: inputs of linear layers, norms and
        activations, and dropout masks, which are float32 on a CPU and bytes on CUDA. Fused attention stores no weights;
        without it (on a CPU also with attention dropout) each token stores its row of them. `adapted` layers have
        adapters: a dropped-out copy of every input in place of the input itself.
        """
        hidden, inner, attention = self.hidden, self.intermediate, self.attention_width or self.hidden
        dropped = self.attention_dropout > 0
        mask = (1.0 if on_cpu else 0.25) * dropped
        elements = {
            "encoder": (8 + 2 * mask) * hidden + 2 * inner,
            "gated_encoder": 10.5 * hidden + 4 * inner,
            "decoder": 3 * hidden + 9 * attention + 4 * inner,
        }[self.kind]
        if adapted:
            inputs = (4 * hidden + attention + inner) * (2.0 if on_cpu else 1.25)
            elements += inputs - (3 * hidden + inner)
        rows = self.heads * width * (4.0 + (8.0 if on_cpu else 5.0) * dropped)
        fused = self.fused and not (on_cpu and dropped)
        return elements * 4 * (_HALVED if mixed else 1.0) + (0.0 if fused else rows)


def _first(config: dict[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        if config.get(name):
            return int(config[name])
    if default is None:
        raise KeyError(f"config.json states none of {names}")
    return default


def _count(folder: Path) -> int:
    """Return the number of parameters from the headers of the safetensors files, 0 without any."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
