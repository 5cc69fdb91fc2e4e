"""Recognition of a checkpoint's head by the files of PyLate, sentence-transformers and transformers."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from reasonir.errors import InputError
from reasonir.model import head as package
from reasonir.model.checkpoint_config import architecture_of


def head_of(folder: Path) -> Any:
    """Return the class of a checkpoint's head.

    Raises:
        InputError: no head recognises its files.
    """
    for head in heads():
        if head.recognises(folder):
            return head
    raise InputError(
        f"{folder} has no recognisable head (config.json names {architecture_of(folder) or 'no architecture'}): "
        "use the folder of a run, an exported model, or a checkpoint of sentence-transformers, PyLate or OpenProvence"
    )


def heads() -> list[Any]:
    """Return the classes of all heads in this folder, derived ones before their base."""
    modules = [import_module(f"{package.__name__}.{module.name}") for module in iter_modules(package.__path__)]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isclass(value) and value.__module__ == module.__name__ and hasattr(value, "default_loss")
    ]
    return sorted(classes, key=lambda head: -len(head.__mro__))
