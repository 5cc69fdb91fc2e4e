"""Code that opening a checkpoint would run, refused before any library is given its folder.

`trust_remote_code=False` alone doesn't keep it out. sentence-transformers imports whatever modules.json names from a
local folder, and every download is one; a Dense layer's `activation_function`, a Router's `types`, the keyword
arguments in sentence_bert_config.json, `trust_remote_code` and attention kernels in config.json are taken from the
checkpoint as well. Modules, activations and keyword arguments are therefore allowed by their exact names, and what
transformers would take from config.json by name is refused. Weights are no code: safetensors hold none, and .bin files
are read by torch's weights-only unpickler.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

from torch.nn.modules import activation

from reasonir.errors import HOW_TO_TRUST, InputError

_MODULES = {
    "sentence_transformers.models": (
        *("Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm", "WeightedLayerPooling"),
        *("Router", "Asym"),
    ),
    "pylate.models": ("Dense",),
}
"""What modules.json and a Router may name: modules that name no other class, or whose names are checked here."""
_KINDS = {
    f"{package}.{name}{repeated}": name
    for package, names in _MODULES.items()
    for name in names
    for repeated in ("", f".{name}")
}
_ACTIVATIONS = {
    "torch.nn.Identity",
    "torch.nn.modules.linear.Identity",
    *(f"{package}.{name}" for package in ("torch.nn", activation.__name__) for name in activation.__all__),
}
_TOKENIZER = "tokenizer_config.json"
_SENTENCE_CONFIGS = [
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
_SENTENCE_KEYS = {"max_seq_length", "do_lower_case"}
_ARGUMENTS = {
    *("add_pooling_layer", "attn_implementation", "dtype", "is_causal", "model_max_length", "padding_side"),
    *("torch_dtype", "trust_remote_code", "use_cache"),  # sentence-transformers drops trust_remote_code
}
_READ_HERE = ("open_provence",)
"""Model types that transformers doesn't know and we read ourselves."""


def refuse_remote_code(folder: Path) -> None:
    """Refuse a checkpoint that would run anything but transformers', sentence-transformers', PyLate's and our own code.

    Args:
        folder: the checkpoint's; nothing in it is imported.

    Raises:
        InputError: naming the file, the class or setting in it, and how to trust it.
    """
    _check_transformer(folder)
    file = folder / "modules.json"
    for module in _read(file, list):
        if not isinstance(module, dict):
            raise InputError(f"{file} holds {module!r} where a module belongs: get the checkpoint again")
        _check_module(folder, module.get("type"), module.get("path", ""), file)


@contextmanager
def naming_remote_code(folder: Path) -> Iterator[None]:
    """Let what the libraries themselves refuse to run name the file, and the class where there is one.

    Raises:
        InputError: the block met remote code, or a .bin file with more than weights in it.
    """
    try:
        yield
    except UnpicklingError as error:
        raise InputError(
            f"{folder} has a .bin file with more than weights in it, which could be code: use one in safetensors"
        ) from error
    except ValueError as error:
        if isinstance(error, InputError) or "trust_remote_code" not in str(error):
            raise
        stated = {name: _read(folder / name).get("auto_map") for name in ("config.json", _TOKENIZER)}
        name, classes = next(((name, classes) for name, classes in stated.items() if classes), ("config.json", "?"))
        raise _refusal(folder / name, "auto_map", classes) from error


def _check_module(folder: Path, name: Any, path: Any, named_in: Path) -> None:
    """Check a module of sentence-transformers, and what its own files name."""
    kind = _KINDS.get(str(name))
    if kind is None:
        raise _refusal(named_in, "type", name)
    place = PurePosixPath(str(path))
    if place.is_absolute() or ".." in place.parts or "\\" in str(path):
        raise _refusal(named_in, "path", path)
    inside = folder / place
    if kind == "Transformer":
        _check_transformer(inside)
    elif kind == "Dense":
        _check_activation(inside / "config.json", "activation_function")
    elif kind in ("Router", "Asym"):
        for file in (inside / "router_config.json", inside / "config.json"):
            for route, inner in _read(file).get("types", {}).items():
                if PurePosixPath(route).parts == ():  # the same folder again, without end
                    raise _refusal(file, "types", route)
                _check_module(inside, inner, route, file)


