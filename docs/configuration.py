"""Generate the page "Configuration" from conf/: every command and every option of every group, each key explained.

A hook of mkdocs. The explanations are those of `--help`; building the page loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasonir.cli.explain import explained_keys, groups, introduction
from reasonir.cli.help import composed, explanations
from reasonir.config import CONF

COMMANDS = ("train", "evaluate", "prepare", "mine", "compare", "search", "serve", "push", "sync", "bench")
RECIPES = ("experiment", "debug")
"""Groups whose options change keys of train, explained where those are."""
PAGE = "configuration.md"
STYLE = """<style>
.md-typeset td:first-child code { white-space: nowrap; }
.md-typeset td:nth-child(3) { min-width: 14rem; }
</style>
"""
"""Keys are never broken over lines."""


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown."""
    parts = [
        STYLE,
        "# Configuration\n",
        "Every command and every option of every group, with its keys and defaults. `group=option` chooses an option, "
        "`group.key=value` changes a key, `--cfg job` prints the composed configuration, and `--help` shows a "
        "command's groups and keys with these explanations. A value `${...}` is taken from another key; `???` must be "
        "given.\n",
        "## Commands\n",
        *(_section(f"reasonir.{name}", CONF / f"{name}.yaml", "", {}) for name in COMMANDS),
    ]
    for group in groups():
        parts.append(f"## {group}\n")
        for file in sorted((CONF / group).glob("*.yaml")):
            known = _explained(f"{group}={file.stem}") if group in RECIPES else {}
            prefix = "" if group in RECIPES else f"{group.replace('/', '.')}."
            parts.append(_section(f"{group}={file.stem}", file, prefix, known))
    return "\n".join(parts)


def _explained(choice: str) -> dict[str, str]:
    """Explanations of every key of a training run with this option."""
    return explanations("train", composed("train", [choice]).hydra.runtime.choices)


def _section(title: str, file: Path, prefix: str, known: Mapping[str, str]) -> str:
    """One option: its description, its example commands, and its keys as a table."""
    description, examples = introduction(file.read_text(encoding="utf-8"))
    code = ["```bash", *examples, "```", ""] if examples else []
    rows = [
        f"| `{prefix}{key}` | {_code(value)} | {_cell(text or known.get(key, ''))} |"
        for key, (value, text) in explained_keys(file).items()
    ]
    table = ["| key | default | explanation |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### {title}\n", _cell(description), "", *code, *table])


def _code(value: str) -> str:
    return f"`{value}`".replace("|", "\\|") if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
