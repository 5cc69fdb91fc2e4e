"""The text of `--help`: a command's examples, the groups it has, and its composed keys with their explanations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from string import Template
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import reasonir.cli.configuration  # noqa: F401  (registers what YAML files call)
from reasonir.cli.explain import OVERHEAD, explained_keys, groups, introduction, option_file
from reasonir.config import CONF, VERSION_BASE, user_conf_folder

_WIDTH = 120
_ALIGNED = 44
"""Columns of a key and its value that comments are aligned behind; the comment of a longer one is on the line above."""


def help_text(name: str, arguments: Sequence[str]) -> str:
    """The help of the command whose primary configuration is conf/<name>.yaml.

    Args:
        name: of the command.
        arguments: overrides; the keys shown are those that they compose.
    """
    overrides = [argument for argument in arguments if argument[:1] != "-" and ("=" in argument or argument[0] == "~")]
    config = composed(name, overrides)
    choices = config.hydra.runtime.choices
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    description, examples = introduction((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return Template(config.hydra.help.template).substitute(
        DESCRIPTION=description,
        EXAMPLES="\n".join(examples),
        APP_CONFIG_GROUPS="\n".join(_group_lines(choices)) or "(this command has none)",
        CONFIG="\n".join(_lines(plain, explanations(name, choices))),
    )


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """A command's configuration with Hydra's own, nothing in it resolved."""
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE, job_name=f"reasonir-{name}"):
        return compose(name, list(overrides), return_hydra_config=True)


def _group_lines(choices: Mapping[Any, Any]) -> Iterator[str]:
    """One line for every group of a command, nested ones included, with its options and the user's own."""
    tops = {choice.split("@")[0].split("/")[0] for choice in choices}
    for group in groups():
        if group.split("/")[0] in tops:
            folders = [folder / group for folder in (CONF, user_conf_folder()) if folder is not None]
            options = " ".join(sorted({file.stem for folder in folders for file in folder.glob("*.yaml")}))
            yield textwrap.fill(f"{group + ':':20} {options}", _WIDTH, subsequent_indent=" " * 21)


def explanations(name: str, choices: Mapping[Any, Any]) -> dict[str, str]:
    """Explanations of a command's composed keys by dotted name; the last chosen option that explains a key wins.

    Args:
        name: of the command.
        choices: the composed `hydra.runtime.choices`: options by `group` or `group@package`.
    """
    texts = {key: text for key, (_, text) in explained_keys(CONF / f"{name}.yaml").items()}
    for choice, option in choices.items():
        group, _, package = choice.partition("@")
        file = option_file(f"{group}/{option}")
        if file is None or group.startswith("hydra"):
            continue
        everywhere = group in ("experiment", "debug")
        prefix = "" if everywhere else f"{(package or group).replace('/', '.')}."
        texts |= {f"{prefix}{key}": text for key, (_, text) in explained_keys(file).items() if text}
    return texts


def _lines(node: dict[Any, Any], texts: Mapping[str, str], above: str = "", depth: int = 0) -> Iterator[str]:
    """The YAML of a node with an explanation behind every key, aligned among its siblings."""
    shown = {key: _without_overhead(value) for key, value in _without_overhead(node).items()}
    codes = {key: f"{'  ' * depth}{key}:{_value(value)}" for key, value in shown.items()}
    width = max((len(code) for code in codes.values() if len(code) <= _ALIGNED), default=0)
    for key, code in codes.items():
        text = texts.get(f"{above}{key}", "")
        if text and len(code) > _ALIGNED:
            yield f"{'  ' * depth}# {text}"
        yield f"{code:{width}}  # {text}" if text and len(code) <= _ALIGNED else code
        if isinstance(shown[key], dict):
            yield from _lines(shown[key], texts, f"{above}{key}.", depth + 1)


def _without_overhead(value: Any) -> Any:
    return {key: child for key, child in value.items() if key not in OVERHEAD} if isinstance(value, dict) else value


def _value(value: Any) -> str:
    if isinstance(value, dict) and value:
        return ""
    return " " + yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).split("\n")[0]
