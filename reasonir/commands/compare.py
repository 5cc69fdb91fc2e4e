"""Comparison of tracked runs: significance test of every pair, table, plot and changed queries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from omegaconf import DictConfig

from reasonir.errors import InputError
from reasonir.eval.digest import different_conditions, refuse_other_content
from reasonir.eval.result_table import CI, metric_name
from reasonir.eval.results import read_results, read_values
from reasonir.eval.stats.comparison import OVERALL, PairwiseComparison, changed_queries, compare
from reasonir.eval.stats.ranking_metrics import PerQuery
from reasonir.report.console import show
from reasonir.report.plots import plot_comparisons
from reasonir.runs.outcome import FINISHED, JobRecord, job_records
from reasonir.sweep.jobs import SweepRecord
from reasonir.tracking.base import folder_of_run
from reasonir.utils.files import atomic_path
from reasonir.utils.table import TEXT, Table, write_csv

log = logging.getLogger(__name__)
_PREFERRED = ("trained", "untrained")
_LEVEL = 0.05


def compare_runs(config: DictConfig, folder: Path) -> None:
    """Compare `config.runs` and write comparison.json, queries.csv and comparison.png to `folder`.

    Raises:
        InputError: fewer than two runs, a missing run, or runs that were evaluated on different content.
    """
    runs = [str(run) for run in config.runs]
    systems = read_systems(runs, Path(config.home))
    if len(systems) < 2:
        raise InputError(f"runs={runs}: give two or more, runs=[outputs/first,outputs/second], or a sweep's folder")
    protocols = {name: system.protocol for name, system in systems.items()}
    refuse_other_content(protocols)
    conditions = different_conditions(protocols)
    values = {name: system.values for name, system in systems.items()}
    comparisons = compare(values, config.metric, seed=config.seed)
    document = {
        "metric": config.metric,
        "runs": runs,
        "conditions": conditions,
        "contrasts": [each.to_dict() for each in comparisons],
    }
    with atomic_path(folder / "comparison.json") as partial:
        partial.write_text(json.dumps(document, indent=2))
    rows = (
        [pair.task, pair.first, pair.second, query, change]
        for pair in comparisons
        if pair.task != OVERALL
        for query, change in changed_queries(values, pair, config.metric)
    )
    write_csv(folder / "queries.csv", ["task", "first", "second", "query_id", "change"], rows)
    plot_comparisons(comparisons, config.metric, folder / "comparison.png")
    show(_table(comparisons, config.metric, conditions))
    log.info("Everything is in %s", folder)


class ComparedSystem(NamedTuple):
    """Per-query values of a system by task, and the protocol of its evaluation."""

    values: Mapping[str, PerQuery]
    protocol: Mapping[str, Any]


def read_systems(runs: Sequence[str], home: Path) -> dict[str, ComparedSystem]:
    """Read systems, by their shortest distinct names; a sweep's jobs are named by choices.

    Raises:
        InputError: a system is named twice or can't be read.
    """
    systems: dict[tuple[Path, str], ComparedSystem] = {}
    for run in chain.from_iterable(map(_jobs, runs)):
        folder, name, system = read_system(run, home)
        if (folder, name) in systems:
            raise InputError(f"runs: {run} is named twice: give different runs, or systems of a run (RUN:untrained)")
        systems[folder, name] = system
    names = {folder: (*folder.parts[:-1], _name(folder)) for folder, _ in systems}
    depth = next(n for n in count(1) if len({parts[-n:] for parts in names.values()}) == len(names))
    return {
        "/".join(names[folder][-depth:]) + (f":{name}" if name else ""): system
        for (folder, name), system in systems.items()
    }


def read_system(run: str, home: Path) -> tuple[Path, str, ComparedSystem]:
    """Read one system of a run, "RUN" or "RUN:system": its folder, the given name or "", and the system.

    Raises:
        InputError: the run wasn't evaluated, or has no such system.
    """
    path, _, given = run.rpartition(":") if ":" in run and not Path(run).exists() else (run, "", "")
    folder = folder_of_run(path, home).resolve()
    values = read_values(folder)
    names = sorted({system for systems in values.values() for system in systems})
    if not names:
        raise InputError(f"run={path}: {folder} holds no per_query.parquet: let the run finish, or evaluate it")
    system = given or next((name for name in _PREFERRED if name in names), names[0])
    if system not in names:
        raise InputError(f"run={run}: there is no system {system!r}: choose {', '.join(names)}")
    of_system = {task: systems[system] for task, systems in values.items() if system in systems}
    return folder, given, ComparedSystem(of_system, read_results(folder)["protocol"])


def _jobs(run: str) -> list[str]:
    """Finished jobs of a sweep's folder; any other run itself."""
    folder = Path(run).expanduser()
    if SweepRecord.read(folder) is None:
        return [run]
    return [str(job) for job, record in job_records(folder).items() if record.status == FINISHED]


def _name(folder: Path) -> str:
    """Name of a sweep's job in MLflow; for any other run its folder's name."""
    sweep, job = SweepRecord.read(folder.parent), JobRecord.read(folder)
    return sweep.title(job.overrides) if sweep and job else folder.name


def _letters() -> Iterator[str]:
    return (letter for length in count(1) for letter in map("".join, product(ascii_uppercase, repeat=length)))


def _table(
    comparisons: Sequence[PairwiseComparison], metric: str, conditions: Mapping[str, Mapping[str, Any]]
) -> Table:
    names = dict.fromkeys(name for each in comparisons for name in (each.first, each.second))
    letters = dict(zip(names, _letters(), strict=False))
    columns = {
        **dict.fromkeys(("task", "first", "second"), TEXT),
        **dict.fromkeys(("of first", "of second"), "{:.4f}"),
        f"Δ {metric_name(metric)}": "{:+.4f}",
        CI: "{0[0]:+.4f} to {0[1]:+.4f}",
        **dict.fromkeys(("p", "p (Holm)"), "{:.4f}"),
        "wins/losses/ties": "{0[0]}/{0[1]}/{0[2]}",
    }
    rows = [
        [
            *(each.task, letters[each.first], letters[each.second], each.mean_first, each.mean_second, each.delta),
            *((each.low, each.high), each.p, each.p_holm, (each.wins, each.losses, each.ties)),
        ]
        for each in comparisons
    ]
    differing = [
        f"evaluated differently, {key}: {', '.join(f'{letters[name]} {value}' for name, value in by_system.items())}"
        for key, by_system in conditions.items()
    ]
    return Table(
        f"{metric}: first minus second",
        columns,
        rows,
        {number for number, each in enumerate(comparisons) if each.p_holm < _LEVEL},
        "\n".join([*(f"{letter}: {name}" for name, letter in letters.items()), *differing]),
    )
