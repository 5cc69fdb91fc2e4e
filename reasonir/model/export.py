"""Export of models: complete or absent, and checked against the model in memory.

A folder is written under a temporary name, compared with the model in memory (`reasonir.model.export_check`), and only
then published by one rename, with a manifest of its files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.model import manifest
from reasonir.model.backbone import Model
from reasonir.model.checkpoint_config import stated_options
from reasonir.model.encoder import Encoder
from reasonir.model.export_check import ExportCheck
from reasonir.model.lora import merged
from reasonir.model.prompts import Prompts
from reasonir.utils.files import atomic_folder

_LOAD_ARGUMENTS = {"folder", "prompts", "model_kwargs"}
"""Arguments of a head's `load` besides its options."""


def export(
    encoder: Encoder, folder: Path, *, texts: Sequence[str] = (), extra: Mapping[str, Path] | None = None
) -> None:
    """Write a model to `folder` in the format its ecosystem loads, replacing an earlier export.

    Args:
        encoder: the model.
        folder: appears once the export is complete and checked.
        texts: texts of the model's domain to compare, in addition to the built-in ones.
        extra: files to copy into the export, by their names there.

    Raises:
        InputError: `folder` holds something other than an export, the model gives values that are not finite, or its
            export isn't the same model.
    """
    if folder.exists() and not manifest.is_export(folder) and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that are no export: choose a new folder, or remove them")
    with atomic_folder(folder, replaces=True) as partial_folder:
        manifest.begin(partial_folder)
        for name, file in (extra or {}).items():
            shutil.copyfile(file, partial_folder / name)
        backbone = merged(encoder.backbone)
        encoder.head.save(backbone, partial_folder)
        _restore_window(partial_folder, backbone.config)
        del backbone
        stated = description(encoder)
        manifest.finish(partial_folder, stated)
        exported = exported_as(
            str(partial_folder), type(encoder.head), stated, trust_remote_code=encoder.trust_remote_code
        )
        ExportCheck(encoder, exported, folder).run(texts)


def description(encoder: Encoder) -> dict[str, Any]:
    """Return the head, options and prompts that the ecosystem's files don't state, as plain values."""
    prompts = getattr(encoder.head.tokenizer, "prompts", None)
    return {
        "head": encoder.head.name,
        "options": encoder.head.options(),
        **({"prompts": asdict(prompts)} if prompts is not None else {}),
    }


def exported_as(path: str, head: Any, stated: Mapping[str, Any], *, trust_remote_code: bool = False) -> Model:
    """Return the model of an export, configured as the exported one.

    Args:
        path: the export's folder, or hub id.
        head: class of its head.
        stated: its `description`; empty uses the values of its other files.
        trust_remote_code: run Python code in the checkpoint.

    Raises:
        InputError: `stated`, read from a file, isn't a description of this head.
    """
    options = _checked(path, stated.get("options", {}), set(signature(head.load).parameters) - _LOAD_ARGUMENTS)
    prompts = _checked(path, stated.get("prompts", {}), {field.name for field in fields(Prompts)})
    return Model(
        path=path,
        head=partial(head.load, **options),
        prompts=Prompts(**prompts),
        trust_remote_code=trust_remote_code,
    )


def _checked(path: str, values: Any, names: set[str]) -> dict[str, Any]:
    """Return options from a file after checking their names and types."""
    if not isinstance(values, dict) or not all(
        name in names and isinstance(value, str | int | float | None) for name, value in values.items()
    ):
        raise InputError(
            f"{path}: {manifest.MANIFEST} states {values!r}, which doesn't describe this head: export the model again"
        )
    return values


def _restore_window(folder: Path, config: Any) -> None:
    """Write the attention window so that reading it gives the model's own.

    transformers' Gemma 3 configuration replaces the window of a bidirectional model by half of it plus one at each
    reading, so the value in memory must not be written unchanged.
    """
    from transformers import AutoConfig

    window = getattr(config, "sliding_window", None)
    for file in folder.rglob("config.json"):
        stated = stated_options(file.parent, file.name)
        if window is None or "model_type" not in stated or "sliding_window" not in stated:
            continue
        if AutoConfig.from_pretrained(file.parent, local_files_only=True).sliding_window != window:
            file.write_text(json.dumps({**stated, "sliding_window": 2 * (window - 1)}, indent=2, sort_keys=True) + "\n")
