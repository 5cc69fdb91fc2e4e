"""Entry point of every command around Hydra: configuration check, resumed configurations, exit status.

Nothing heavy is imported here, so that --help, --cfg job and shell completion are fast.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import reasonir.cli.configuration  # noqa: F401  (registers what YAML files call)
from reasonir.cli.help import help_text
from reasonir.config import CONF, VERSION_BASE, reasonir_home, run_folder
from reasonir.distributed.launch import in_folder, is_leader, publish_folder, refuse_unlaunchable, wait_for_folder
from reasonir.errors import InputError, raise_errors
from reasonir.runs.outcome import SWEEP
from reasonir.runs.overrides import joined, parse_overrides, plain_value, resumed_command, saved_overrides
from reasonir.runs.secrets import mask
from reasonir.sweep.callback import closing_sweep
from reasonir.sweep.jobs import SweepRecord
from reasonir.utils.command_line import override
from reasonir.utils.machine import machine_fault
from reasonir.utils.signals import handling, stop, stopped_by

_INFO_FLAGS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
)


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate a function of a composed configuration as the command with the primary config conf/<name>.yaml.

    All mistakes of the command line and its composition are printed in one block on standard error, with exit status 2,
    and so is an InputError that the function raises. SIGINT, SIGTERM and SIGHUP end it with one line and the status
    128 + signal, after its files are complete or removed. Other exceptions keep their traceback.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @wraps(function)
        def main() -> None:
            try:
                with handling(stop):
                    run_command(name, function, sys.argv[1:])
            except InputError as error:
                sys.stderr.write(f"\nreasonir: {mask(str(error))}\n")
                sys.exit(2)
            except (KeyboardInterrupt, SystemExit) as ended:
                status = ended.code if isinstance(ended, SystemExit) else 128 + signal.SIGINT
                if signalled := stopped_by(status):
                    sys.stderr.write(f"\nreasonir: stopped by {signalled}\n")
                sys.exit(status)

        return main

    return decorate


def run_command(name: str, function: Callable[[DictConfig], Any], arguments: Sequence[str]) -> Any:
    """Compose conf/<name>.yaml with a command line's arguments and call the function with the result.

    Returns:
        The function's result; for a sweep, that of its last job in this process.

    Raises:
        InputError: all mistakes of the arguments and the composition, or an error of the function.
    """
    refused: list[InputError] = []
    results: list[Any] = []

    @wraps(function)
    def checked(config: DictConfig) -> Any:
        from reasonir.cli.check import problems

        try:
            raise_errors(problems(config), "mistake in the configuration")
            results.append(function(config))
            return results[-1]
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN or (told := _told(error, arguments)) is None:
                raise  # from a job, Hydra continues with the others and reports this one
            refused.append(told)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise exceptions instead of printing them
    argv, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        if {"--help", "-h"} & set(arguments):
            sys.stdout.write(help_text(name, arguments))
            return None
        if not _only_informs(arguments):
            completed = _completed(name, arguments)
            if completed is None:
                return None
            sys.argv[1:] = completed
        with closing_sweep():
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=name)(checked)()
    except (hydra.errors.HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    except Exception as error:
        if (told := _told(error, arguments)) in (None, error):
            raise
        raise told from error
    finally:
        publish_folder(None)  # to ranks that are still waiting
        sys.argv = argv
        GlobalHydra.instance().clear()
    if refused:
        raise refused[0]
    return results[-1] if results else None


def _told(error: Exception, arguments: Sequence[str]) -> InputError | None:
    """The error as one that is told in a line: caused by the user or by the machine. None for a bug."""
    if isinstance(error, InputError):
        return error
    fault = machine_fault(error, _home(arguments))
    return InputError(fault) if fault else None


def _completed(name: str, arguments: Sequence[str]) -> list[str] | None:
    """Add the leader's folder, on a rank that follows one; complete and check the arguments.

    None on a rank whose leader has ended without a run.
    """
    refuse_unlaunchable(name, list(arguments))
    completed = list(arguments)
    if not is_leader():
        folder = wait_for_folder()
        if folder is None:
            return None
        completed += in_folder(folder)
    return checked_arguments(name, completed)


def checked_arguments(name: str, arguments: Sequence[str]) -> list[str]:
    """Join flags with their values, resolve `latest`, add the saved overrides of a resumed run, and check the result.

    Raises:
        InputError: all mistakes of the arguments and the composition, or the run can't be resumed.
    """
    from reasonir.cli.arguments import config_errors

    completed = with_latest(joined(arguments))
    if name == "train":
        completed = with_saved_overrides(completed)
    raise_errors(config_errors(name, completed), "mistake in the configuration")
    return completed


class CallableModule(ModuleType):
    """Module of a command that can be called like the function of the same name, which importing it hides."""

    def __call__(self, *overrides: str) -> Any:
        """Call the function of `reasonir.commands.api`."""
        return getattr(import_module("reasonir.commands.api"), self.__name__.rpartition(".")[2])(*overrides)


def _only_informs(arguments: Sequence[str]) -> bool:
    return any(argument.split("=")[0] in _INFO_FLAGS for argument in arguments)


def with_latest(arguments: Sequence[str]) -> list[str]:
    """Replace `run=latest` and `resume=latest` by the folder of the newest training run.

    Raises:
        InputError: there is no training run.
    """
    latest = [argument for argument in arguments if argument in ("run=latest", "resume=latest")]
    if not latest:
        return list(arguments)
    outputs = _home(arguments) / "outputs"
    runs = [file.parent for file in outputs.glob("*/config.yaml")]
    if not runs:
        raise InputError(f"{latest[0]}: there is no training run in {outputs}: give a run's folder")
    newest = max(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns)
    return [override(arg.partition("=")[0], newest) if arg in latest else arg for arg in arguments]


def _home(arguments: Sequence[str]) -> Path:
    homes = parse_overrides([argument for argument in arguments if argument.startswith("home=")])
    return Path(plain_value(homes[-1]) if homes else reasonir_home()).expanduser()


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """Prepend the overrides of the run that `resume=` names; present ones take precedence.

    For a sweep, these are the arguments of its command, with its folder.

    Raises:
        InputError: the run's folder has no overrides, or some that decide which code runs.
    """
    words = [argument for argument in arguments if not argument.startswith("-")]
    resumes = [parsed for parsed in parse_overrides(words) if parsed.key_or_group == "resume"]
    values = [parsed for parsed in resumes if not parsed.is_delete()]
    if not values or values[-1].value() is None:
        return list(arguments)
    resume = plain_value(values[-1])
    folder = Path(resume).expanduser()
    given = list(arguments)
    if sweep := SweepRecord.read(folder):
        replaced = [parsed.input_line for parsed in resumes]
        given = [argument for argument in arguments if argument not in replaced]
        given.append(override("hydra.sweep.dir", folder.absolute()))
        saved, file = sweep.command, folder / SWEEP
    else:
        file = Path(run_folder(resume, "")) / ".hydra" / "overrides.yaml"
        if not file.is_file():
            raise InputError(
                f"resume={resume}: there is no {file}: give the folder of a run, or one of its checkpoints"
            )
        saved = saved_overrides(file)
        if plans := [word for word in saved if word in ("probe=true", "dry_run=true")]:
            raise InputError(
                f"resume={resume} was started with {plans[0]}, which leaves no run: start one without resume="
            )
    return resumed_command(saved, given, file=file, resume=resume)
