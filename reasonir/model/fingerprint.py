"""Identity of a model that is used without training, available before it is loaded."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from reasonir.data.files.records import digests
from reasonir.model.backbone import Model

_HASHED = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")


def identity_of(model: Model) -> dict[str, Any]:
    """Return the hashes of the checkpoint's files and the options of head and prompts, as plain values.

    Raises:
        InputError: the checkpoint is unreachable.
    """
    folder = model.locate()
    files = sorted({file for pattern in _HASHED for file in folder.rglob(pattern)})
    return {"files": digests(files, folder), "head": options_of(model.head), "prompts": asdict(model.prompts)}


def options_of(built: Any) -> dict[str, Any]:
    """Return the name and options of a partial of an index, or of a head's `load`, as plain values."""
    plain = {
        key: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for key, value in built.keywords.items()
    }
    return {"name": getattr(built.func, "__self__", built.func).name, **plain}
