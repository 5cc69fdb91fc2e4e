"""Environment variables in a configuration (`${oc.env:NAME}`): read where they are used, and never written.

A key or a password reaches a command this way. What is saved, tracked, reported or logged holds the variable's name in
the place of its value; a run that is resumed or evaluated reads the variable again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
_PASSWORD = re.compile(r"://[^/@]*:([^/@]+)@")
_SHORTEST = 6
"""Characters of a value below which it isn't looked for in messages: it would be found in other words."""
_read: dict[str, str] = {}
"""Names of variables by what mustn't be written: their values, and the passwords in them."""


def read_variable(name: str, *default: Any) -> Any:
    """Return an environment variable, as the resolver `oc.env` does, and remember its value for `mask`."""
    value = oc.env(name, *default)
    if name in os.environ:
        secrets = [str(value), *_PASSWORD.findall(str(value))]
        _read.update((each, name) for each in secrets if len(each) >= _SHORTEST and each[0] not in "/~.")
    return value


def register() -> None:
    """Let `${oc.env:NAME}` call `read_variable`; may be called again."""
    OmegaConf.register_new_resolver("oc.env", read_variable, replace=True)


def mask(text: str) -> str:
    """Return a message with the names of variables in place of the values that a configuration read from them."""
    for secret in sorted(_read, key=len, reverse=True):
        text = text.replace(secret, f"${{oc.env:{_read[secret]}}}")
    return text


class MaskingFormatter(logging.Formatter):
    """Formatter of a log without the values of environment variables that a configuration reads."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with its traceback."""
        return mask(super().format(record))


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as built-in types, resolved but for environment variables: texts keep their names.

    Numbers, true and false that a variable gives are no secrets and are kept. `home` is kept as well.
    """
    resolved = OmegaConf.to_container(config, resolve=True)
    OmegaConf.register_new_resolver("oc.env", _named, replace=True)
    try:
        named = OmegaConf.to_container(config, resolve=True)
    except Exception:  # a resolver that takes no name in place of the value
        named = OmegaConf.to_container(config, resolve=False)
    finally:
        register()
    assert isinstance(resolved, dict)
    values = {str(key): value for key, value in _without_texts(resolved, named).items()}
    return {**values, "home": resolved["home"]} if "home" in values else values


def _named(name: str, *default: Any) -> Any:
    return f"${{oc.env:{name}}}" if name in os.environ else oc.env(name, *default)


def _without_texts(resolved: Any, named: Any) -> Any:
    """Return resolved values, with the texts of `named`."""
    if isinstance(resolved, dict) and isinstance(named, dict):
        return {key: _without_texts(value, named.get(key)) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(named, list) and len(resolved) == len(named):
        return [_without_texts(*pair) for pair in zip(resolved, named, strict=True)]
    return named if isinstance(resolved, str | dict | list) else resolved


def from_environment(node: Any, *, trusted: bool) -> Any:
    """Return saved values with environment variables filled in where they make a path that exists here.

    Anything else stays as it is, unless it is trusted: a folder may come from anywhere, and ask for a secret.
    """
    if isinstance(node, Mapping):
        return {key: from_environment(value, trusted=trusted) for key, value in node.items()}
    if isinstance(node, list):
        return [from_environment(value, trusted=trusted) for value in node]
    if not isinstance(node, str) or not _VARIABLE.search(node):
        return node
    filled = _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), node)
    try:
        return filled if trusted or Path(filled).expanduser().exists() else node
    except (OSError, ValueError):  # too long for a path
        return node
