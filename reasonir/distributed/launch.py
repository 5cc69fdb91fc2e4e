"""A command that torchrun starts on every rank at once: the first goes ahead, the others come when it calls them.

The first rank composes, prepares the data and plans. Then it tells its folder, and only now the others compose, with
that folder as theirs: one run, one folder, nothing prepared twice. Lightning's own launcher comes to the same by
starting the others no earlier.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from reasonir.errors import InputError

FOREVER = timedelta(days=365)
"""How long ranks wait for what may take long: a dead one is noticed by its connection."""
_FOLDER, _NONE = "reasonir/folder", "none"


def launched() -> int:
    """How many processes torchrun started for this command, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_leader() -> bool:
    """Whether this process is the one that goes ahead, which it also is alone."""
    return launched() == 1 or os.environ["RANK"] == "0"


def own_rank() -> int:
    """This process's rank, known before any process group is up, whoever launched it."""
    from lightning.pytorch.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0)


def publish_folder(folder: Path | None) -> None:
    """Let the other ranks begin in `folder`, or end where there is nothing for them; only the first call counts."""
    if launched() > 1 and is_leader():
        _store().compare_set(_FOLDER, "", _NONE if folder is None else str(folder))


def wait_for_folder() -> Path | None:
    """Wait for the first rank's call: the folder, or None where there is nothing to do."""
    folder = _store().get(_FOLDER).decode()
    return None if folder == _NONE else Path(folder)


def in_folder(folder: Path) -> list[str]:
    """What another rank's command line says besides the first one's, so that it writes nothing but its own log."""
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    rank = os.environ["RANK"]
    return [f'hydra.run.dir="{quoted}"', "hydra.output_subdir=null", f"hydra.job.name=rank_{rank}"]


def refuse_unlaunchable(command: str, arguments: Sequence[str]) -> None:
    """Refuse ranks that couldn't find each other's folder, or have nothing to do.

    Raises:
        InputError: another launcher than torchrun started several processes, or this command isn't for several.
    """
    if launched() > 1 and command not in ("train", "evaluate"):
        raise InputError(f"reasonir.{command} is one process: start it without torchrun")
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
    alone = command != "train" or any(argument.startswith("hydra.run.dir=") for argument in arguments)
    if launched() == 1 and tasks > 1 and not alone:
        raise InputError(
            f"srun started {tasks} tasks, which would each write a run of their own: start one task a node that runs "
            "torchrun (docs/scale.md)"
        )


@cache
def _store() -> Any:
    """The key-value store of this launch; the first rank keeps it open where it hosts it."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=FOREVER))
    return store
