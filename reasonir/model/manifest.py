"""Manifest of an exported model: its files with size and SHA-256, and settings that its ecosystem's files omit.

It is written first to mark the folder as unfinished, and last with its contents, so that an export that was interrupted
or only partly copied is never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.utils.state import fault_of, read_json, sums_of, write_json
from reasonir.utils.values import shorten

MANIFEST = "reasonir.json"
_FORMAT = 1
_REMEDY = "copy or export it again"
WEIGHTS = (".safetensors", ".bin")


def begin(folder: Path) -> None:
    """Mark a folder as an unfinished export."""
    write_json(folder / MANIFEST, {"format": _FORMAT})


def finish(folder: Path, model: Mapping[str, Any]) -> None:
    """List the files of a folder, which marks it as finished.

    Args:
        folder: the complete export.
        model: `head`, its `options` and `prompts`, as plain values.
    """
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST]
    write_json(folder / MANIFEST, {"format": _FORMAT, "model": dict(model), "files": sums_of(files, folder)})


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
    manifest = read_json(folder / MANIFEST, remedy=_REMEDY)
    files, model = manifest.get("files"), manifest.get("model", {})
    if not files or not isinstance(files, dict):
        raise InputError(f"{folder} is an unfinished export: wait for its run to end, or copy the whole model again")
    if not isinstance(model, dict):
        raise InputError(f"{folder / MANIFEST} describes no model ({shorten(model)}): {_REMEDY}")
    present = {name: expected for name, expected in files.items() if weights or not name.endswith(WEIGHTS)}
    if fault := fault_of(folder, present):
        raise InputError(f"{fault}, so {folder} isn't the model that was exported: {_REMEDY}")
    return model
