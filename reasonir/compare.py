"""python -m reasonir.compare: compare runs with significance tests."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command
from reasonir.cli.configuration import output_folder


@command("compare")
def main(config: DictConfig) -> None:
    """Compare runs."""
    from reasonir.commands.compare import compare_runs

    compare_runs(config, output_folder())


if __name__ == "__main__":
    main()
