"""python -m reasonir.compare: compare runs with significance tests."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("compare")
def main(config: DictConfig) -> None:
    """Compare runs."""
    from hydra.core.hydra_config import HydraConfig

    from reasonir.commands.compare import compare_runs

    compare_runs(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
