"""What a configuration may name that isn't the user's own: reasonir's components, each in its place, and plain values.

Hydra calls whatever `_target_` names, and a run's folder may come from anywhere. So the configuration of a folder is
checked before it is built: every `_target_` is a class that is defined in a module of reasonir (found through none that
a module imports) and makes sense where it stands. A user's own class is one that he names in his own YAML files.
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

import yaml

from reasonir.config import own_conf
from reasonir.errors import HOW_TO_TRUST, InputError

_OURS = re.compile(r"reasonir(\.\w+){2,}")
_SPECIAL = re.compile(r"_\w+_")
_MODEL_PARTS = {
    "prompts": "reasonir.model.prompts.Prompts",
    "lora": "reasonir.model.lora.LoRA",
    "packaged": "reasonir.model.download.Packaged",
    "shape": "reasonir.model.shape.Shape",
}

_CALLED = {"model", "head", "data", "eval", *_MODEL_PARTS}
_DATA_PART, _EVAL_PART = "part of the data", "part of the evaluation"
_METHODS = {"data": ("identity", "examples", "dev"), "eval": ("tasks", "analyse", "incompatibility")}
"""What a component has to have in a place that a protocol describes."""
_ROOMS = {_DATA_PART: ("reasonir.data.",), _EVAL_PART: ("reasonir.eval.", "reasonir.inference.pipeline")}
"""Where the components are defined that may stand within such a one."""


def refuse_foreign(node: Any, role: str, file: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a part of a saved configuration that would call anything but components, or resolve anything.

    Args:
        node: plain values, as they were read.
        role: what it is: "model", "data" or "eval".
        file: where it was read, for messages.
        trust_remote_code: whatever it names may be called.

    Raises:
        InputError: naming the file, the key and its value, and how to trust it.
    """
    for path, value in _leaves(node, role):
        if isinstance(value, str) and "${" in value:
            raise InputError(f"{file}: {path} holds {value!r}: a saved configuration has plain values: write its value")
    if trust_remote_code:
        return
    for path, found, wanted in _calls(node, role, role):
        name = found.get("_target_")
        if wanted is None or not _fits(wanted, component(name)):
            raise InputError(
                f"{file}: {path}._target_={name} is no {wanted or 'component'} of reasonir: if the folder is yours, or "
                f"you trust who made it, give {HOW_TO_TRUST}; a class of your own is also known where a YAML file in "
                "conf/ of the working directory names it"
            )
        special = {key for key in map(str, found) if _SPECIAL.fullmatch(key)} - {"_target_", "_partial_"}
        if special or bool(found.get("_partial_")) != (wanted == "head"):
            key = min(special, default="_partial_")
            raise InputError(f"{file}: {path}.{key}={found.get(key)} isn't what reasonir saves: train the run again")


def build_saved(node: Any, *, trust_remote_code: bool = False) -> Any:
    """The objects that checked plain values describe (see `refuse_foreign`); nothing but components is called.

    Args:
        node: plain values, with a `_target_` where something is called.
        trust_remote_code: whatever a `_target_` names may be called.

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
    """The class that a `_target_` names, or its `load`, if it is reasonir's or one of the user's own; None if not.

    Nothing is imported before it is known to be either.
    """
    if not isinstance(name, str):
        return None
    if not _OURS.fullmatch(name):
        return _imported(name) if name in _own_targets() else None
    module, _, last = name.removesuffix(".load").rpartition(".")
    try:
        found = getattr(import_module(module), last, None)
    except ModuleNotFoundError:
        return None
    if not (inspect.isclass(found) and found.__module__ == module):
        return None
    return getattr(found, "load", None) if name.endswith(".load") else found


def _imported(name: str) -> Any:
    try:
        return resolve_name(name)
    except Exception as error:  # whatever the user's own module raises
        raise InputError(
            f"{name} can't be imported ({str(error).splitlines()[0]}): check the name and PYTHONPATH"
        ) from error


def _own_targets() -> set[str]:
    """Every `_target_` of the user's own YAML files."""
    folder, found = own_conf(), set[str]()
    for file in sorted(folder.rglob("*.yaml")) if folder else ():
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{file} can't be read as YAML ({error}): fix it, or move it elsewhere") from error
        found |= {str(value) for path, value in _leaves(values, "") if path.endswith("._target_")}
    return found


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every plain value in nested ones."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{path}[{number}]")
    else:
        yield path, node


def _calls(node: Any, role: str | None, path: str) -> Iterator[tuple[str, Mapping[str, Any], str | None]]:
    """Yield (path, mapping, role) of every mapping that Hydra calls, or should."""
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


def _fits(role: str, found: Any) -> bool:
    """Whether a component makes sense in its place."""
    if role == "head":
        return inspect.ismethod(found) and found.__name__ == "load" and hasattr(found.__self__, "kind")
    if not inspect.isclass(found):
        return False
    if role == "model":
        from reasonir.model.backbone import Model

        return issubclass(found, Model)
    if role in _MODEL_PARTS:
        return issubclass(found, component(_MODEL_PARTS[role]))
    if role in _METHODS:
        return all(callable(getattr(found, name, None)) for name in _METHODS[role])
    return role in _ROOMS and (found.__module__.startswith(_ROOMS[role]) or not _OURS.match(found.__module__))
