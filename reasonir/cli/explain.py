"""Explanations of options and keys, read from the comments in conf/.

Both `--help` and the configuration page of the documentation are made of these. Files are read line by line, because
YAML loaders drop comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reasonir.config import CONF, user_conf_folder

OVERHEAD = ("_target_", "_partial_", "defaults", "hydra")
"""Keys that only Hydra reads."""
_VALUE = r'"[^"]*"|[^#\s](?:[^#]|(?<! )#)*?'
_KEY = re.compile(rf"^(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>{_VALUE}))?(?: +# *(?P<comment>.*))?$")
_BUILDS_ON = re.compile(r"^(?:  - |defaults: \[)(/?base/\w+|\w+)(@[\w.]+)?(?:$|, _self_)", re.MULTILINE)


def groups() -> list[str]:
    """Names of the groups that options are chosen from, nested ones after their parents."""
    folders = {str(file.parent.relative_to(CONF)) for file in CONF.glob("*/**/*.yaml")}
    return sorted(group for group in folders if group.split("/")[0] not in ("base", "hydra"))


def option_file(option: str) -> Path | None:
    """YAML file of `group/option`, the user's own before ours; None where there is none."""
    folders = [folder for folder in (user_conf_folder(), CONF) if folder is not None]
    files = (folder / f"{option}.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def introduction(text: str) -> tuple[str, list[str]]:
    """(description, example commands) in the comments before the first key of a YAML file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].rstrip())
    examples = [line.strip() for line in lines if line.startswith("   ")]
    prose = [line.strip() for line in lines if not line.startswith(("   ", " @package"))]
    return " ".join(prose), examples


def explained_keys(file: Path) -> dict[str, tuple[str, str]]:
    """(default, explanation) of an option's keys by dotted name, with those of the files it builds on."""
    keys: dict[str, tuple[str, str]] = {}
    text = file.read_text(encoding="utf-8")
    for name, package in _BUILDS_ON.findall(text):
        group = "" if "/" in name else f"{file.parent.relative_to(_root(file))}/"
        below = option_file(f"{group}{name.lstrip('/')}")
        if below is None or below == file:
            continue
        prefix = "" if package in ("", "@_here_", "@_global_") else f"{package[1:]}."
        keys |= {f"{prefix}{key}": value for key, value in explained_keys(below).items()}
    for key, value, explanation in own_keys(text):
        keys[key] = (value, explanation or keys.get(key, ("", ""))[1])
    return keys


def own_keys(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, default, explanation) of a YAML text, without what only Hydra reads."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (match := _KEY.match(line)):
            continue
        indent = len(match["indent"])
        above = [(depth, key) for depth, key in above if depth < indent]
        key, value, comment = match["key"], match["value"], match["comment"] or ""
        if above and above[0][1] in OVERHEAD:
            continue
        above.append((indent, key))
        if key in OVERHEAD or (value is None and not comment):
            continue
        yield ".".join(key for _, key in above), value or "", comment


def _root(file: Path) -> Path:
    own = user_conf_folder()
    return own if own is not None and file.is_relative_to(own) else CONF
