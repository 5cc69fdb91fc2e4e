"""Makes the page "Configuration" from conf/: every option of every group, its keys, and what their comments say.

A hook of mkdocs. What a YAML says of a key stands beside it; of a key without a comment, the class that `_target_`
names says it in its docstring. Nothing is imported for that, so the page is built without torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
COMMANDS = ("train", "evaluate", "prepare", "mine", "compare", "bench")
PAGE = "configuration.md"
_VALUE = r'"[^"]*"|[^#\s](?:[^#]|(?<! )#)*?'
_KEY = re.compile(rf"^(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>{_VALUE}))?(?: +# *(?P<said>.*))?$")
_BUILDS_ON = re.compile(r"^(?:  - |defaults: \[)(/?base/\w+|\w+)(@[\w.]+)?(?:$|, _self_)", re.MULTILINE)
_OVERHEAD = ("_target_", "_partial_", "defaults", "hydra")
_SAID = re.compile(r"^ {8}(?P<key>\w+): (?P<said>.*(?:\n {12}.*)*)", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the page to those of the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown."""
    parts = [
        "# Configuration\n",
        "Every option of every group with its keys and defaults, made from `conf/` when this site is built. "
        "`group=option` chooses, `group.key=value` changes; `--cfg job` prints what comes out. A value `${...}` is "
        "taken from elsewhere in the configuration.\n",
        "## Commands\n",
        *(_section(f"reasonir.{name}", CONF / f"{name}.yaml", "") for name in COMMANDS),
    ]
    for group in groups():
        parts.append(f"## {group}\n")
        prefix = "" if group in ("experiment", "debug") else f"{group.replace('/', '.')}."
        parts += [_section(f"{group}={file.stem}", file, prefix) for file in sorted((CONF / group).glob("*.yaml"))]
    return "\n".join(parts)


def groups() -> list[str]:
    """The groups that options are chosen from, nested ones after their parents."""
    found = {str(file.parent.relative_to(CONF)) for file in CONF.glob("*/**/*.yaml")}
    return sorted(group for group in found if group.split("/")[0] not in ("base", "hydra"))


def _section(title: str, file: Path, prefix: str) -> str:
    """One option: what its head says, and its keys as a table."""
    text = file.read_text()
    rows = [f"| `{prefix}{key}` | {_code(value)} | {_cell(said)} |" for key, (value, said) in whole(file).items()]
    table = ["| key | default | what it is |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### {title}\n", _head(text), "", *table])


def _head(text: str) -> str:
    """What the comments before the first key say."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return _cell(" ".join(line for line in lines if not line.startswith("@package")))


def whole(file: Path) -> dict[str, tuple[str, str]]:
    """(default, what is said) of an option's keys, those of the files it builds on among them."""
    found: dict[str, tuple[str, str]] = {}
    text = file.read_text()
    for name, package in re.findall(
        r"^(?:  - |defaults: \[)(/?base/\w+|\w+)(@[\w.]+)?(?:$|, _self_)", text, re.MULTILINE
    ):
        group = CONF if "/" in name else file.parent
        below = group / f"{name.lstrip('/')}.yaml"
        if not below.is_file():
            continue
        prefix = "" if package in ("", "@_here_", "@_global_") else f"{package[1:]}."
        found |= {f"{prefix}{key}": value for key, value in whole(below).items()}
    for key, value, said in keys(text):
        found[key] = (value, said or found.get(key, ("", ""))[1])
    return found


def keys(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, default, what is said of it) of a YAML, without what only Hydra reads."""
    above: list[tuple[int, str]] = []
    said_by_class: dict[int, Mapping[str, str]] = {}
    for line in text.splitlines():
        if not (found := _KEY.match(line)):
            continue
        indent = len(found["indent"])
        above = [(depth, key) for depth, key in above if depth < indent]
        said_by_class = {depth: said for depth, said in said_by_class.items() if depth <= indent}
        key, value, said = found["key"], found["value"], found["said"] or ""
        if key == "_target_" and value:
            said_by_class[indent] = documented(value)
        if above and above[0][1] in _OVERHEAD:
            continue
        above.append((indent, key))
        if key in _OVERHEAD or (value is None and not said):
            continue
        yield ".".join(key for _, key in above), value or "", said or said_by_class.get(indent, {}).get(key, "")


def documented(target: str) -> dict[str, str]:
    """What the docstring of one of our classes, or of the one behind a constructor of it, says of its arguments."""
    module, _, name = target.rpartition(".")
    if name[:1].islower() and module.rpartition(".")[2][:1].isupper():
        module, _, name = module.rpartition(".")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            raw = ast.get_docstring(node, clean=False) or ""
            return {found["key"]: " ".join(found["said"].split()) for found in _SAID.finditer(raw)}
    return {}


def _code(value: str) -> str:
    return f"`{value}`".replace("|", "\\|") if value else ""


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
