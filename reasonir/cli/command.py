"""The frame of every command around Hydra: mistakes in one block, resumed configurations, exit statuses.

Nothing heavy is imported here, so that --help, --cfg job and shell completion answer at once.
"""

from __future__ import annotations

import errno
import os
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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from reasonir.cli.configuration import register_resolvers
from reasonir.cli.help import help_text
from reasonir.config import CONF, VERSION_BASE, reasonir_home, run_folder
from reasonir.distributed.launch import in_folder, is_leader, publish_folder, refuse_unlaunchable, wait_for_folder
from reasonir.errors import InputError, raise_errors
from reasonir.runs.outcome import SWEEP
from reasonir.runs.overrides import resumed_command, saved_overrides
from reasonir.sweep.callback import closing_sweep
from reasonir.sweep.jobs import SweepRecord

_ONLY_LOOKING = (
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
_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EPERM, errno.EEXIST)


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a composed configuration into the command whose primary config is conf/<name>.yaml.

    Every mistake in a command line and its composition comes in one block on standard error, with exit status 2; so
    does any InputError that the function raises. Other exceptions keep their traceback.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @wraps(function)
        def main() -> None:
            try:
                run_command(name, function, sys.argv[1:])
            except InputError as error:
                sys.stderr.write(f"\nreasonir: {error}\n")
                sys.exit(2)
            except KeyboardInterrupt:
                sys.stderr.write("\nreasonir: stopped\n")
                sys.exit(130)

        return main

    return decorate


def run_command(name: str, function: Callable[[DictConfig], Any], arguments: Sequence[str]) -> Any:
    """Compose conf/<name>.yaml with a command line's arguments and call a function with the result.

    Returns:
        The function's result; None of a sweep.

    Raises:
        InputError: mistakes in the arguments or the composition, all of them, or what the function refuses.
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
        except InputError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra goes on with the other jobs and reports this one
            refused.append(error)

    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us; we show them
    given, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        if {"--help", "-h"} & set(arguments):
            sys.stdout.write(help_text(name, arguments))
            return None
        if not _only_looks(arguments):
            refuse_unlaunchable(name, sys.argv[1:])
            if not is_leader():
                folder = wait_for_folder()
                if folder is None:
                    return None
                sys.argv += in_folder(folder)
            sys.argv[1:] = with_latest(sys.argv[1:])
            if name == "train":
                sys.argv[1:] = with_the_runs_own(sys.argv[1:])
        _refuse_misspelt(name, sys.argv[1:])
        with closing_sweep():
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=name)(checked)()
    except (hydra.errors.HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise InputError(
            f"{error.filename} can't be written ({error.strerror}): set REASONIR_HOME to a folder that can"
        ) from error
    finally:
        publish_folder(None)  # to ranks that still wait
        sys.argv = given
        GlobalHydra.instance().clear()
    if refused:
        raise refused[0]
    return results[-1] if results else None


class CallableModule(ModuleType):
    """A command's module that is called like the function of its name in the package, which importing it hides."""

    def __call__(self, *overrides: str) -> Any:
        """See `reasonir.commands.api`."""
        return getattr(import_module("reasonir.commands.api"), self.__name__.rpartition(".")[2])(*overrides)


def _only_looks(arguments: Sequence[str]) -> bool:
    return any(argument.split("=")[0] in _ONLY_LOOKING for argument in arguments)


def _refuse_misspelt(name: str, arguments: list[str]) -> None:
    if not _only_looks(arguments):
        from reasonir.cli.check import config_errors

        raise_errors(config_errors(name, arguments), "mistake in the configuration")


def with_latest(arguments: Sequence[str]) -> list[str]:
    """The command line with `run=latest` and `resume=latest` replaced by the folder of the newest training run.

    Raises:
        InputError: there is none.
    """
    asked = [argument for argument in arguments if argument in ("run=latest", "resume=latest")]
    if not asked:
        return list(arguments)
    homes = [argument.removeprefix("home=") for argument in arguments if argument.startswith("home=")]
    outputs = Path(homes[-1] if homes else reasonir_home()).expanduser() / "outputs"
    runs = [file.parent for file in outputs.glob("*/config.yaml")]
    if not runs:
        raise InputError(f"{asked[0]}: there is no training run in {outputs}: give a run's folder")
    newest = max(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns)
    return [f"{each.partition('=')[0]}={newest}" if each in asked else each for each in arguments]


def with_the_runs_own(arguments: Sequence[str]) -> list[str]:
    """The command line with what the run that `resume=` names was started with before it, unless it says otherwise.

    Of a sweep it is the sweep's own command, with its folder.

    Raises:
        InputError: the run's folder doesn't say how it was started, or says more than a folder can.
    """
    words = [argument for argument in arguments if not argument.startswith("-")]
    own = OverridesParser.create().parse_overrides(words)
    named = [override.value() for override in own if override.key_or_group == "resume" and not override.is_delete()]
    if not named or named[-1] is None:
        return list(arguments)
    resume = str(named[-1])
    folder = Path(resume).expanduser()
    given = list(arguments)
    if swept := SweepRecord.read(folder):
        replaced = [override.input_line for override in own if override.key_or_group == "resume"]
        given = [argument for argument in arguments if argument not in replaced]
        given.append(f"hydra.sweep.dir={folder.absolute()}")
        saved, file = swept.command, folder / SWEEP
    else:
        file = Path(run_folder(resume, "")) / ".hydra" / "overrides.yaml"
        if not file.is_file():
            raise InputError(
                f"resume={resume}: there is no {file}: give the folder of a run, or one of its checkpoints"
            )
        saved = saved_overrides(file)
    return resumed_command(saved, given, file=file, resume=resume)
