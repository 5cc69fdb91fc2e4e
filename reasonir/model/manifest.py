"""The manifest of an exported model: its files with size and SHA-256, and what of the model its ecosystem's files omit.

It is written first as a mark that the folder is unfinished, and last with everything in it, so an export that was
interrupted or only partly copied is never taken for a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.utils.files import sha256

MANIFEST = "reasonir.json"
_FORMAT = 1
_WEIGHTS = (".safetensors", ".bin")


def begin(folder: Path) -> None:
    """Mark a folder as an unfinished export."""
    _write(folder, {"format": _FORMAT})


def finish(folder: Path, model: Mapping[str, Any]) -> None:
    """List the files of a folder, and with that declare it finished.

    Args:
        folder: everything of the export is in it.
        model: how the model is opened here: `head`, its `options` and `prompts`, as plain values.
    """
    files = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST):
        size, digest = file.stat().st_size, sha256(file)
        files[file.relative_to(folder).as_posix()] = {"size": size, "sha256": digest}
    _write(folder, {"format": _FORMAT, "model": dict(model), "files": files})


def is_export(folder: Path) -> bool:
    """Whether a folder is an export of reasonir, finished or not."""
    return (folder / MANIFEST).is_file()


def read(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """How the exported model of a folder is opened here; empty for a folder that reasonir did not export.

    Args:
        folder: a checkpoint's.
        weights: whether the weights are there too, and are checked.

    Raises:
        InputError: the export is unfinished, or a file of it is missing or altered.
    """
    if not is_export(folder):
        return {}
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        files, model = manifest.get("files"), manifest.get("model", {})
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error}): export or copy the model again") from error
    if not files:
        raise InputError(f"{folder} is an unfinished export: let its run end, or copy the whole model again")
    for name, expected in files.items():
        if weights or not name.endswith(_WEIGHTS):
            _check(folder / name, expected)
    return dict(model)


def _check(file: Path, expected: Mapping[str, Any]) -> None:
    if not file.is_file():
        fault = "is missing"
    elif (size := file.stat().st_size) != expected["size"]:
        fault = f"has {size} bytes instead of {expected['size']}"
    elif (digest := sha256(file)) != expected["sha256"]:
        fault = f"has SHA-256 {digest[:16]}... instead of {expected['sha256'][:16]}..."
    else:
        return
    raise InputError(f"{file} {fault}, so {file.parent} isn't the model that was exported: copy or export it again")


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(content, indent=2), encoding="utf-8")
