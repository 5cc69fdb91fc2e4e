"""What a run was trained on, as its folder tells: a run is resumed and judged on the same data or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from reasonir.data.base import Source
from reasonir.data.prepared import Manifest, fingerprint_of, origin_of, read_manifest
from reasonir.errors import InputError

DATA = "data.json"
"""The manifest of the prepared set that a run was trained on, in its folder."""
TRAINED_ON = "training_data.json"
"""In an exported model: the manifest of what it was trained on, its decontamination and licences among it."""


def refuse_other_data(source: Source, folder: Path) -> None:
    """Refuse a source that doesn't give what the run in `folder` was trained on.

    Raises:
        InputError: options or files of the source changed since, or the run doesn't say what it was trained on.
    """
    if not (folder / DATA).is_file():
        raise InputError(f"{folder} doesn't say what it was trained on (no {DATA}): train it again")
    if (known := origin_of(_trained_on(folder))) != (found := fingerprint_of(source)):
        raise InputError(
            f"{folder} was trained on the prepared set {known}, its source now gives {found}: what was kept back then "
            "may be trained on now and the other way round; bring the data's files and options back, or train anew"
        )


def refuse_other_rows(prepared: Path, folder: Path) -> None:
    """Refuse a set with other mined negatives, or scores of another teacher, than the run in `folder` began with."""
    known, found = (manifest["fingerprint"] for manifest in (_trained_on(folder), read_manifest(prepared)))
    if known != found:
        raise InputError(
            f"{folder} was trained on the prepared set {known}, mining= and teacher= now make {found} of the same "
            "source: bring their options, and the models they took, back, or train anew"
        )


def _trained_on(folder: Path) -> Manifest:
    manifest: Manifest = json.loads((folder / DATA).read_text())
    return manifest
