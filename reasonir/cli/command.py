"""The frame of every command around Hydra: mistakes in one block, resumed configurations, exit statuses.

Nothing heavy is imported here, so that --help, --cfg job and shell completion answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from reasonir.config import CONF, VERSION_BASE, run_folder
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


def command(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Make a function of a composed configuration into the command whose primary config is conf/<name>.yaml.

    Misspelt overrides, and everything else that is wrong with the composition, come as one block on standard error
    with exit status 2; so does any InputError that the function raises. Other exceptions keep their traceback.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        refused: list[InputError] = []

        @wraps(function)
        def checked(config: DictConfig) -> Any:
            from reasonir.cli.check import problems

            try:
                raise_errors(problems(config), "mistake in the configuration")
                return function(config)
            except InputError as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise  # Hydra goes on with the other jobs and reports this one
                refused.append(error)

        @wraps(function)
        def main() -> Any:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us; we show them
            refused.clear()
            given, result = sys.argv, None
            try:
                if not _only_looks(given[1:]):
                    refuse_unlaunchable(name, given[1:])
                    if not is_leader():
                        folder = wait_for_folder()
                        if folder is None:
                            return None
                        sys.argv = [*given, *in_folder(folder)]
                    if name == "train":
                        sys.argv = [given[0], *with_the_runs_own(sys.argv[1:])]
                _refuse_misspelt(name, sys.argv[1:])
                with closing_sweep():
                    result = hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=name)(checked)()
            except InputError as error:
                _fail(str(error))
            except (hydra.errors.HydraException, OmegaConfBaseException) as error:
                _fail(str(error))
            except KeyboardInterrupt:
                sys.stderr.write("\nreasonir: stopped\n")
                sys.exit(130)
            except OSError as error:
                if error.errno not in _UNWRITABLE:
                    raise
                _fail(f"{error.filename} can't be written ({error.strerror}): set REASONIR_HOME to a folder that can")
            finally:
                publish_folder(None)  # to ranks that still wait
                sys.argv = given
                GlobalHydra.instance().clear()
            if refused:
                _fail(str(refused[0]))
            return result

        return main

    return decorate


def _only_looks(arguments: Sequence[str]) -> bool:
    return any(argument.split("=")[0] in _ONLY_LOOKING for argument in arguments)


def _refuse_misspelt(name: str, arguments: list[str]) -> None:
    if not _only_looks(arguments):
        from reasonir.cli.check import config_errors

        raise_errors(config_errors(name, arguments), "mistake in the configuration")


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


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"\nreasonir: {message}\n")
    sys.exit(2)
