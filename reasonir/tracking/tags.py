"""What MLflow shows of a run before anything is opened: its tags, the parameters worth a column, a description."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonir.config import flatten, strip_targets
from reasonir.eval.result_table import result_table
from reasonir.eval.results import Results

_GROUPS = {
    "model": "model",
    "head": "model/head",
    "data": "data",
    "loss": "loss",
    "hardware": "hardware",
    "protocol": "eval",
    "experiment": "experiment",
}
_WITHOUT_A_COLUMN = (
    "home",
    "logger",
    "experiment_name",
    "run_name",
    "resume",
    "dry_run",
    "probe",
    "tags",
    "trust_remote_code",
    "model.hub_id",
    "model.packaged",
    "model.shape",
    "model.lr",
    "model.head_lr",
    "hardware.name",
    "hardware.supported_precisions",
    "evaluation.embedding_cache",
    "evaluation.cache_folder",
    "evaluation.bm25",
)
"""What config.yaml keeps, and decides nothing or is told by another parameter."""


def choices(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Of the chosen options of all groups those of the groups that tell runs apart, as tags to search by."""
    return {tag: str(chosen[group]) for tag, group in _GROUPS.items() if chosen.get(group) is not None}


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that decide its result, as they are given on the command line; no nulls."""

    def shown(key: str) -> bool:
        return not any(key == hidden or key.startswith(f"{hidden}.") for hidden in _WITHOUT_A_COLUMN)

    return {key: value for key, value in flatten(strip_targets(values)).items() if value is not None and shown(key)}


def description(results: Results, judged: str, folder: Path, line: Sequence[str]) -> str:
    """The result table in Markdown, the command line and the folder."""
    table = result_table(results, judged)
    return "\n".join([table.markdown(), "", table.note, "", "```", shlex.join(line), "```", f"Folder: `{folder}`"])
