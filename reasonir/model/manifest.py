"""Manifest of an exported model: its files with size and SHA-256, and settings that its ecosystem's files omit.

It is written first to mark the folder as unfinished, and last with its contents, so that an export that was interrupted
or only partly copied is never loaded.
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
WEIGHTS = (".safetensors", ".bin")


def begin(folder: Path) -> None:
    """Mark a folder as an unfinished export."""
    _write(folder, {"format": _FORMAT})


def finish(folder: Path, model: Mapping[str, Any]) -> None:
    """List the files of a folder, which marks it as finished.

    Args:
        folder: the complete export.
        model: `head`, its `options` and `prompts`, as plain values.
    """
    files = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST):
        size, digest = file.stat().st_size, sha256(file)
        files[file.relative_to(folder).as_posix()] = {"size": size, "sha256": digest}
    _write(folder, {"format": _FORMAT, "model": dict(model), "files": files})


def is_export(folder: Path) -> bool:
    """Return whether a folder is an export of reasonir, finished or not."""
    return (folder / MANIFEST).is_file()


def read(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """Return head, options and prompts of an exported model; empty for a folder that reasonir did not export.

    Args:
        folder: folder of a checkpoint.
        weights: whether weight files are present and to be checked.

    Raises:
        InputError: the export is unfinished, or one of its files is missing or altered.
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
        raise InputError(f"{folder} is an unfinished export: wait for its run to end, or copy the whole model again")
    for name, expected in files.items():
        if weights or not name.endswith(WEIGHTS):
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
