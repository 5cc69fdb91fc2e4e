"""python -m reasonir.sync: deliver calls to MLflow that failed during a run (locked database, full disk)."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command

log = logging.getLogger(__name__)


@command("sync")
def main(config: DictConfig) -> None:
    """Deliver the undelivered calls of all folders below `config.run`; an error names folders with failing calls."""
    from reasonir.errors import InputError, raise_errors
    from reasonir.tracking.database import refuse_unusable
    from reasonir.tracking.mlflow import close_abandoned, deliver
    from reasonir.tracking.outbox import LAST_PATIENCE, UNDELIVERED

    path, home = Path(str(config.run)).expanduser(), Path(config.home)
    if not path.is_dir():
        raise InputError(f"run={config.run} is no folder: give the folder of a run or sweep, or a parent of several")
    refuse_unusable(home, config.experiment_name, patience=LAST_PATIENCE)
    folders = [file.parent for file in sorted(path.rglob(UNDELIVERED))]
    problems = []
    for folder in folders:
        try:
            failure = deliver(home, folder)
        except InputError as error:
            failure = str(error)
        if failure is not None:
            problems.append(f"{folder}: {failure}")
    close_abandoned(home)
    raise_errors(problems, "run not delivered")
    if not folders:
        log.info("Nothing to deliver in %s", path)


if __name__ == "__main__":
    main()
