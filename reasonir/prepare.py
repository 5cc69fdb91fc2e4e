"""python -m reasonir.prepare: write and check the prepared set of a source."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from reasonir.command import command
from reasonir.config import build

log = logging.getLogger(__name__)


@command("prepare")
def main(config: DictConfig) -> None:
    """Prepare the source, then check every row of what was written."""
    from reasonir.data.prepared import prepare, validate
    from reasonir.training.run import quiet_libraries

    quiet_libraries()
    folder = prepare(build(config.data), Path(config.home))
    counts = validate(folder)["counts"]
    log.info("%s is complete: %s", folder, ", ".join(f"{count} {what}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
