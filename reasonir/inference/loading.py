"""Encoder of a checkpoint or a tracked run.

A run, given by its folder, its MLflow id or the export in it, is loaded as its config.yaml describes. The head of any
other folder or hub id is recognised by its files.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch

from reasonir.config import reasonir_home
from reasonir.errors import InputError
from reasonir.hardware import best_accelerator
from reasonir.inference.arguments import check_path
from reasonir.model import manifest
from reasonir.model.download import locate
from reasonir.model.encoder import Encoder
from reasonir.model.export import exported_as
from reasonir.model.graph import OPENVINO
from reasonir.model.head.recognise import head_of
from reasonir.runs.folder import exported_model, folder_of_id
from reasonir.runs.outcome import refuse_sweep
from reasonir.utils.files import sha256
from reasonir.utils.values import shorten

Device = str | torch.device


def read_encoder(path: str | Path, *, device: Device = "cpu", trust_remote_code: bool = False) -> Encoder:
    """Load a model for inference.

    Args:
        path: a run's folder or MLflow id, an exported folder or a hub id.
        device: to run on, as torch names it; "auto" for a GPU if there is one.
        trust_remote_code: run Python code in the checkpoint, or named by the run's configuration.

    Raises:
        InputError: it is unreachable, has no recognisable head, or would run untrusted code; or there is no such
            device.
    """
    path, chosen = check_path(path), usable_device(device)
    run = run_of(path)
    if run is None:
        folder = locate(path, trust_remote_code=trust_remote_code)
        stated = manifest.read(folder)
        model = exported_as(path, head_of(folder), stated, trust_remote_code=trust_remote_code)
    else:
        model = exported_model(run, trust_remote_code=trust_remote_code)
    return model.load().eval().to(chosen)


def check_encoder(encoder: object, *kinds: str) -> None:
    """Refuse an encoder whose head isn't of one of these kinds.

    Raises:
        InputError: naming the kind that it has.
    """
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder is {shorten(encoder)}, expected an Encoder: load a model by its path, reasonir.load")
    if (kind := encoder.head.kind) not in kinds:
        wanted = " or ".join(kinds)
        raise InputError(f"{type(encoder.head).__name__} is a {kind}, expected a {wanted}: load it by reasonir.load")


def usable_device(device: object) -> torch.device:
    """Return a device of this machine; "auto" is the best one.

    Raises:
        InputError: torch knows no such device, or can't use it here.
    """
    name = best_accelerator() if device == "auto" else device
    try:
        chosen = torch.device(name) if isinstance(name, str | torch.device) else None
        if chosen is not None and chosen.type != "meta":
            torch.empty(0, device=chosen)
            return chosen
        reason = "expected a name" if chosen is None else "it holds no values"
    except (RuntimeError, AssertionError, ImportError) as error:  # torch's own, by build and backend
        reason = str(error).splitlines()[0]
    raise InputError(f"device={shorten(device)} can't be used ({reason}): give auto, cpu, cuda or mps")


def weights_digest(path: str, *, trust_remote_code: bool = False) -> str:
    """Return a short hash of the weight files of a model that `read_encoder` can load.

    Raises:
        InputError: the model is unreachable.
    """
    run = run_of(path)
    folder = run / "model" if run else locate(path, trust_remote_code=trust_remote_code)
    files = sorted(
        file for file in folder.rglob("*") if file.suffix in manifest.WEIGHTS and file.parent.name != OPENVINO
    )
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()[:16]


def run_of(path: str) -> Path | None:
    """Return the folder of the run that `path` names by folder, export or id; None if it names no run."""
    folder = Path(path).expanduser()
    if re.fullmatch("[0-9a-f]{32}", path) and not folder.exists():
        return folder_of_id(path, Path(reasonir_home()))
    refuse_sweep(folder)
    runs = [folder, *([folder.absolute().parent] if folder.name == "model" else [])]
    return next((run for run in runs if (run / "config.yaml").is_file()), None)
