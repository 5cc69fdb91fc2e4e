"""python -m reasonir.search: ask a corpus, with a run's model or any other, at a prompt or by a file of questions."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("search")
def main(config: DictConfig) -> None:
    """Search the corpus that the configuration names."""
    from hydra.core.hydra_config import HydraConfig

    from reasonir.commands.search import search

    search(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
