"""Python API of the commands, without a subprocess: `reasonir.compose`, `reasonir.train` and `reasonir.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as compose_hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from reasonir import inference
from reasonir.cli.check import problems
from reasonir.cli.command import checked_arguments, run_command
from reasonir.cli.configuration import output_folder
from reasonir.commands.compose import EvaluateParts, TrainParts, compose_evaluate, compose_train
from reasonir.commands.evaluate import evaluate as run_evaluation
from reasonir.commands.train import train as run_training
from reasonir.config import CONF, VERSION_BASE
from reasonir.errors import InputError, raise_errors
from reasonir.eval.results import read_results
from reasonir.runs.lock import lock_folder
from reasonir.utils.values import check_text

if TYPE_CHECKING:
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

_SWEEPS = ("-m", "--multirun")
_CONFIGURATION = "--config"
_REMEDY = 'give each override as a string: "model=minilm", "optim.lr=1e-5"'


@dataclass(frozen=True)
class RunResult:
    """Finished run.

    Attributes:
        folder: of the run's files.
        metrics: of the evaluated model: task -> metric -> mean over queries.
        path: of the evaluated model: the run's folder, or `model.path`.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, float]]
    path: str

    @cached_property
    def model(self) -> Retriever | Reranker | Pruner:
        """The evaluated model on the CPU, loaded on first access."""
        return inference.load(self.path)


def compose(*overrides: str) -> TrainParts:
    """Check and build the parts of a training run; nothing is loaded, prepared or written.

    Args:
        overrides: as on the command line: "model=minilm", "optim.lr=1e-5".

    Raises:
        InputError: all mistakes of the overrides and the composition.
    """
    words = _words("train", overrides)
    GlobalHydra.instance().clear()
    try:
        arguments = checked_arguments("train", words)
        with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
            whole = compose_hydra("train", arguments, return_hydra_config=True)
            HydraConfig.instance().set_config(whole)
            with open_dict(whole):
                config = whole.copy()
                del config["hydra"]
            raise_errors(problems(config), "mistake in the configuration")
            return compose_train(config, Path(config.home) / "outputs")
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    finally:
        GlobalHydra.instance().clear()


def train(*overrides: str) -> RunResult:
    """Train, evaluate and track a model, as `python -m reasonir.train` does with these overrides.

    Args:
        overrides: as on the command line: "model=minilm", "data=demo".

    Raises:
        InputError: as the command; or for a sweep, a dry run or a probe, which have no result.
    """

    def work(config: DictConfig) -> Path:
        if config.dry_run or config.probe:
            raise InputError("dry_run and probe train no model: use python -m reasonir.train, or compose()")
        folder = output_folder()
        with lock_folder(folder):
            run_training(compose_train(config, folder))
        return folder

    folder = _run("train", work, overrides)
    return RunResult(folder, _metrics(folder, "trained"), str(folder))


def evaluate(*overrides: str) -> RunResult:
    """Evaluate a run or a model, as `python -m reasonir.evaluate` does with these overrides.

    Args:
        overrides: as on the command line: "run=outputs/...", "eval=bright"; or "model=minilm".

    Raises:
        InputError: as the command; or for run files (trec=), which have no model.
    """

    def work(config: DictConfig) -> EvaluateParts:
        parts = compose_evaluate(config, output_folder())
        if parts.trec:
            raise InputError("trec= evaluates run files, which have no model: use python -m reasonir.evaluate")
        run_evaluation(parts)
        return parts

    parts: EvaluateParts = _run("evaluate", work, overrides)
    name = "trained" if parts.run else "untrained"
    path = str(parts.run) if parts.run or parts.untrained is None else parts.untrained.path
    return RunResult(parts.folder, _metrics(parts.folder, name), path)


def _run(name: str, work: Any, overrides: Sequence[str]) -> Any:
    return run_command(name, work, _words(name, overrides))


def _words(name: str, overrides: Sequence[object]) -> list[str]:
    """Return overrides as strings, without flags, which have no single result."""
    words = [check_text(word, f"overrides[{index}]", remedy=_REMEDY) for index, word in enumerate(overrides)]
    for word in words:
        if word in _SWEEPS:
            raise InputError(f"{word}: a sweep has many results: use python -m reasonir.{name}")
        if word.startswith("-") and not word.startswith(_CONFIGURATION):
            raise InputError(f"{word}: this flag has no result: use python -m reasonir.{name}")
    return words


def _metrics(folder: Path, system: str) -> dict[str, dict[str, float]]:
    return {task: systems[system] for task, systems in read_results(folder)["results"].items()}
