"""python -m reasonir.search: search a corpus with a model, at a prompt or with a file of queries."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command
from reasonir.cli.configuration import output_folder


@command("search")
def main(config: DictConfig) -> None:
    """Search a corpus."""
    from reasonir.commands.search import search

    search(config, output_folder())


if __name__ == "__main__":
    main()
