"""Preparing, mining and teaching as commands: the set is written, checked row by row, and said to be complete."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.startup import quiet_libraries
from reasonir.commands.build_teacher import teacher_of
from reasonir.config import build
from reasonir.data.prepared import Manifest, prepare, validate
from reasonir.errors import InputError
from reasonir.mining.report import tables
from reasonir.report.console import show
from reasonir.runs.folder import exported_model
from reasonir.tracking.base import folder_of_run

log = logging.getLogger(__name__)


def write(config: DictConfig) -> Manifest:
    """Write the prepared set of the source, with mined negatives and a teacher where they are wanted, and check it.

    Returns:
        Its manifest.
    """
    quiet_libraries()
    home = Path(config.home)
    source, teacher = build(config.data), teacher_of(config)
    teacher.check_available()
    folder = teacher.add_scores(build(config.mining).add_negatives(prepare(source, home), source, home), home)
    manifest = validate(folder)
    log.info("%s is complete: %s", folder, ", ".join(f"{count} {what}" for what, count in manifest["counts"].items()))
    return manifest


def mine(config: DictConfig) -> None:
    """Write the prepared set with mined negatives and show what was found.

    Raises:
        InputError: nothing is to be mined, or there is no such run.
    """
    if config.run:
        run = folder_of_run(str(config.run), Path(config.home))
        config.model = exported_model(run, trust_remote_code=config.trust_remote_code)
    manifest = write(config)
    if "mining" not in manifest:
        raise InputError("mining=none mines nothing: choose mining=bm25, mining=model or mining=random")
    for table in tables(manifest["mining"]):
        show(table)
