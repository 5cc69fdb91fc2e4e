"""The teacher that a configuration composes, its model that of a tracked run where one is named."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.config import build
from reasonir.errors import raise_errors
from reasonir.runs.folder import exported_model
from reasonir.teacher.base import Teacher
from reasonir.tracking.base import folder_of_run


def teacher_of(config: DictConfig) -> Teacher:
    """The teacher; `teacher.run` puts the run's exported model in the place of `teacher.model`.

    Raises:
        InputError: there is no such run, or its model reads no pairs.
    """
    if config.teacher.get("run"):
        run = folder_of_run(str(config.teacher.run), Path(config.home))
        config.teacher.model = exported_model(run, trust_remote_code=config.trust_remote_code)
    teacher: Teacher = build(config.teacher)
    raise_errors(teacher.problems(), "mistake in the configuration")
    return teacher
