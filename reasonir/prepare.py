"""python -m reasonir.prepare: write and check the prepared set of a source."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("prepare")
def main(config: DictConfig) -> None:
    """Prepare the source, then check every row of what was written."""
    from reasonir.commands.prepare import write

    write(config)


if __name__ == "__main__":
    main()
