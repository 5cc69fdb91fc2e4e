"""Launch of a command by torchrun: rank 0 composes the run, the other ranks wait for its folder.

Rank 0 composes, prepares the data and plans, then publishes its folder; only then do the others compose, in that
folder: one run, one folder, nothing prepared twice. Lightning's own launcher has the same effect, since it
starts the other ranks no earlier.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.utils.command_line import override

FOREVER = timedelta(days=365)
"""Time limit for operations that may take long; a dead rank is detected by its connection."""
_FOLDER, _NONE = "reasonir/folder", "none"


def launched() -> int:
    """Return the number of processes that torchrun started for this command; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_leader() -> bool:
    """Return whether this process is rank 0; true for a single process."""
    return launched() == 1 or os.environ["RANK"] == "0"


def own_rank() -> int:
    """Return this process's rank, with any launcher and before a process group exists."""
    from lightning.pytorch.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0)


def publish_folder(folder: Path | None) -> None:
    """Release the other ranks into `folder`, or let them exit if it is None; only the first call has an effect."""
    if launched() > 1 and is_leader():
        _store().compare_set(_FOLDER, "", _NONE if folder is None else str(folder))


def wait_for_folder() -> Path | None:
    """Wait for rank 0 to publish the folder; None if there is nothing to do."""
    folder = _store().get(_FOLDER).decode()
    return None if folder == _NONE else Path(folder)


def in_folder(folder: Path) -> list[str]:
    """Return overrides that send a rank to the leader's folder, where it writes nothing but its own log."""
    rank = os.environ["RANK"]
    return [override("hydra.run.dir", folder), "hydra.output_subdir=null", f"hydra.job.name=rank_{rank}"]


def refuse_unlaunchable(command: str, arguments: Sequence[str]) -> None:
    """Refuse to launch processes that can't share a run folder, or a command that runs in one process.

    Raises:
        InputError: srun started several tasks without torchrun, or the command supports one process only.
    """
    if launched() > 1 and command not in ("train", "evaluate"):
        raise InputError(f"reasonir.{command} runs in a single process: start it without torchrun")
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
    single = command != "train" or any(argument.startswith("hydra.run.dir=") for argument in arguments)
    if launched() == 1 and tasks > 1 and not single:
        raise InputError(
            f"srun started {tasks} tasks, each of which would write a separate run: start one task per node that runs "
            "torchrun (docs/scale.md)"
        )


@cache
def _store() -> Any:
    """Return the key-value store of this launch, cached so that rank 0 keeps it open."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=FOREVER))
    return store
