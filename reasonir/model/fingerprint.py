"""A model that is used as it is: what its numbers depend on, known before it is loaded."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from reasonir.data.files.records import digests
from reasonir.model.backbone import Model

_KEPT = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")


def identity_of(model: Model) -> dict[str, Any]:
    """The hashes of the checkpoint's files, wherever they lie, and the options of head and prompts, as plain values.

    Raises:
        InputError: the checkpoint can't be reached.
    """
    folder = model.locate()
    files = sorted({file for pattern in _KEPT for file in folder.rglob(pattern)})
    return {"files": digests(files, folder), "head": options_of(model.head), "prompts": asdict(model.prompts)}


def options_of(built: Any) -> dict[str, Any]:
    """The name and the options of a partial of an index, or of a head's `load`, as plain values."""
    plain = {
        key: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for key, value in built.keywords.items()
    }
    return {"name": getattr(built.func, "__self__", built.func).name, **plain}
