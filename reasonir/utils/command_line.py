"""Commands and overrides as text that can be pasted: values quoted for Hydra's grammar, words for the shell."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z./][\w./@%:+-]*", re.ASCII | re.IGNORECASE)
"""Pattern of a value that Hydra reads as the same string without quotes."""


def quoted(value: str) -> str:
    r"""Return the text from which Hydra and OmegaConf read `value`, whatever its characters.

    >>> quoted("outputs/2026"), quoted("a b"), quoted("it's ${x}")
    ('outputs/2026', '"a b"', '"it\'s \\${x}"')
    """
    if _PLAIN.fullmatch(value):
        return value
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # no interpolation
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', escaped)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def override(key: str, value: str | Path) -> str:
    """Return the override that gives a key this value.

    >>> override("run", "a,b")
    'run="a,b"'
    """
    return f"{key}={quoted(str(value))}"


def command_line(command: str, *overrides: str, home: str | None = None) -> str:
    """Return the shell command of `python -m reasonir.<command>` with these overrides.

    Args:
        command: such as "train".
        overrides: made by `override`, or as they were given.
        home: REASONIR_HOME; empty for the working directory, None for that of this process.
    """
    home = os.environ.get("REASONIR_HOME") if home is None else home
    assignment = f"REASONIR_HOME={shlex.quote(home)} " if home else ""
    return f"{assignment}python -m reasonir.{command} {shlex.join(overrides)}".rstrip()
