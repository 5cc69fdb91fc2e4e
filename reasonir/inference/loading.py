"""The encoder of a checkpoint or a tracked run.

A run's config.yaml says how its model was composed; its folder may be given, its MLflow id, or the export in it. The
head of any other folder, or hub id, is recognised by its files.
"""

from __future__ import annotations

import re
from pathlib import Path

from reasonir.config import reasonir_home
from reasonir.model import manifest
from reasonir.model.download import locate
from reasonir.model.encoder import Encoder
from reasonir.model.export import exported_as
from reasonir.model.head.recognise import head_of
from reasonir.runs.folder import exported_model, folder_of_id
from reasonir.runs.outcome import refuse_sweep


def read_encoder(path: str, *, device: str = "cpu", trust_remote_code: bool = False) -> Encoder:
    """The model of a run's folder or MLflow id, of an exported folder or a hub id, for inference.

    Args:
        path: of any of these.
        device: where it runs.
        trust_remote_code: run Python code that the checkpoint brings, or that the run's configuration names.

    Raises:
        InputError: it is unreachable, has no recognisable head, or would run untrusted code.
    """
    run = run_of(path)
    if run is None:
        folder = locate(path, trust_remote_code=trust_remote_code)
        stated = manifest.read(folder)
        model = exported_as(path, head_of(folder), stated, trust_remote_code=trust_remote_code)
    else:
        model = exported_model(run, trust_remote_code=trust_remote_code)
    return model.load().eval().to(device)


def run_of(path: str) -> Path | None:
    """The run that a folder is, whose export it is, or whose id it is."""
    folder = Path(path).expanduser()
    if re.fullmatch("[0-9a-f]{32}", path) and not folder.exists():
        return folder_of_id(path, Path(reasonir_home()))
    refuse_sweep(folder)
    runs = [folder, *([folder.absolute().parent] if folder.name == "model" else [])]
    return next((run for run in runs if (run / "config.yaml").is_file()), None)
