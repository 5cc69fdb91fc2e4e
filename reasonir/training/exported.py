"""The trained model of a tracked run: how it was composed, and the export to load in its place."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from reasonir.errors import InputError


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
    if not exported.is_dir():
        raise InputError(
            f"run={folder} has no exported model: let the run end (python -m reasonir.train resume={folder})"
        )
    return OmegaConf.merge(  # type: ignore[return-value]
        model, {"path": str(exported), "revision": None, "lora": {"rank": 0}, "freeze_layers": 0}
    )
