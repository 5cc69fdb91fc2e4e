"""python -m reasonir.evaluate: evaluate a tracked run or a model on a benchmark."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from reasonir.cli.command import CallableModule, command
from reasonir.cli.configuration import output_folder

sys.modules[__name__].__class__ = CallableModule


@command("evaluate")
def main(config: DictConfig) -> None:
    """Evaluate a run, a model or run files."""
    from reasonir.commands.compose import compose_evaluate
    from reasonir.commands.evaluate import evaluate

    evaluate(compose_evaluate(config, output_folder()))


if __name__ == "__main__":
    main()
