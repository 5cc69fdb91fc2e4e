"""python -m reasonir.search: search a corpus with a model, at a prompt or with a file of queries."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("search")
def main(config: DictConfig) -> None:
    """Search a corpus."""
    from hydra.core.hydra_config import HydraConfig

    from reasonir.commands.search import search

    search(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
