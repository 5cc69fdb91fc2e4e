"""A run's saved configuration: its model, data and evaluation, and the exported model that replaces the first.

A folder may come from anywhere: its config.yaml is read as plain values, and only components are built from it
(`reasonir.runs.components.build_saved`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from reasonir.errors import InputError
from reasonir.model import manifest
from reasonir.model.backbone import Model
from reasonir.runs.components import build_saved, refuse_foreign
from reasonir.runs.outcome import RUN_ID


def folder_of_id(run_id: str, home: Path) -> Path:
    """The folder below `home` of the run with this id in MLflow, which every tracked folder notes.

    Raises:
        InputError: there is none.
    """
    for file in (*home.glob(f"outputs/*/{RUN_ID}"), *home.glob(f"multirun/*/*/{RUN_ID}")):
        if file.read_text().strip() == run_id:
            return file.parent
    raise InputError(
        f"{run_id}: no run in {home / 'outputs'} or {home / 'multirun'} has this id: give the run's folder"
    )


def saved_config(folder: Path) -> Mapping[str, Any]:
    """What a run was composed of, as plain values.

    Raises:
        InputError: the folder is no tracked run.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise InputError(f"{folder} is no tracked run: it has no config.yaml")
    try:
        saved = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read as YAML ({error}): get the folder again") from error
    if not isinstance(saved, dict):
        raise InputError(f"{file} is no configuration of a run: get the folder again")
    return saved


def saved_data(folder: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """The configuration of the data that a run was trained on.

    Raises:
        InputError: there is none, or it names something else than components and isn't trusted.
    """
    return _checked(_part(folder, "data"), "data", folder, trust_remote_code)


def saved_eval(folder: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """The configuration of the evaluation that a run ended with.

    Raises:
        InputError: there is none, or it names something else than components and isn't trusted.
    """
    return _checked(_part(folder, "eval"), "eval", folder, trust_remote_code)


def untrained_model(folder: Path, *, trust_remote_code: bool = False) -> Model:
    """The model that a run started from; trust comes from the caller, never from the folder.

    Raises:
        InputError: there is none, or it names something else than components and isn't trusted.
    """
    options = {**_part(folder, "model"), "trust_remote_code": trust_remote_code}
    return _model(_checked(options, "model", folder, trust_remote_code), trust_remote_code)


def exported_model(folder: Path, *, trust_remote_code: bool = False) -> Model:
    """A run's exported model: its head and prompts, adapters merged, nothing frozen.

    Trust comes from the caller, never from the folder.

    Raises:
        InputError: the folder is no tracked run or one that didn't come to its end, or its configuration names
            something else than components and isn't trusted.
    """
    model = _part(folder, "model")
    exported = folder / "model"
    if not manifest.is_export(exported):
        raise InputError(
            f"run={folder} has no exported model: let the run end (python -m reasonir.train resume={folder})"
        )
    known = {field.name for field in fields(Model)}  # a recipe that makes its checkpoint (model=tiny) has more
    options = {key: value for key, value in model.items() if key in known}
    options["_target_"] = f"{Model.__module__}.{Model.__qualname__}"
    saved = _checked(options, "model", folder, trust_remote_code)
    merged = {"lora": {**saved.get("lora", {}), "rank": 0}, "freeze_layers": 0, "freeze_embeddings": False}
    read = {"path": str(exported), "revision": None, "trust_remote_code": trust_remote_code}
    return _model({**saved, **read, **merged}, trust_remote_code)


def _model(options: Mapping[str, Any], trust_remote_code: bool) -> Model:
    model: Model = build_saved(options, trust_remote_code=trust_remote_code)
    return model


def _part(folder: Path, role: str) -> dict[str, Any]:
    part = saved_config(folder).get(role)
    if not isinstance(part, dict):
        raise InputError(f"{folder / 'config.yaml'} says nothing of the {role}: give the folder of a run that trained")
    return part


def _checked(part: dict[str, Any], role: str, folder: Path, trust_remote_code: bool) -> dict[str, Any]:
    refuse_foreign(part, role, folder / "config.yaml", trust_remote_code=trust_remote_code)
    return part
