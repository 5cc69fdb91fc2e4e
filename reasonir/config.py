"""Configuration folders, functions that YAML files call, and helpers for nested values."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Folder of the YAML files: in the package of an installed wheel, next to the package in a checkout."""
VERSION_BASE = "1.3"
_UNUSABLE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST_NAME = 180
"""Bytes of a run's name in its folder's, of the 255 that file systems take."""


def reasonir_home() -> str:
    """Return the absolute root of everything that commands write: REASONIR_HOME, else the working directory."""
    return str(Path(os.environ.get("REASONIR_HOME") or Path.cwd()).expanduser().absolute())


def user_conf_folder() -> Path | None:
    """Return the folder of the user's own YAML files, conf/ in the working directory, None if there is none."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != CONF.resolve() else None


def user_conf() -> list[str]:
    """Return Hydra's search path of the user's own YAML files."""
    own = user_conf_folder()
    return [] if own is None else [f"file://{own}"]


def run_folder(resume: str | None, parent: str, name: str = "") -> str:
    """Return the folder of the run to resume, or create one in `parent`, named by the time and `name`.

    Commands in the same second get different folders, on any process or host. Characters of the name that no folder's
    name has on any system are replaced, and the name is cut to what every file system takes.
    """
    if resume:
        path = Path(resume).expanduser()
        return str(path.parent.parent if path.suffix == ".ckpt" else path)
    name = _UNUSABLE.sub("-", str(name)).encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(". ")
    stem = "_".join(part for part in (time.strftime("%Y-%m-%d_%H-%M-%S"), name) if part)
    base, number = Path(parent), 1
    with suppress(OSError):
        base.mkdir(parents=True, exist_ok=True)
    while True:
        folder = base / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError:
            pass  # reported when the command writes there
        return str(folder)


def hydra_subfolder(resume: str | None, time: str) -> str:
    """Return the subfolder of Hydra's files, which keeps those of the first command when a run is resumed."""
    return f".hydra/resumed_{time}" if resume else ".hydra"


def loss_of(head: str) -> str:
    """Return the default option of the group `loss` for an option of `model/head`.

    The `default_loss` of the head's class is read from its source: composing a configuration imports no torch. A class
    without one is trained with InfoNCE.
    """
    files = [folder / "model" / "head" / f"{head}.yaml" for folder in (user_conf_folder(), CONF) if folder]
    yaml = next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")
    target = re.search(r"^_target_: (\S+)\.\w+\.load\b", yaml, re.MULTILINE)
    stated = re.search(r'^    default_loss\b.*= "(\w+)"', _source(target[1]) if target else "", re.MULTILINE)
    return stated[1] if stated else "cached_contrastive"


def _source(module: str) -> str:
    """Source of a module, without importing it; empty if there is none, which the check of targets reports."""
    with suppress(ModuleNotFoundError):
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).read_text(encoding="utf-8")
    return ""


def eval_of(data: str | None) -> str:
    """Return the default option of the group `eval` for an option of `data`."""
    if data in ("context_relevance", "open_provence", "open_provence_ja"):
        return "context_relevance"
    if data in (None, "reasonir", "reason_embed", "bge_reasoner", "rader", "reasonaug"):
        return "bright"
    return {"demo": "demo", "graded": "graded"}.get(data, "test_split")


def strip_targets(values: Any) -> Any:
    """Remove `_target_` and `_partial_` from nested mappings."""
    if isinstance(values, Mapping):
        return {key: strip_targets(value) for key, value in values.items() if key not in ("_target_", "_partial_")}
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one level with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [1, 2]})
    {'a.b': 1, 'c': [1, 2]}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
