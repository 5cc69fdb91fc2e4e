"""python -m reasonir.evaluate: judge a tracked run, or a model as it is, on a benchmark."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("evaluate")
def main(config: DictConfig) -> None:
    """Judge what the configuration names."""
    from hydra.core.hydra_config import HydraConfig

    from reasonir.commands.evaluate import evaluate

    evaluate(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
