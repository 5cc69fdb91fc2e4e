"""Training data of a run: a run is resumed and evaluated on the same data or not at all."""

from __future__ import annotations

from pathlib import Path

from reasonir.data.base import Source
from reasonir.data.prepared import Manifest, fingerprint_of, origin_of, read_manifest
from reasonir.errors import InputError
from reasonir.utils.state import read_json

DATA = "data.json"
"""Manifest of the prepared training set, in a run's folder."""
TRAINED_ON = "training_data.json"
"""Manifest of the training data, in an exported model, with decontamination and licences."""


def refuse_other_data(source: Source, folder: Path) -> None:
    """Refuse a source that changed since the run in `folder` was trained.

    Raises:
        InputError: options or files of the source changed, or the run has no manifest of its data.
    """
    if not (folder / DATA).is_file():
        raise InputError(f"{folder} has no {DATA} that names its training data: train it again")
    if (expected := data_of(folder)) != (actual := fingerprint_of(source)):
        raise InputError(
            f"{folder} was trained on the prepared set {expected}, its source now makes {actual}: the data changed, so "
            "its held-out split may leak: restore the data's files and options, or start a new run"
        )


def refuse_other_rows(prepared: Path, folder: Path) -> None:
    """Refuse a set whose mined negatives or teacher scores differ from those of the run in `folder`.

    Raises:
        InputError: options or models of mining or teacher changed.
    """
    expected, actual = (manifest["fingerprint"] for manifest in (_trained_on(folder), read_manifest(prepared)))
    if expected != actual:
        raise InputError(
            f"{folder} was trained on the prepared set {expected}, mining= and teacher= now make {actual} of the same "
            "source: restore their options and models, or start a new run"
        )


def data_of(folder: Path) -> str:
    """Return the fingerprint of the data that the run in `folder` was trained on, before mining and teachers."""
    return origin_of(_trained_on(folder))


def _trained_on(folder: Path) -> Manifest:
    remedy = "copy it again: without it the run's held-out split isn't known"
    return read_json(folder / DATA, keys=("fingerprint", "identity"), remedy=remedy)
