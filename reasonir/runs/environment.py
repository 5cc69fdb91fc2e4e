"""Environment of a result: machine, installed packages and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Return the environment as plain values, for environment.json."""
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
    """Yield names and versions of the installed packages, without remains of broken uninstallations."""
    for distribution in metadata.distributions():
        try:
            name = distribution.metadata["Name"]
        except FileNotFoundError:  # raised by the importlib_metadata backport, which some packages install over it
            name = None
        if name:
            yield name, distribution.version


def _git() -> dict[str, Any]:
    """Return commit and cleanliness of the package's checkout, empty outside of one."""
    file = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", str(file))
        return {"commit": git("rev-parse", "HEAD"), "clean": not git("status", "--porcelain")} if tracked else {}
    except (OSError, subprocess.CalledProcessError):
        return {}
