"""python -m reasonir.serve: answer requests over HTTP with a run's model."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("serve")
def main(config: DictConfig) -> None:
    """Serve a model."""
    from reasonir.commands.serve import serve

    serve(config)


if __name__ == "__main__":
    main()
