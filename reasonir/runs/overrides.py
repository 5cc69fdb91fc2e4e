"""Saved overrides of a run that is resumed: data is taken over, anything that decides which code runs is refused.

A run's .hydra/overrides.yaml and a sweep's sweep.json become part of the command line of `resume=`, and their folder
may come from anywhere. Refused, by their text, are Hydra's special keys, its own settings (search path, launcher,
callbacks, logging), resolvers, option names outside of conf/, and trust: the user has to repeat them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from reasonir.errors import InputError
from reasonir.utils.state import is_sealed, read_state_yaml

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
    for argument in _joined(saved):
        if argument in left:  # a sweep numbers its jobs by the order of what it sweeps
            left.remove(argument)
            kept.append(argument)
            continue
        try:
            key = _key(argument)
        except HydraException as error:
            raise InputError(f"{file}: {argument} is no override ({error}): copy the folder again") from error
        if key not in keys:
            (refused if _decides_code(key, argument) else kept).append(argument)
    if refused:
        arguments = shlex.join([f"resume={resume}", *refused])
        raise InputError(
            f"{file} holds {', '.join(refused)}, which decides what code runs and isn't taken from a folder: if you "
            f"trust it, repeat it: python -m reasonir.train {arguments}"
        )
    return sorted([*kept, *left], key=lambda argument: not argument.startswith("-"))  # Hydra wants flags together


def _joined(arguments: Sequence[str]) -> Iterator[str]:
    """Yield arguments, a flag and its value as one."""
    words = list(map(str, arguments))
    while words:
        word = words.pop(0)
        if word.startswith("-") and "=" not in word and word not in _FLAGS and words and "=" not in words[0]:
            word = f"{word}={words.pop(0)}"
        yield word


def _key(argument: str) -> tuple[str, str]:
    """Key and package that an override sets, or a flag's name."""
    if argument.startswith("-"):
        return argument.split("=", maxsplit=1)[0], ""
    (override,) = OverridesParser.create().parse_overrides([argument])
    return override.key_or_group, override.package or ""


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
        or ("." not in name and ".." in argument)  # an option, which is a file's name
    )
