"""Saved overrides of a run that is resumed: data is taken over, anything that decides which code runs is refused.

A run's .hydra/overrides.yaml and a sweep's sweep.json become part of the command line of `resume=`, and their folder
may come from anywhere. Refused, by their text, are Hydra's special keys, its own settings (search path, launcher,
callbacks, logging), resolvers, option names outside of conf/, and trust: the user has to repeat them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from reasonir.errors import InputError, raise_errors
from reasonir.utils.command_line import command_line, override, quoted
from reasonir.utils.state import is_sealed, read_state_yaml
from reasonir.utils.values import shorten

_SPECIAL = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_")
_UNTRUSTED = re.compile(r"\+*([\w.]+\.)?trust_remote_code=false")
_LAUNCHER = (
    "account|array_parallelism|constraint|cpus_per_task|gpus_per_node|gpus_per_task|max_num_timeout|mem_gb|mem_per_cpu|"
    "mem_per_gpu|n_jobs|nodes|partition|qos|signal_delay_s|tasks_per_node|timeout_min|verbose"
)
_SWEEPER = r"direction|max_batch_size|n_jobs|n_trials|sampler\.seed|study_name"
_SWEEPING = re.compile(
    r"\+*hydra(\.mode=\w+|/(launcher|sweeper|sweeper/sampler)=[\w-]+"
    rf"|\.launcher\.({_LAUNCHER})=[\w.-]+|\.sweeper\.({_SWEEPER})=[\w.-]+)"
)
"""Hydra's settings of a sweep's size, resources and sampler seed, which decide no code."""
_REMEDY = "copy the folder again; to change options, give them with resume="
_FLAGS = ("-m", "--multirun")
_TEXTS = ("experiment_name", "home", "run_name")
"""Keys of a command that are no groups."""
_VALUED = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"),
    "--experimental-rerun",
)
"""Hydra's flags with a value, which may be the next word."""


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Parse overrides by Hydra's grammar.

    Raises:
        InputError: all that the grammar doesn't have, each with the quotes that it lacks.
    """
    parser = OverridesParser.create()
    parsed, errors = [], []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            errors.append(f"{word}: {_remedy(word)} ({str(error).splitlines()[0]})")
    raise_errors(errors, "mistake in the configuration")
    return parsed


def plain_value(parsed: Override) -> str:
    r"""Return the value of an override as a string, as a configuration would have it: `\${` is `${`."""
    return str(OmegaConf.create({"value": parsed.value()})["value"])


def _remedy(word: str) -> str:
    """Return how to write an override that Hydra can't read."""
    key, equal, value = word.partition("=")
    if not equal:
        return "expected key=value"
    try:
        OverridesParser.create().parse_override(repaired := f"{key}={quoted(value)}")
    except HydraException:
        return f"{shorten(key)} is no name of a key or group"
    return f"quote the value, for Hydra and for the shell: {shlex.quote(repaired)}"


def joined(arguments: Sequence[str]) -> list[str]:
    """Return arguments with each flag and its value as one word, flags first, as Hydra wants them.

    >>> joined(["model=tiny", "--config-dir", "my conf", "-m"])
    ['--config-dir=my conf', '-m', 'model=tiny']
    """
    words = iter(map(str, arguments))
    whole = [f"{word}={next(words, '')}" if word in _VALUED else word for word in words]
    return sorted(whole, key=lambda word: not word.startswith("-"))


def overrides_of(hydra: Any) -> list[str]:
    """Return a command's overrides as they were given, a job's with its choices, from Hydra's own configuration."""
    given: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return list(map(str, given))


def flags_of(hydra: Any) -> list[str]:
    """Return the flags by which a command found its configuration, from Hydra's own, whole or saved."""
    runtime, job = hydra["runtime"], hydra["job"]
    folders = [source["path"] for source in runtime["config_sources"] if source["provider"] == "command-line"]
    own = str(job["name"]).removeprefix("reasonir-")
    name = [] if job["config_name"] in (own, None) else [f"--config-name={job['config_name']}"]
    return [*(f"--config-dir={folder}" for folder in folders), *name]


def saved_overrides(file: Path) -> list[str]:
    """Read the overrides that Hydra saved for a run.

    Raises:
        InputError: the file is damaged, or no list of overrides.
    """
    if is_sealed(file.parent.parent / "config.yaml") and not is_sealed(file):
        raise InputError(f"{file} isn't as it was written (its checksum, the first line, is missing): {_REMEDY}")
    saved = read_state_yaml(file, list, "list of overrides", remedy=_REMEDY)
    return [str(override) for override in saved]


def resumed_command(saved: Sequence[str], present: Sequence[str], *, file: Path, resume: str) -> list[str]:
    """Merge saved arguments, in their order, with the present ones, which take precedence.

    Args:
        saved: arguments of the command that started the run.
        present: arguments of the present command.
        file: source of `saved`, for the message.
        resume: value of `resume=`, for the message.

    Raises:
        InputError: saved arguments decide which code runs, and the present command line doesn't repeat them.
    """
    left = list(present)
    keys = {_key(argument) for argument in present}
    kept: list[str] = []
    refused: list[str] = []
    for argument in joined(saved):
        if argument in left:  # a sweep numbers its jobs by the order of what it sweeps
            left.remove(argument)
            kept.append(argument)
            continue
        try:
            key = _key(argument)
        except InputError as error:
            raise InputError(f"{file}: {argument} is no override: copy the folder again") from error
        if key not in keys:
            (refused if _decides_code(key, argument) else kept).append(argument)
    if refused:
        raise InputError(
            f"{file} holds {', '.join(refused)}, which decides what code runs and isn't taken from a folder: if you "
            f"trust it, repeat it: {command_line('train', override('resume', resume), *refused)}"
        )
    return joined([*kept, *left])


def _key(argument: str) -> tuple[str, str]:
    """Key and package that an override sets, or a flag's name."""
    if argument.startswith("-"):
        return argument.split("=", maxsplit=1)[0], ""
    (parsed,) = parse_overrides([argument])
    return parsed.key_or_group, parsed.package or ""


def _decides_code(key: tuple[str, str], argument: str) -> bool:
    name, package = key
    _, interpolation, after = argument.partition("${")
    return (
        (argument.startswith("-") and argument not in _FLAGS)
        or (re.split("[./]", name)[0] == "hydra" and not _SWEEPING.fullmatch(argument))
        or "hydra" in package.split(".")
        or any(word in argument for word in _SPECIAL)
        or ("trust_remote_code" in argument and not _UNTRUSTED.fullmatch(argument))
        or (bool(interpolation) and ":" in after)  # a resolver
        or ("." not in name and name not in _TEXTS and ".." in argument)  # an option, which is a file's name
    )
