"""The encoder of a checkpoint or a tracked run, its head told from what lies there.

A run's config.yaml says how its model was composed; its folder may be given, its MLflow id, or the export in it. Any
other folder, or hub id, tells by its files: PyLate, sentence-transformers and transformers each note what a checkpoint
is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from reasonir.config import reasonir_home
from reasonir.errors import InputError
from reasonir.model import manifest
from reasonir.model.checkpoint_config import module_options, stated_options
from reasonir.model.download import locate
from reasonir.model.encoder import Encoder
from reasonir.model.export import exported_as
from reasonir.runs.folder import exported_model, folder_of_id
from reasonir.runs.outcome import refuse_sweep


def read_encoder(path: str, *, device: str = "cpu", trust_remote_code: bool = False) -> Encoder:
    """The model of a run's folder or MLflow id, of an exported folder or a hub id, for inference.

    Args:
        path: of any of these.
        device: where it runs.
        trust_remote_code: run Python code that the checkpoint brings, or that the run's configuration names.

    Raises:
        InputError: it can't be reached, doesn't say which head it has, or would run code that isn't trusted.
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


def head_of(folder: Path) -> Any:
    """The class of the head whose checkpoint lies in `folder`.

    Raises:
        InputError: its files don't tell.
    """
    from reasonir.model.head.biencoder import BiEncoder
    from reasonir.model.head.colbert import ColBERT
    from reasonir.model.head.cross_encoder import CrossEncoder
    from reasonir.model.head.gaussian import Gaussian
    from reasonir.model.head.provence import KEEP_FILE, Provence
    from reasonir.model.head.yes_no import YesNo

    stated = stated_options(folder, "config.json")
    sentence = stated_options(folder, "config_sentence_transformers.json")
    architectures = stated.get("architectures") or [""]
    if (folder / KEEP_FILE).is_file() or stated.get("model_type") == "open_provence":
        return Provence
    if "query_length" in sentence or "HF_ColBERT" in architectures:
        return ColBERT
    if module_options(folder, "Pooling"):
        return Gaussian if sentence.get("similarity_fn_name") == "euclidean" else BiEncoder
    if architectures[0].endswith("ForSequenceClassification"):
        return CrossEncoder
    if architectures[0].endswith("ForCausalLM"):
        return YesNo
    raise InputError(
        f"{folder} doesn't say which head it has (config.json names {architectures[0] or 'no architecture'}): give the "
        "folder of a run, an exported model, or a checkpoint of sentence-transformers, PyLate or OpenProvence"
    )
