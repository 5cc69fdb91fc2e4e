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

_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
_PASSWORD = re.compile(r"://[^/@]*:([^/@]+)@")
_SHORTEST = 6
"""Characters of a value below which it isn't looked for in messages: it would be found in other words."""
_read: dict[str, str] = {}
"""Names of variables by what mustn't be written: their values, and the passwords in them."""


def remember(name: str, value: str) -> None:
    """Let `mask` replace a variable's value, and the password in it if it is an address."""
    secrets = [value, *_PASSWORD.findall(value)]
    _read.update((each, name) for each in secrets if len(each) >= _SHORTEST and each[0] not in "/~.")


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
