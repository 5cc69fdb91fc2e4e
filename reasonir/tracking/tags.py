"""What MLflow shows of a run before anything is opened: its tags, the parameters worth a column, a description."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonir.config import flatten, strip_targets
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
    """The headline of every system with its interval, in Markdown, and where and how it came about."""
    metric = results.headline
    lines = [f"| task | system | {metric} | 95 % interval |", "|---|---|---|---|"]
    for task, systems in results.figures().items():
        for system in sorted(systems, key=lambda name: name != judged):
            span = results.interval(task, system)
            name = f"**{system}**" if system == judged else system
            lines.append(f"| {task} | {name} | {systems[system][metric]:.4f} | {span.low:.3f} to {span.high:.3f} |")
    return "\n".join([*lines, "", "```", shlex.join(line), "```", f"Folder: `{folder}`"])
