"""Commands that write a prepared set, with mined negatives and teacher scores, and check every row of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from reasonir.cli.configuration import build
from reasonir.cli.startup import quiet_libraries
from reasonir.commands.compose import compose_teacher
from reasonir.data.base import is_streamed
from reasonir.data.prepared import Manifest, prepare, validate
from reasonir.errors import InputError
from reasonir.mining.base import Mining
from reasonir.mining.model import Neural
from reasonir.mining.report import tables
from reasonir.report.console import show
from reasonir.runs.folder import exported_model
from reasonir.tracking.base import folder_of_run

log = logging.getLogger(__name__)


def write(config: DictConfig, *, mining: Mining | None = None) -> Manifest:
    """Write and check the prepared set of a source, with the chosen mining and teacher.

    Args:
        config: with source, mining and teacher.
        mining: replaces the configuration's.

    Returns:
        The set's manifest.
    """
    quiet_libraries()
    home = Path(config.home)
    source, teacher = build(config.data), compose_teacher(config)
    if is_streamed(source):
        raise InputError("data.stream=true: a stream is read as training goes, and never prepared: set it to false")
    teacher.check_available()
    folder = (mining or build(config.mining)).add_negatives(prepare(source, home), source, home)
    folder = teacher.add_scores(folder, home)
    manifest = validate(folder)
    log.info("%s is complete: %s", folder, ", ".join(f"{count} {name}" for name, count in manifest["counts"].items()))
    return manifest


def mine(config: DictConfig) -> None:
    """Write the prepared set with mined negatives and show their statistics.

    Raises:
        InputError: no mining is chosen, or there is no such run.
    """
    mining: Any = build(config.mining)
    if config.run and isinstance(getattr(mining, "searcher", None), Neural):
        run = folder_of_run(str(config.run), Path(config.home))
        trained = exported_model(run, trust_remote_code=config.trust_remote_code)
        mining = replace(mining, searcher=replace(mining.searcher, model=trained))
    manifest = write(config, mining=mining)
    if "mining" not in manifest:
        raise InputError("mining=none mines nothing: choose mining=bm25, mining=model or mining=random")
    for table in tables(manifest["mining"]):
        show(table)
