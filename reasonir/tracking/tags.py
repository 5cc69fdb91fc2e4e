"""Tags, parameters and description of a run in MLflow."""

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
    "model.config",
    "model.lr",
    "model.head_lr",
    "hardware.name",
    "hardware.supported_precisions",
    "evaluation.embedding_cache",
    "evaluation.cache_folder",
    "evaluation.bm25",
)
"""Keys that aren't logged as parameters: they don't affect the result, or follow from other parameters."""


def choices(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Select the config groups that distinguish runs, as tags: model, head, data, loss, hardware, protocol."""
    return {tag: str(chosen[group]) for tag, group in _GROUPS.items() if chosen.get(group) is not None}


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the keys of a configuration that affect its result, without nulls, as on the command line."""

    def shown(key: str) -> bool:
        return not any(key == hidden or key.startswith(f"{hidden}.") for hidden in _WITHOUT_A_COLUMN)

    return {key: value for key, value in flatten(strip_targets(values)).items() if value is not None and shown(key)}


def description(results: Results, system: str, folder: Path, line: Sequence[str]) -> str:
    """Return a system's result table in Markdown, with the command line and the folder."""
    table = result_table(results, system)
    return "\n".join([table.markdown(), "", table.note, "", "```", shlex.join(line), "```", f"Folder: `{folder}`"])
