"""Check for code that opening a checkpoint would run, before any library gets its folder.

`trust_remote_code=False` alone doesn't prevent it. sentence-transformers imports whatever modules.json names from a
local folder, and every download is one; a Dense layer's `activation_function`, a Router's `types`, the keyword
arguments in sentence_bert_config.json, `trust_remote_code` and attention kernels in config.json are read from the
checkpoint as well. Modules, activations and keyword arguments are therefore allowed by their exact names, and entries
of config.json that transformers would import by name are refused. Weights are no code: safetensors hold none, and .bin
files are read by torch's weights-only unpickler.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from torch.nn.modules import activation

from reasonir.errors import HOW_TO_TRUST, InputError
from reasonir.model.checkpoint_config import ARGUMENTS, SENTENCE_CONFIGS, stated_values

_MODULES = {
    "sentence_transformers.models": (
        *("Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm", "WeightedLayerPooling"),
        *("Router", "Asym"),
    ),
    "sentence_transformers.sparse_encoder.models": ("MLMTransformer", "SpladePooling"),
    "sentence_transformers.sparse_encoder.modules": ("MLMTransformer", "SpladePooling"),
    "sentence_transformers.base.modules": ("Transformer", "Dense", "Normalize", "Router", "Asym"),
    "sentence_transformers.sentence_transformer.modules": ("Pooling", "Dropout", "LayerNorm", "WeightedLayerPooling"),
    "pylate.models": ("Dense",),
}
"""Modules allowed in modules.json and in a Router: they name no other class, or only names that are checked here."""
_KINDS = {
    f"{package}.{file}{name}": name
    for package, names in _MODULES.items()
    for name in names
    for file in ("", f"{name}.", re.sub(r"(?<=.)(?=[A-Z][a-z])", "_", name).lower() + ".")
} | {"sentence_transformers.base.modules.router.Asym": "Asym"}
_ACTIVATIONS = {
    "torch.nn.Identity",
    "torch.nn.modules.linear.Identity",
    *(f"{package}.{name}" for package in ("torch.nn", activation.__name__) for name in activation.__all__),
}
_TOKENIZER = "tokenizer_config.json"
_SENTENCE_KEYS = {"max_seq_length", "do_lower_case", "module_output_name", "unpad_inputs", "query_length"}
_SENTENCE_KEYS |= {"document_length", "query_expansion"}
_TASKS = {("transformer_task", "feature-extraction"), ("transformer_task", "fill-mask")}
_ARGUMENTS = {
    *("add_pooling_layer", "attn_implementation", "dtype", "is_causal", "model_max_length", "padding_side"),
    *("torch_dtype", "trust_remote_code", "use_cache"),  # sentence-transformers drops trust_remote_code
}
_UNKNOWN = (
    *("Unrecognized model", "does not recognize this architecture", "instantiate the backend tokenizer"),
    "Unrecognized processing class",
)
"""Parts of transformers' messages on checkpoints that it can't open."""
_READ_HERE = ("open_provence",)
"""Model types that reasonir reads itself, unknown to transformers."""


def refuse_remote_code(folder: Path) -> None:
    """Refuse a checkpoint that would run any code but the libraries' (transformers, sentence-transformers, PyLate).

    Args:
        folder: folder of the checkpoint; nothing in it is imported.

    Raises:
        InputError: naming the file, the class or setting in it, and how to trust it.
    """
    _check_transformer(folder)
    file = folder / "modules.json"
    for module in stated_values(file, list):
        if not isinstance(module, dict):
            raise InputError(f"{file} holds {module!r} instead of a module: download the checkpoint again")
        _check_module(folder, module.get("type"), module.get("path", ""), file)


@contextmanager
def opening_errors(folder: Path) -> Iterator[None]:
    """Convert the libraries' errors on a checkpoint into ones that name the file, and the class if there is one.

    Raises:
        InputError: the block met remote code, a .bin file that holds more than weights, a damaged file, or a model or
            tokenizer that transformers doesn't know.
    """
    try:
        yield
    except UnpicklingError as error:
        raise InputError(
            f"{folder} has a .bin file that holds more than weights, possibly code: use a checkpoint in safetensors"
        ) from error
    except ModuleNotFoundError as error:
        raise InputError(
            f"{folder} needs the Python module {error.name}: install its package, or the release of "
            "sentence-transformers that saved the checkpoint (pip install -U sentence-transformers)"
        ) from error
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{folder} has a damaged file ({error}): download the checkpoint again") from error
    except ValueError as error:
        if not isinstance(error, InputError) and any(words in str(error) for words in _UNKNOWN):
            reason = " ".join(str(error).split())
            raise InputError(f"{folder} can't be opened: {reason}") from error
        if isinstance(error, InputError) or "trust_remote_code" not in str(error):
            raise
        stated = {name: stated_values(folder / name).get("auto_map") for name in ("config.json", _TOKENIZER)}
        name, classes = next(((name, classes) for name, classes in stated.items() if classes), ("config.json", "?"))
        raise _refusal(folder / name, "auto_map", classes) from error


def _check_module(folder: Path, name: Any, path: Any, named_in: Path) -> None:
    """Check a sentence-transformers module and the names in its files."""
    kind = _KINDS.get(str(name))
    if kind is None:
        raise _refusal(named_in, "type", name)
    location = PurePosixPath(str(path))
    if location.is_absolute() or ".." in location.parts or "\\" in str(path):
        raise _refusal(named_in, "path", path)
    inside = folder / location
    if kind in ("Transformer", "MLMTransformer"):
        _check_transformer(inside)
    elif kind == "Dense":
        _check_activation(inside / "config.json", "activation_function")
    elif kind in ("Router", "Asym"):
        for file in (inside / "router_config.json", inside / "config.json"):
            routes = stated_values(file).get("types", {})
            if not isinstance(routes, dict):
                raise _refusal(file, "types", routes)
            for route, inner in routes.items():
                if PurePosixPath(route).parts == ():  # the folder itself, an endless recursion
                    raise _refusal(file, "types", route)
                _check_module(inside, inner, route, file)


def _check_transformer(folder: Path) -> None:
    """Check the files by which transformers and sentence-transformers open a model and its tokenizer."""
    _check_config(folder / "config.json")
    for name in (_TOKENIZER, "config.json"):
        _check_tokenizer_class(folder / name)
    for name in SENTENCE_CONFIGS:
        _check_arguments(folder / name)
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = stated_values(adapter).get("base_model_name_or_path")
        raise InputError(
            f"{adapter} makes this an adapter of {base}, a second checkpoint that isn't checked: merge it into its "
            f"base (merge_and_unload of peft) and save that, or if you trust both, give {HOW_TO_TRUST}"
        )


def _check_config(file: Path) -> None:
    values = stated_values(file)
    if values.get("auto_map") and not _is_known(values):
        raise _refusal(file, "auto_map", values["auto_map"])
    for depth, key, value in _entries(values):
        if not _is_data(key, value, depth):
            raise _refusal(file, key, value)


def _is_data(key: str, value: Any, depth: int) -> bool:
    """Return whether an entry of config.json at this depth makes transformers and cross-encoders import nothing."""
    if key == "auto_map":  # transformers prefers its own code for known models
        return depth == 0 or not value
    if key in ("trust_remote_code", "configuration_files"):  # the second names files that replace this one
        return not value
    if key in ("activation_fn", "sbert_ce_default_activation_function"):
        return "." not in str(value) or value in _ACTIVATIONS
    return not key.endswith("_implementation") or "/" not in str(value)  # a kernel of the hub


def _is_known(config: Mapping[str, Any]) -> bool:
    """Return whether the model is opened by installed code: transformers', which it prefers, or reasonir's."""
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in (*CONFIG_MAPPING, *_READ_HERE)


def _check_tokenizer_class(file: Path) -> None:
    """Refuse a `tokenizer_class` that names a class of transformers other than a tokenizer."""
    stated = stated_values(file).get("tokenizer_class")
    if not isinstance(stated, str):
        return
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    plain = stated.replace("Fast", "")
    for name in {stated, plain, f"{plain}Fast"}:
        cls: Any = tokenizer_class_from_name(name)
        if cls is None or getattr(cls, "is_dummy", False):
            continue  # unknown, or of a package that isn't installed: transformers raises an error
        if not (inspect.isclass(cls) and issubclass(cls, PreTrainedTokenizerBase)):
            raise _refusal(file, "tokenizer_class", stated)


def _check_arguments(file: Path) -> None:
    """Check the keyword arguments that sentence-transformers passes to transformers."""
    for key, value in stated_values(file).items():
        if key in (*ARGUMENTS, *ARGUMENTS.values()) and isinstance(value, dict):
            for name, argument in value.items():
                if name not in _ARGUMENTS or "/" in str(argument):
                    raise _refusal(file, f"{key}.{name}", argument)
        elif key == "modality_config" and isinstance(value, dict):
            for name, part in value.items():
                if not isinstance(part, dict) or part.get("method") != "forward":  # any method would be called
                    raise _refusal(file, f"{key}.{name}", part)
        elif key not in _SENTENCE_KEYS and (key, str(value)) not in _TASKS:
            raise _refusal(file, key, value)


def _check_activation(file: Path, key: str) -> None:
    stated = stated_values(file).get(key)
    if stated is not None and str(stated) not in _ACTIVATIONS:
        raise _refusal(file, key, stated)


def _entries(node: Any, depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Yield (depth, key, value) of every mapping in nested values."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield depth, key, value
            yield from _entries(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _entries(value, depth + 1)


def _refusal(file: Path, key: str, value: Any) -> InputError:
    return InputError(
        f"{file} has {key}: {str(value)[:200]}, by which opening the checkpoint could run code that is neither "
        f"transformers', sentence-transformers' nor PyLate's: read it, and only if you trust it, give {HOW_TO_TRUST}"
    )
