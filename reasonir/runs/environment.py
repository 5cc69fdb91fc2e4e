"""The machine, the packages and the state of the code that a result depends on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Plain values, for environment.json."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": _git(),
        "packages": dict(sorted(_packages())),
    }


def _packages() -> Iterator[tuple[str, str]]:
    """Names and versions of what is installed, without what a broken uninstallation left."""
    for distribution in metadata.distributions():
        try:
            name = distribution.metadata["Name"]
        except FileNotFoundError:  # by the backport that other packages put in the standard library's place
            name = None
        if name:
            yield name, distribution.version


def _git() -> dict[str, Any]:
    """Commit and cleanliness of the checkout that the package is run from, empty outside one."""
    here = Path(__file__).resolve().parent

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = ask("ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        return {"commit": ask("rev-parse", "HEAD"), "clean": not ask("status", "--porcelain")} if tracked else {}
    except (OSError, subprocess.CalledProcessError):
        return {}
