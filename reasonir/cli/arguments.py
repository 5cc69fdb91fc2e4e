"""Check of a command line's words against the options and keys that there are.

A misspelt option or key is answered before torch, Lightning or transformers is imported, unless other values on the
command line have to be checked as well: `reasonir.cli.check` checks those against the signatures that they go to.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reasonir.config import CONF, VERSION_BASE
from reasonir.errors import InputError, did_you_mean
from reasonir.runs.overrides import parse_overrides
from reasonir.utils.command_line import quoted

_OWN_FILES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun")


def config_errors(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the mistakes of a command line, and those of the composition without them.

    Those of a sweep's compositions are left to its jobs, unless the command line has mistakes.

    Args:
        name: of the command's primary configuration.
        arguments: the command line, without the program.
    """
    try:
        overrides = parse_overrides([argument for argument in arguments if not argument.startswith("-")])
    except InputError as error:
        return list(error.problems)
    if any(argument.split("=")[0] in _OWN_FILES for argument in arguments):
        return []  # a user's own primary configuration, or options of their own: Hydra checks them
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        try:
            errors, good = _wrong_options(name, overrides)
            config, values = _compose_valid(name, good, errors)
            errors += _swept_option_errors(name, good, errors)
        except (HydraException, OmegaConfBaseException) as error:
            return [str(error)]
        swept = [override.input_line or "" for override in overrides if override.is_sweep_override()]
        if swept and not ({"-m", "--multirun"} & set(arguments)) and not _is_sweep(name, good):
            errors += [_several_values(word) for word in swept]
        if (swept and not errors) or (errors and not values):
            return list(dict.fromkeys(errors))
        from reasonir.cli.check import problems

        return list(dict.fromkeys([*errors, *problems(config)]))


def _is_sweep(name: str, overrides: Sequence[Override]) -> bool:
    """Return whether overrides make a command a sweep without its flag."""
    config = compose(name, [_single(override) for override in overrides], return_hydra_config=True)
    return bool(config.hydra.mode == RunMode.MULTIRUN)


def _several_values(word: str) -> str:
    key, _, value = word.partition("=")
    return (
        f"{word} names several values: for a sweep add -m; for one text quote it, for Hydra and for the shell: "
        f"{shlex.quote(f'{key}={quoted(value)}')}; for a list give {key}=[...]"
    )


def _wrong_options(name: str, overrides: Iterable[Override]) -> tuple[list[str], list[Override]]:
    """Errors of group overrides that name no option, and the other overrides."""
    loader = GlobalHydra.instance().config_loader()
    errors, good = [], []
    for override in overrides:
        group = override.key_or_group
        options = loader.get_group_options(group, config_name=name, overrides=[])
        wrong = [value for value in _values(override) if options and value not in options]
        if override.is_delete() and "." not in group and override.package is None:
            errors.append(f"~{group}: {name} needs it: omit this argument")
        elif options and not override.is_delete() and wrong:
            hint = did_you_mean(wrong[0], options)
            errors.append(f"{group}={wrong[0]}: there is no such option{hint}; there are {', '.join(options)}")
        else:
            good.append(override)
    return errors, good


def _compose_valid(name: str, overrides: list[Override], errors: list[str]) -> tuple[DictConfig, list[Override]]:
    """Compose with the overrides of existing keys, and return these too; add the others to `errors`."""
    loader = GlobalHydra.instance().config_loader()
    groups = [o for o in overrides if loader.get_group_options(o.key_or_group, config_name=name, overrides=[])]
    config = compose(name, [_single(o) for o in groups], return_hydra_config=True)
    values = []
    for override in overrides:
        if override in groups:
            continue
        error = None if override.is_add() or override.is_force_add() else _misplaced(config, override)
        if error:
            errors.append(error)
        else:
            values.append(override)
    return compose(name, [_single(override) for override in (*groups, *values)]), values


def _swept_option_errors(name: str, overrides: list[Override], first_errors: Sequence[str]) -> list[str]:
    """Errors with the second and further options of swept groups, without those of the first; options that sweep."""
    loader, parser = GlobalHydra.instance().config_loader(), OverridesParser.create()
    errors: list[str] = []
    for index, swept in enumerate(overrides):
        if not swept.is_sweep_override() or not loader.get_group_options(swept.key_or_group, config_name=name):
            continue
        choices = [f"{swept.get_key_element()}={value}" for value in _values(swept)]
        errors += [error for choice in choices if (error := _inner_sweep(name, choice, swept.key_or_group))]
        for choice in choices[1:]:
            option_errors: list[str] = []
            chosen = [*overrides[:index], parser.parse_override(choice), *overrides[index + 1 :]]
            _compose_valid(name, chosen, option_errors)
            errors += [f"with {choice}: {error}" for error in option_errors if error not in first_errors]
    return errors


def _inner_sweep(name: str, choice: str, group: str) -> str | None:
    """Error of an option that is a sweep, whose parameters Hydra would leave out; None for others."""
    with suppress(HydraException, OmegaConfBaseException):  # reported with the composition
        if params := compose(name, [choice], return_hydra_config=True).hydra.sweeper.get("params"):
            keys = ", ".join(map(str, params))
            return f"{choice} is a sweep itself, over {keys}: run it alone, or sweep over {keys} beside {group}="
    return None


def _misplaced(config: DictConfig, override: Override) -> str | None:
    """Error of an override whose key `config` doesn't have, or of another kind than its value; None without one."""
    node: Any = config
    key = override.key_or_group
    for depth, part in enumerate(parts := key.split(".")):
        if not isinstance(node, DictConfig):
            return None  # inside a list or a value: Hydra checks it
        if part not in set(node.keys()):  # "in" itself ignores keys without a value
            section = ".".join(parts[:depth]) or "the configuration"
            keys = [str(name) for name in node if name != "hydra"]
            return f"{key}: {section} has no '{part}'{did_you_mean(part, keys)}; it has {', '.join(keys) or 'nothing'}"
        if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part):
            return None
        node = node[part]
    value = None if override.is_delete() or override.is_sweep_override() else override.value()
    if isinstance(node, DictConfig) and isinstance(value, list):
        return f"{key}={value}: expected named values: change them one by one ({key}.<name>=<value>)"
    if isinstance(node, ListConfig) and isinstance(value, dict):
        return f"{key}={value}: expected a list: give {key}=[...]"
    return None


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value).strip("'\"") for value in override.sweep_string_iterator()]
    return ["null" if override.value() is None else str(override.value())]


def _single(override: Override) -> str:
    """Text of the override, with only the first value of a sweep."""
    if not override.is_sweep_override():
        return override.input_line or ""
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
