"""Check of a saved configuration: only plain values and known components, each with the role of its key, are built.

Hydra calls whatever `_target_` names, and a run's folder may come from anywhere. A folder's configuration is therefore
checked before it is built: every `_target_` is a class defined in a module of reasonir (not merely imported there), or
one that the user's own YAML files name, and fits the key that it is given for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from reasonir.config import user_conf_folder
from reasonir.errors import HOW_TO_TRUST, InputError
from reasonir.utils.parsing import read_yaml

_OURS = re.compile(r"reasonir(\.\w+){2,}")
_SPECIAL = re.compile(r"_\w+_")
_MODEL_PARTS = {
    "prompts": "reasonir.model.prompts.Prompts",
    "lora": "reasonir.model.lora.LoRA",
    "packaged": "reasonir.model.download.Packaged",
}

_CALLED = {"model", "head", "data", "eval", *_MODEL_PARTS}
_DATA_PART, _EVAL_PART = "part of the data", "part of the evaluation"
_METHODS = {"data": ("identity", "examples", "dev"), "eval": ("tasks", "analyse", "incompatibility")}
"""Methods that a component of these roles must have."""
_PACKAGES = {_DATA_PART: ("reasonir.data.",), _EVAL_PART: ("reasonir.eval.", "reasonir.inference.pipeline")}
"""Modules whose components may be nested in data or an evaluation."""


def refuse_unknown_components(node: Any, role: str, file: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a part of a saved configuration that would call anything but components, or resolve anything.

    Args:
        node: plain values, as read from the file.
        role: "model", "data" or "eval".
        file: source of the values, for messages.
        trust_remote_code: allow any `_target_`.

    Raises:
        InputError: naming the file, the key and its value, and how to trust it.
    """
    for path, value in _leaves(node, role):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{file}: {path} holds {value!r}: a saved configuration has plain values, and environment variables "
                "that make a path which exists here: write its value"
            )
    if trust_remote_code:
        return
    for path, call, expected in _calls(node, role, role):
        name = call.get("_target_")
        if expected is None or not _fits(expected, component(name)):
            raise InputError(
                f"{file}: {path}._target_={name} is no {expected or 'component'} of reasonir: if you trust the folder, "
                f"give {HOW_TO_TRUST}; to use a class of your own, name it in a YAML file in conf/ of the working "
                "directory"
            )
        special = {key for key in map(str, call) if _SPECIAL.fullmatch(key)} - {"_target_", "_partial_"}
        if special or bool(call.get("_partial_")) != (expected == "head"):
            key = min(special, default="_partial_")
            raise InputError(f"{file}: {path}.{key}={call.get(key)} isn't what reasonir saves: train the run again")


def build_saved(node: Any, *, trust_remote_code: bool = False) -> Any:
    """Build the objects that checked plain values describe (see `refuse_unknown_components`).

    Args:
        node: plain values, with a `_target_` for every object.
        trust_remote_code: allow any `_target_`, not only components.

    Raises:
        InputError: a component refuses its options, or doesn't have them.
    """
    if isinstance(node, list):
        return [build_saved(value, trust_remote_code=trust_remote_code) for value in node]
    if not isinstance(node, Mapping):
        return node
    values = {
        key: build_saved(value, trust_remote_code=trust_remote_code)
        for key, value in node.items()
        if not _SPECIAL.fullmatch(str(key))
    }
    if (name := node.get("_target_")) is None:
        return values
    target = component(name) or (_imported(name) if trust_remote_code else None)
    if target is None:
        raise InputError(f"_target_={name} is no component of reasonir")
    try:
        return partial(target, **values) if node.get("_partial_") else target(**values)
    except TypeError as error:
        raise InputError(f"{name} can't be built from what was saved ({error}): train the run again") from error


def component(name: Any) -> Any:
    """Return the class that a `_target_` names, or its `load`, if it is reasonir's or the user's own, else None.

    Nothing else is imported.
    """
    if not isinstance(name, str):
        return None
    if not _OURS.fullmatch(name):
        return _imported(name) if name in _own_targets() else None
    module, _, last = name.removesuffix(".load").rpartition(".")
    try:
        target = getattr(import_module(module), last, None)
    except ModuleNotFoundError:
        return None
    if not (inspect.isclass(target) and target.__module__ == module):
        return None
    return getattr(target, "load", None) if name.endswith(".load") else target


def _imported(name: str) -> Any:
    try:
        return resolve_name(name)
    except Exception as error:  # a user's module may raise anything
        raise InputError(
            f"{name} can't be imported ({str(error).splitlines()[0]}): check the name and PYTHONPATH"
        ) from error


def _own_targets() -> set[str]:
    """Every `_target_` of the user's own YAML files."""
    folder, targets = user_conf_folder(), set[str]()
    for file in sorted(folder.rglob("*.yaml")) if folder else ():
        values = read_yaml(file, remedy="fix it, or move it elsewhere")
        targets |= {str(value) for path, value in _leaves(values, "") if path.endswith("._target_")}
    return targets


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every plain value in nested mappings and lists."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{path}[{number}]")
    else:
        yield path, node


def _calls(node: Any, role: str | None, path: str) -> Iterator[tuple[str, Mapping[str, Any], str | None]]:
    """Yield (path, mapping, role) of every mapping that describes an object."""
    if isinstance(node, Mapping):
        if role in _CALLED or any(_SPECIAL.fullmatch(str(key)) for key in node):
            yield path, node, role
        for key, value in node.items():
            yield from _calls(value, _role_within(role, str(key)), f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _calls(value, role, f"{path}[{number}]")


def _role_within(role: str | None, key: str) -> str | None:
    if role == "model":
        return key if key == "head" or key in _MODEL_PARTS else None
    if role == "sources":
        return "data"
    if role == "data" and key == "sources":
        return "sources"
    if role == "eval" and key in ("source", "collection"):
        return {"source": "data", "collection": "eval"}[key]
    if role in ("eval", _EVAL_PART):
        return _EVAL_PART
    return _DATA_PART if role in ("data", _DATA_PART) else None


def _fits(role: str, target: Any) -> bool:
    """Return True if a component has the given role."""
    if role == "head":
        return inspect.ismethod(target) and target.__name__ == "load" and hasattr(target.__self__, "kind")
    if not inspect.isclass(target):
        return False
    if role == "model":
        from reasonir.model.backbone import Model

        return issubclass(target, Model)
    if role in _MODEL_PARTS:
        return issubclass(target, component(_MODEL_PARTS[role]))
    if role in _METHODS:
        return all(callable(getattr(target, name, None)) for name in _METHODS[role])
    return role in _PACKAGES and (target.__module__.startswith(_PACKAGES[role]) or not _OURS.match(target.__module__))
