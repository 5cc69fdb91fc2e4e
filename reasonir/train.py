"""python -m reasonir.train: compose, train, evaluate and track a retriever."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import CallableModule, command
from reasonir.cli.configuration import output_folder

sys.modules[__name__].__class__ = CallableModule


@command("train")
def main(config: DictConfig) -> float | None:
    """Train a model, or start a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = output_folder()
    if HydraConfig.get().mode == RunMode.MULTIRUN and not config.dry_run:
        from reasonir.sweep.job_process import run_job

        return run_job(config, folder, "reasonir.train:work")
    from reasonir.distributed.launch import own_rank
    from reasonir.runs.lock import lock_folder

    if config.dry_run or config.probe or own_rank() != 0:
        return work(config, folder)
    with lock_folder(folder):
        return work(config, folder)


def work(config: DictConfig, folder: Path) -> float | None:
    """Train in `folder` and return the best development metric; called in a sweep's job process as well."""
    from reasonir.commands.compose import compose_train
    from reasonir.commands.train import train

    return train(compose_train(config, folder))


if __name__ == "__main__":
    main()
