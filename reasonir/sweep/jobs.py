"""Record of a sweep, and the choices and names of its jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from reasonir.runs.outcome import SWEEP, read_record
from reasonir.runs.overrides import overrides_of, parse_overrides
from reasonir.utils.state import write_json

STOPPING = "stopping"
"""File in a sweep's folder that keeps further jobs from starting."""


class JobError(RuntimeError):
    """Job of a sweep that ended without a result."""


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """Content of sweep.json.

    Attributes:
        command: command-line arguments that started the sweep.
        overrides: of its configuration.
        parent: id of its MLflow run, the parent of the jobs' runs.
    """

    command: Sequence[str]
    overrides: Sequence[str]
    parent: str | None = None

    @classmethod
    def read(cls, folder: Path) -> SweepRecord | None:
        """Read a folder's sweep.json, None if it has none.

        Raises:
            InputError: it is damaged.
        """
        return read_record(cls, folder / SWEEP, remedy="copy it again, or start a new sweep")

    def write(self, folder: Path) -> None:
        """Write sweep.json."""
        write_json(folder / SWEEP, asdict(self))

    def chosen(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return the swept keys and values of a job with these overrides: of all that the sweep doesn't set itself."""
        own = parse_overrides(self.overrides)
        fixed = {_key(each) for each in own} - {_key(each) for each in own if each.is_sweep_override()}
        return {_key(each): _value(each) for each in parse_overrides(overrides) if _key(each) not in fixed}

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return `chosen` with short keys: the last part of a key if that is unique (`loss` for `loss._target_`)."""
        chosen = self.chosen(overrides)
        short = {key: key.replace("/", ".").removesuffix("._target_").rsplit(".", 1)[-1] for key in chosen}
        counts = Counter(short.values())
        return {short[key] if counts[short[key]] == 1 else key: value for key, value in chosen.items()}

    def title(self, overrides: Sequence[str]) -> str:
        """Return the name of a job with these overrides."""
        return title(self.choices(overrides))


def _key(override: Override) -> str:
    return str(override.get_key_element()).lstrip("+~")


def _value(override: Override) -> str:
    """Value as it is read, however a sweeper writes it: without quotes and escapes where it is a text."""
    value = override.value()
    return value if isinstance(value, str) else str(override.get_value_element_as_str())


def present_sweep() -> SweepRecord | None:
    """Return the sweep of the current job, None outside of a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return SweepRecord.read(Path(HydraConfig.get().sweep.dir))


class JobInfo(NamedTuple):
    """Name of a sweep's job, and the id of the sweep's run."""

    name: str
    parent: str | None


def present_job() -> JobInfo | None:
    """Return the current job of a sweep, named by its choices; None outside of a sweep."""
    sweep = present_sweep()
    if sweep is None:
        return None
    return JobInfo(sweep.title(overrides_of(HydraConfig.get())), sweep.parent)


def title(choices: Mapping[str, str]) -> str:
    """Return the name of a job with these choices.

    >>> title({"seed": "1", "temperature": "0.02"})
    'seed=1 temperature=0.02'
    """
    return " ".join(f"{key}={value}" for key, value in choices.items())
