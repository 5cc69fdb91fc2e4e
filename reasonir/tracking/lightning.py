"""What a run logs besides parameters and metrics, in TensorBoard and W&B by Lightning's loggers of them.

W&B gets every file, and shows images, tables and reports. TensorBoard shows images, texts and tables; other files are
in the run's folder, beside its events. Loggers of other kinds get parameters and metrics alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from reasonir.utils.table import Table


def log_tags(logger: Any, tags: Mapping[str, str]) -> None:
    """Log the tags of a run; TensorBoard has none."""
    if _is_wandb(logger):
        logger.experiment.config.update({f"tag/{key}": value for key, value in tags.items()}, allow_val_change=True)


def log_description(logger: Any, text: str) -> None:
    """Log the description of a run, in Markdown."""
    if _is_wandb(logger):
        logger.experiment.notes = text
    elif _is_tensorboard(logger):
        logger.experiment.add_text("description", text)


def log_dataset(logger: Any, name: str, values: Mapping[str, str]) -> None:
    """Log where a dataset is from, and its digest."""
    if _is_wandb(logger):
        logger.experiment.config.update({f"dataset/{name}": dict(values)}, allow_val_change=True)
    elif _is_tensorboard(logger):
        logger.experiment.add_text(f"dataset/{name}", ", ".join(f"{key}: {value}" for key, value in values.items()))


def log_table(logger: Any, name: str, table: Table) -> None:
    """Log a table, its cells as numbers where the logger keeps them."""
    if _is_wandb(logger):
        logger.log_table(name, columns=[*table.columns], data=[list(row) for row in table.rows])
    elif _is_tensorboard(logger):
        logger.experiment.add_text(name, f"{table.title}\n\n{table.markdown()}\n\n{table.note}")


def log_file(logger: Any, file: Path, folder: Path) -> None:
    """Log a file of the run's folder under its path there, and show it where the logger can."""
    name = file.relative_to(folder).as_posix()
    if _is_wandb(logger):
        _log_in_wandb(logger, file, name, folder)
    elif _is_tensorboard(logger):
        _log_in_tensorboard(logger, file, name)


def close(logger: Any, *, finished: bool) -> None:
    """Close a logger; another run of this process begins a W&B run of its own."""
    logger.finalize("success" if finished else "failed")
    if _is_wandb(logger):
        logger.experiment.finish(exit_code=0 if finished else 1)


def _log_in_wandb(logger: Any, file: Path, name: str, folder: Path) -> None:
    import wandb

    # Under the folder's name: W&B has a config.yaml of its own.
    logger.experiment.save(escape(str(file)), base_path=str(folder.parent), policy="now")
    if file.suffix == ".png":
        logger.experiment.log({name: wandb.Image(str(file))})
    elif file.suffix == ".html":
        logger.experiment.log({name: wandb.Html(file.read_text(encoding="utf-8"))})


def _log_in_tensorboard(logger: Any, file: Path, name: str) -> None:
    if file.suffix == ".png":
        from matplotlib.image import imread

        logger.experiment.add_image(name, imread(file), dataformats="HWC")
    elif file.suffix == ".md":
        logger.experiment.add_text(name, file.read_text(encoding="utf-8"))
    elif file.suffix == ".yaml":
        logger.experiment.add_text(name, f"```\n{file.read_text(encoding='utf-8')}\n```")
    elif file.suffix == ".html":
        logger.experiment.add_text(name, f"`{file}`")


def _is_wandb(logger: Any) -> bool:
    from lightning.pytorch.loggers import WandbLogger

    return isinstance(logger, WandbLogger)


def _is_tensorboard(logger: Any) -> bool:
    from lightning.pytorch.loggers import TensorBoardLogger

    return isinstance(logger, TensorBoardLogger)
