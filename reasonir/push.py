"""python -m reasonir.push: upload the model of a run to the hub, with a model card."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command
from reasonir.cli.configuration import output_folder

log = logging.getLogger(__name__)


@command("push")
def main(config: DictConfig) -> None:
    """Save the model with its card and, unless in a dry run, upload it."""
    from reasonir.cli.startup import quiet_libraries
    from reasonir.publishing.graphs import check_backends
    from reasonir.publishing.hub import check_name, push, refuse_unfinished, save
    from reasonir.publishing.measured import measure
    from reasonir.tracking.base import folder_of_run

    quiet_libraries()
    check_name(config.to)
    run = folder_of_run(str(config.run), Path(config.home))
    refuse_unfinished(run)
    check_backends(config.backends)
    trust = config.trust_remote_code
    measured = measure(run, home=Path(config.home), trust_remote_code=trust) if config.measure else None
    folder = output_folder() / Path(config.to).name
    save(
        run,
        folder,
        name=config.to,
        licence=config.license,
        measured=measured,
        backends=config.backends,
        trust_remote_code=trust,
    )
    if config.dry_run:
        log.info("This would be uploaded: %s", folder)
    else:
        log.info("The model is at %s", push(folder, config.to, private=config.private))


if __name__ == "__main__":
    main()
