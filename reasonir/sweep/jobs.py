"""A sweep's jobs: what its folder notes of it, what tells its jobs apart, and what they are called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from reasonir.runs.outcome import SWEEP, overrides_of
from reasonir.utils.files import atomic_path

STOPPING = "stopping"
"""The file in a sweep's folder by which no further job begins."""


class JobError(RuntimeError):
    """A job of a sweep ended without a result; the message says why."""


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """What a sweep's folder notes of it.

    Attributes:
        command: the arguments that it was started with.
        overrides: those of its configuration.
        parent: its run in MLflow, whose children the jobs are.
    """

    command: Sequence[str]
    overrides: Sequence[str]
    parent: str | None = None

    @classmethod
    def read(cls, folder: Path) -> SweepRecord | None:
        """What the folder notes; None if it is no sweep's."""
        file = folder / SWEEP
        return cls(**json.loads(file.read_text())) if file.is_file() else None

    def write(self, folder: Path) -> None:
        """Note it."""
        with atomic_path(folder / SWEEP) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2))

    def chosen(self, overrides: Sequence[str]) -> dict[str, str]:
        """What tells a job of these overrides from the others, by its keys."""
        return dict(each.lstrip("+").split("=", 1) for each in overrides if each not in self.overrides)

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """The same by short names: the last part of a key where that is enough (`loss` of `loss._target_`)."""
        chosen = self.chosen(overrides)
        short = {key: key.replace("/", ".").removesuffix("._target_").rsplit(".", 1)[-1] for key in chosen}
        often = Counter(short.values())
        return {short[key] if often[short[key]] == 1 else key: value for key, value in chosen.items()}

    def title(self, overrides: Sequence[str]) -> str:
        """What a job of these overrides is called."""
        return title(self.choices(overrides))


def present_sweep() -> SweepRecord | None:
    """The sweep that the present job belongs to."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return SweepRecord.read(Path(HydraConfig.get().sweep.dir))


class JobInfo(NamedTuple):
    """What a job of a sweep is called, and the sweep's run."""

    name: str
    parent: str | None


def present_job() -> JobInfo | None:
    """The present job of a sweep, named by what tells it from the others; None outside a sweep."""
    swept = present_sweep()
    if swept is None:
        return None
    return JobInfo(swept.title(overrides_of(HydraConfig.get())), swept.parent)


def title(choices: Mapping[str, str]) -> str:
    """What a job is called.

    >>> title({"seed": "1", "temperature": "0.02"})
    'seed=1 temperature=0.02'
    """
    return " ".join(f"{key}={value}" for key, value in choices.items())
