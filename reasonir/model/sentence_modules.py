"""Modules of a checkpoint in the layout of sentence-transformers and PyLate, read and written without either.

Shape letters: T tokens, I size of an input, D size of an output.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reasonir.errors import InputError
from reasonir.model.checkpoint_config import UNBOUNDED, module_folders, sentence_options, stated_options
from reasonir.model.tokenize import clear_truncation

_IDENTITY = "torch.nn.modules.linear.Identity"


class Dense(nn.Module):
    """Linear layer with an activation, and with a residual connection if it is stated; a PyLate `Dense`.

    Attributes:
        residual: projection of the input that is added to the output; None without a residual connection.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = False,
        activation_function: str = _IDENTITY,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        package, _, name = activation_function.rpartition(".")
        self.activation_function: nn.Module = getattr(import_module(package), name)()
        self.residual: nn.Module | None = None
        if use_residual:
            same = in_features == out_features
            self.residual = nn.Identity() if same else nn.Linear(in_features, out_features, bias=False)

    @classmethod
    def read(cls, folder: Path) -> Dense:
        """Return the layer that PyLate or sentence-transformers saved in `folder`.

        Raises:
            InputError: it isn't complete.
        """
        stated = {"bias": True} | stated_options(folder, "config.json")
        names = ("in_features", "out_features", "bias", "activation_function", "use_residual")
        try:
            layer = cls(**{name: stated[name] for name in names if stated.get(name) is not None})
        except TypeError as error:
            raise _incomplete(folder, error) from error
        layer.load(folder)
        return layer

    def load(self, folder: Path) -> None:
        """Read the weights from a module's folder, which may hold others too.

        Raises:
            InputError: they aren't there, or of other sizes.
        """
        try:
            self.load_state_dict(read_weights(folder, *self.state_dict()))
        except RuntimeError as error:
            raise _incomplete(folder, error) from error

    def forward(self, values_TI: Tensor) -> Tensor:
        """Return values_TD."""
        values_TD: Tensor = self.activation_function(self.linear(values_TI))
        return values_TD if self.residual is None else values_TD + self.residual(values_TI)

    def save(self, folder: Path) -> None:
        """Write the layer as PyLate does."""
        folder.mkdir()
        activation = type(self.activation_function)
        stated = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__qualname__}",
            "use_residual": self.residual is not None,
        }
        (folder / "config.json").write_text(json.dumps(stated, indent=4))
        save_file(self.state_dict(), folder / "model.safetensors")


def read_weights(folder: Path, *names: str) -> dict[str, Tensor]:
    """Return tensors of a module's safetensors file, else of its .bin file, on the CPU; none that aren't there."""
    file, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if file.is_file():
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in set(names).intersection(opened.keys())}
    weights = torch.load(pickled, map_location="cpu", weights_only=True) if pickled.is_file() else {}
    return {name: weights[name] for name in names if name in weights}


def _incomplete(folder: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{folder} is no complete Dense layer ({reason}): download the checkpoint again")


def read_transformer(folder: Path, model_kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the backbone and tokenizer of a checkpoint; of an encoder-decoder such as T5, the encoder.

    Args:
        folder: the checkpoint; sentence_bert_config.json may state arguments for transformers.
        model_kwargs: for the transformers model, before those stated (dtype, attn_implementation, trust_remote_code).
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    (inner,) = module_folders(folder, "Transformer")[:1] or [folder]
    stated = sentence_options(inner)
    local = {"local_files_only": True, "trust_remote_code": model_kwargs.get("trust_remote_code", False)}
    config = AutoConfig.from_pretrained(inner, **stated.get("config_args", {}) | local)
    kind: Any = AutoModel
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        encoder = MODEL_FOR_TEXT_ENCODING_MAPPING[type(config)]
        if encoder.__name__.endswith("EncoderModel"):
            kind, config.is_encoder_decoder = encoder, False
    backbone = kind.from_pretrained(inner, config=config, **stated.get("model_args", {}) | local | dict(model_kwargs))
    return backbone, AutoTokenizer.from_pretrained(inner, **stated.get("tokenizer_args", {}) | local)


def write_modules(
    folder: Path,
    backbone: Any,
    tokenizer: Any,
    layers: Iterable[Any],
    *,
    config: Mapping[str, Any],
    lower_case: bool,
) -> None:
    """Write a checkpoint that PyLate opens, and from 6 on sentence-transformers.

    Args:
        folder: of the checkpoint.
        backbone: model of transformers.
        tokenizer: its tokenizer.
        layers: `Dense` layers, in their order.
        config: the contents of config_sentence_transformers.json.
        lower_case: texts are read in lower case.
    """
    from transformers import __version__

    backbone.save_pretrained(folder)
    clear_truncation(tokenizer).save_pretrained(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, layer in enumerate(layers, 1):
        path = f"{index}_Dense"
        layer.save(folder / path)
        modules.append({"idx": index, "name": str(index), "path": path, "type": "pylate.models.Dense.Dense"})
    length = tokenizer.model_max_length
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {
            "max_seq_length": length if length < UNBOUNDED else None,
            "do_lower_case": lower_case,
        },
        "config_sentence_transformers.json": {
            "__version__": {"transformers": __version__, "pytorch": torch.__version__},
            **config,
        },
    }
    for name, contents in files.items():
        (folder / name).write_text(json.dumps(contents, indent=2) + "\n")
