"""Exports: complete or absent, and the same model again when their ecosystem opens them.

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
from reasonir.utils.files import atomic_path

_GIVEN = {"folder", "prompts", "model_kwargs"}
"""What `Model.load` gives a head's `load` besides options."""


def export(
    encoder: Encoder, folder: Path, *, texts: Sequence[str] = (), extra: Mapping[str, Path] | None = None
) -> None:
    """Write a model to `folder` in the format its ecosystem loads, in place of what is there.

    Args:
        encoder: the model.
        folder: appears when the export is complete and was compared.
        texts: of the model's domain, compared besides the built-in ones.
        extra: files that are copied into the export, by their names there.

    Raises:
        InputError: `folder` holds something else than an export, the model gives values that are not finite, or its
            export isn't the same model.
    """
    if folder.exists() and not manifest.is_export(folder) and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that are no export: give a new folder, or remove them")
    with atomic_path(folder, replaces=True) as place:
        place.mkdir()
        manifest.begin(place)
        for name, file in (extra or {}).items():
            shutil.copyfile(file, place / name)
        backbone = merged(encoder.backbone)
        encoder.head.save(backbone, place)
        _restore_window(place, backbone.config)
        del backbone
        stated = description(encoder)
        manifest.finish(place, stated)
        again = exported_as(str(place), type(encoder.head), stated, trust_remote_code=encoder.trust_remote_code)
        ExportCheck(encoder, again, folder).run(texts)


def description(encoder: Encoder) -> dict[str, Any]:
    """How an export is opened here: what its ecosystem's files don't state, as plain values."""
    prompts = getattr(encoder.head.tokenizer, "prompts", None)
    return {
        "head": encoder.head.name,
        "options": encoder.head.options(),
        **({"prompts": asdict(prompts)} if prompts is not None else {}),
    }


def exported_as(path: str, head: Any, stated: Mapping[str, Any], *, trust_remote_code: bool = False) -> Model:
    """The model of an export, opened as the one that was exported.

    Args:
        path: the export's folder, or hub id.
        head: the class of its head.
        stated: its `description`; empty takes what its other files state.
        trust_remote_code: run Python code that the checkpoint brings.

    Raises:
        InputError: `stated`, which a file says, isn't a description of this head.
    """
    options = _known(path, stated.get("options", {}), set(signature(head.load).parameters) - _GIVEN)
    prompts = _known(path, stated.get("prompts", {}), {each.name for each in fields(Prompts)})
    return Model(
        path=path,
        head=partial(head.load, **options),
        prompts=Prompts(**prompts),
        trust_remote_code=trust_remote_code,
    )


def _known(path: str, values: Any, names: set[str]) -> dict[str, Any]:
    """Options that a file states, once they are plain values under these names."""
    if not isinstance(values, dict) or not all(
        name in names and isinstance(value, str | int | float | None) for name, value in values.items()
    ):
        raise InputError(f"{path}: {manifest.MANIFEST} states {values!r}, which isn't how an export is opened")
    return values


def _restore_window(folder: Path, config: Any) -> None:
    """State the attention window so that reading it gives the model's own.

    transformers' Gemma 3 configuration turns the stated window of a bidirectional model into half of it and one each
    time it is read, so the one in memory must not be stated as it is.
    """
    from transformers import AutoConfig

    window = getattr(config, "sliding_window", None)
    for file in folder.rglob("config.json"):
        stated = stated_options(file.parent, file.name)
        if window is None or "model_type" not in stated or "sliding_window" not in stated:
            continue
        if AutoConfig.from_pretrained(file.parent, local_files_only=True).sliding_window != window:
            file.write_text(json.dumps({**stated, "sliding_window": 2 * (window - 1)}, indent=2, sort_keys=True) + "\n")