def _check_transformer(folder: Path) -> None:
    """Check the files by which transformers, or sentence-transformers around it, opens a model and its tokenizer."""
    _check_config(folder / "config.json")
    for name in (_TOKENIZER, "config.json"):
        _check_tokenizer_class(folder / name)
    for name in _SENTENCE_CONFIGS:
        _check_arguments(folder / name)
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = _read(adapter).get("base_model_name_or_path")
        raise InputError(
            f"{adapter} makes this an adapter of {base}, a second checkpoint that isn't checked: merge it into its "
            f"base (merge_and_unload of peft) and save that, or if you trust both, give {HOW_TO_TRUST}"
        )


def _check_config(file: Path) -> None:
    values = _read(file)
    if values.get("auto_map") and not _is_known(values):
        raise _refusal(file, "auto_map", values["auto_map"])
    for depth, key, value in _entries(values):
        if not _is_data(key, value, depth):
            raise _refusal(file, key, value)


def _is_data(key: str, value: Any, depth: int) -> bool:
    """Whether an entry of config.json, so deep in it, has transformers or a cross-encoder import nothing."""
    if key == "auto_map":  # of the model itself: known code is preferred to it
        return depth == 0 or not value
    if key in ("trust_remote_code", "configuration_files"):  # the second names files in place of this one
        return not value
    if key in ("activation_fn", "sbert_ce_default_activation_function"):
        return "." not in str(value) or value in _ACTIVATIONS
    return not key.endswith("_implementation") or "/" not in str(value)  # a kernel of the hub


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether the model is opened by code that is here: transformers' own, which it prefers, or ours."""
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in (*CONFIG_MAPPING, *_READ_HERE)


def _check_tokenizer_class(file: Path) -> None:
    """Refuse a `tokenizer_class` that is anything else of transformers than a tokenizer."""
    stated = _read(file).get("tokenizer_class")
    if not isinstance(stated, str):
        return
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    plain = stated.replace("Fast", "")
    for name in {stated, plain, f"{plain}Fast"}:
        found: Any = tokenizer_class_from_name(name)
        if found is None or getattr(found, "is_dummy", False):
            continue  # unknown, or of a package that isn't here: transformers says so
        if not (inspect.isclass(found) and issubclass(found, PreTrainedTokenizerBase)):
            raise _refusal(file, "tokenizer_class", stated)


def _check_arguments(file: Path) -> None:
    """Check what sentence-transformers hands to transformers as keyword arguments."""
    for key, value in _read(file).items():
        if key in ("model_args", "tokenizer_args", "config_args") and isinstance(value, dict):
            for name, given in value.items():
                if name not in _ARGUMENTS or "/" in str(given):
                    raise _refusal(file, f"{key}.{name}", given)
        elif key not in _SENTENCE_KEYS:
            raise _refusal(file, key, value)


def _check_activation(file: Path, key: str) -> None:
    stated = _read(file).get(key)
    if stated is not None and stated not in _ACTIVATIONS:
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


def _read(file: Path, kind: type = dict) -> Any:
    """The contents of a JSON file, empty where there is no such file.

    Raises:
        InputError: it is no JSON, or of another kind.
    """
    if not file.is_file():
        return kind()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} can't be read as JSON ({error}): get the checkpoint again") from error
    if not isinstance(found, kind):
        raise InputError(
            f"{file} holds a {type(found).__name__} instead of a {kind.__name__}: get the checkpoint again"
        )
    return found


def _refusal(file: Path, key: str, value: Any) -> InputError:
    return InputError(
        f"{file} has {key}: {str(value)[:200]}, by which opening the checkpoint could run code that is neither "
        f"transformers', sentence-transformers' nor PyLate's: read it, and only if you trust it, give {HOW_TO_TRUST}"
    )
