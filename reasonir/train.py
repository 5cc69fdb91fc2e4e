"""python -m reasonir.train: compose, train, evaluate and track a retriever."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("train")
def main(config: DictConfig) -> float | None:
    """Train what the configuration composes."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode == RunMode.MULTIRUN and not config.dry_run:
        from reasonir.sweep.job_process import run_child

        return run_child(config, folder, "reasonir.commands.train:train")
    from reasonir.commands.train import train
    from reasonir.distributed.launch import own_rank
    from reasonir.runs.lock import lock_folder

    if config.dry_run or config.probe or own_rank() != 0:
        return train(config, folder)
    with lock_folder(folder):
        return train(config, folder)


if __name__ == "__main__":
    main()
