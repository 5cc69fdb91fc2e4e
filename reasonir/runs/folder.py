"""Saved configuration of a run: its model, data and evaluation, and its exported model.

A folder may come from anywhere: its config.yaml is read as plain values, and only components are built from it
(`reasonir.runs.components`). Trust comes from the caller, never from the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from reasonir.config import reasonir_home
from reasonir.errors import InputError
from reasonir.model import manifest
from reasonir.model.backbone import Model
from reasonir.runs.components import build_saved, refuse_unknown_components
from reasonir.runs.outcome import RUN_ID, read_run_id
from reasonir.runs.secrets import from_environment
from reasonir.utils.command_line import command_line, override
from reasonir.utils.state import read_state_yaml


def folder_of_id(run_id: str, home: Path) -> Path:
    """Find the training run's folder below `home` that records this MLflow id; its evaluations record it as well.

    Raises:
        InputError: no folder has this id.
    """
    for file in (*home.glob(f"outputs/*/{RUN_ID}"), *home.glob(f"multirun/*/*/{RUN_ID}")):
        if read_run_id(file.parent) == run_id and (file.parent / "config.yaml").is_file():
            return file.parent
    raise InputError(
        f"{run_id}: no run in {home / 'outputs'} or {home / 'multirun'} has this id: give the run's folder"
    )


def saved_config(folder: Path) -> Mapping[str, Any]:
    """Read the configuration of a run, as plain values.

    Raises:
        InputError: the folder is no tracked run, or the file is damaged.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise InputError(f"{folder} is no tracked run: it has no config.yaml")
    return read_state_yaml(file, dict, "configuration of a run", remedy="copy the folder again")


def saved_data(folder: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Read the configuration of a run's training data.

    Raises:
        InputError: there is none, or it names anything but components and isn't trusted.
    """
    return _checked(_part(folder, "data"), "data", folder, trust_remote_code)


def saved_eval(folder: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Read the configuration of a run's final evaluation.

    Raises:
        InputError: there is none, or it names anything but components and isn't trusted.
    """
    return _checked(_part(folder, "eval"), "eval", folder, trust_remote_code)


def untrained_model(folder: Path, *, trust_remote_code: bool = False) -> Model:
    """Return the model that a run started from.

    Raises:
        InputError: there is none, or it names anything but components and isn't trusted.
    """
    options = {**_part(folder, "model"), "trust_remote_code": trust_remote_code}
    return _model(_checked(options, "model", folder, trust_remote_code), trust_remote_code)


def exported_model(folder: Path, *, trust_remote_code: bool = False) -> Model:
    """Return a run's exported model: its head and prompts, adapters merged, nothing frozen.

    Raises:
        InputError: the folder is no tracked run or an unfinished one, or its configuration names anything but
            components and isn't trusted.
    """
    model = _part(folder, "model")
    exported = folder / "model"
    if not manifest.is_export(exported):
        command = command_line("train", override("resume", folder))
        raise InputError(f"run={folder} has no exported model: let the run end ({command})")
    names = {field.name for field in fields(Model)}  # a recipe that makes its checkpoint (model=tiny) has more options
    options = {key: value for key, value in model.items() if key in names}
    options["_target_"] = f"{Model.__module__}.{Model.__qualname__}"
    saved = _checked(options, "model", folder, trust_remote_code)
    fixed = {"freeze_layers": 0, "freeze_embeddings": False, "learn_temperature": False}
    merged = {"lora": {**saved.get("lora", {}), "rank": 0}, **fixed}
    source = {"path": str(exported), "revision": None, "trust_remote_code": trust_remote_code}
    return _model({**saved, **source, **merged}, trust_remote_code)


def _model(options: Mapping[str, Any], trust_remote_code: bool) -> Model:
    model: Model = build_saved(options, trust_remote_code=trust_remote_code)
    return model


def _part(folder: Path, role: str) -> dict[str, Any]:
    part = saved_config(folder).get(role)
    if not isinstance(part, dict):
        raise InputError(f"{folder / 'config.yaml'} has no {role}: give the folder of a training run")
    moved: dict[str, Any] = _moved(part, str(saved_config(folder).get("home")))
    return moved


def _moved(node: Any, home: str) -> Any:
    """Saved values with paths in the present home, where that of the run doesn't exist any more."""
    if isinstance(node, dict):
        return {key: _moved(value, home) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, home) for value in node]
    if isinstance(node, str) and node.startswith(f"{home}/") and not Path(home).exists():
        return reasonir_home() + node.removeprefix(home)
    return node


def _checked(part: dict[str, Any], role: str, folder: Path, trust_remote_code: bool) -> dict[str, Any]:
    filled: dict[str, Any] = from_environment(part, trusted=trust_remote_code)
    refuse_unknown_components(filled, role, folder / "config.yaml", trust_remote_code=trust_remote_code)
    return filled
