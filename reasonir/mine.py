"""python -m reasonir.mine: write a prepared set with mined hard negatives, and show their statistics."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("mine")
def main(config: DictConfig) -> None:
    """Mine hard negatives for the source's queries."""
    from reasonir.commands.prepare import mine

    mine(config)


if __name__ == "__main__":
    main()
