"""The trained model of a tracked run: how it was composed, and the export to load in its place."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from reasonir.errors import InputError
from reasonir.model import manifest
from reasonir.model.backbone import Model


def saved_config(folder: Path) -> DictConfig:
    """What a run was composed of.

    Raises:
        InputError: the folder is no tracked run.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise InputError(f"{folder} is no tracked run: it has no config.yaml")
    saved = OmegaConf.load(file)
    assert isinstance(saved, DictConfig)
    return saved


def exported_model(folder: Path) -> DictConfig:
    """The configuration of a run's exported model: its head and prompts, adapters merged, nothing frozen.

    Raises:
        InputError: the folder is no tracked run, or one that didn't come to its end.
    """
    model = saved_config(folder).model
    exported = folder / "model"
    if not manifest.is_export(exported):
        raise InputError(
            f"run={folder} has no exported model: let the run end (python -m reasonir.train resume={folder})"
        )
    known = {field.name for field in fields(Model)}  # a recipe that makes its checkpoint (model=tiny) has more
    options = {key: model[key] for key in map(str, model) if key in known}
    read = {"_target_": f"{Model.__module__}.{Model.__qualname__}", "path": str(exported), "revision": None}
    return OmegaConf.merge(  # type: ignore[return-value]
        options, read, {"lora": {"rank": 0}, "freeze_layers": 0, "freeze_embeddings": False}
    )
