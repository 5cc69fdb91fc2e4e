"""The head of a checkpoint by its files: PyLate, sentence-transformers and transformers each note what a model is."""

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
    """The class of the head that a checkpoint folder was made for.

    Raises:
        InputError: its files don't say.
    """
    for head in heads():
        if head.recognises(folder):
            return head
    raise InputError(
        f"{folder} doesn't say which head it has (config.json names {architecture_of(folder) or 'no architecture'}): "
        "give the folder of a run, an exported model, or a checkpoint of sentence-transformers, PyLate or OpenProvence"
    )


def heads() -> list[Any]:
    """The classes of all heads in this folder, each before the one it is built on."""
    modules = [import_module(f"{package.__name__}.{each.name}") for each in iter_modules(package.__path__)]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isclass(value) and value.__module__ == module.__name__ and hasattr(value, "default_loss")
    ]
    return sorted(classes, key=lambda head: -len(head.__mro__))
