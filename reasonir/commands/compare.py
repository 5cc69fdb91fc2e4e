"""Comparison of tracked runs: significance test of every pair, table, plot and changed queries."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, product
from pathlib import Path
from string import ascii_uppercase

from omegaconf import DictConfig

from reasonir.errors import InputError
from reasonir.eval.result_table import CI, metric_name
from reasonir.eval.results import read_values
from reasonir.eval.stats.comparison import OVERALL, PairwiseComparison, changed_queries, compare
from reasonir.eval.stats.ranking_metrics import PerQuery
from reasonir.report.console import show
from reasonir.report.plots import plot_comparisons
from reasonir.runs.outcome import FINISHED, JobRecord, job_records
from reasonir.sweep.jobs import SweepRecord
from reasonir.tracking.base import folder_of_run
from reasonir.utils.files import atomic_path
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)
_PREFERRED = ("trained", "untrained")
_LEVEL = 0.05


def compare_runs(config: DictConfig, folder: Path) -> None:
    """Compare `config.runs` and write comparison.json, queries.csv and comparison.png to `folder`.

    Raises:
        InputError: fewer than two runs, a missing run, or runs with different protocols.
    """
    runs = [str(run) for run in config.runs]
    systems = read_systems(runs, Path(config.home))
    if len(systems) < 2:
        raise InputError(f"runs={runs}: give two or more, runs=[outputs/first,outputs/second], or a sweep's folder")
    comparisons = compare(systems, config.metric, seed=config.seed)
    document = {"metric": config.metric, "runs": runs, "contrasts": [each.to_dict() for each in comparisons]}
    with atomic_path(folder / "comparison.json") as partial:
        partial.write_text(json.dumps(document, indent=2))
    with atomic_path(folder / "queries.csv") as partial, partial.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["task", "first", "second", "query_id", "change"])
        for pair in comparisons:
            if pair.task != OVERALL:
                for query, change in changed_queries(systems, pair, config.metric):
                    rows.writerow([pair.task, pair.first, pair.second, query, change])
    plot_comparisons(comparisons, config.metric, folder / "comparison.png")
    show(_table(comparisons, config.metric))
    log.info("Everything is in %s", folder)


def read_systems(runs: Sequence[str], home: Path) -> dict[str, Mapping[str, PerQuery]]:
    """Read the per-query values of systems, by their shortest distinct names; a sweep's jobs are named by choices.

    Raises:
        InputError: a system is named twice or can't be read.
    """
    values: dict[tuple[Path, str], Mapping[str, PerQuery]] = {}
    for run in chain.from_iterable(map(_jobs, runs)):
        folder, system, system_values = read_system(run, home)
        if (folder, system) in values:
            raise InputError(f"runs: {run} is named twice: give different runs, or systems of a run (RUN:untrained)")
        values[folder, system] = system_values
    names = {folder: (*folder.parts[:-1], _name(folder)) for folder, _ in values}
    depth = next(n for n in count(1) if len({parts[-n:] for parts in names.values()}) == len(names))
    return {
        "/".join(names[folder][-depth:]) + (f":{system}" if system else ""): system_values
        for (folder, system), system_values in values.items()
    }


def read_system(run: str, home: Path) -> tuple[Path, str, Mapping[str, PerQuery]]:
    """Read one system of a run, "RUN" or "RUN:system": its folder, the given system or "", and its per-query values.

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
    return folder, given, {task: systems[system] for task, systems in values.items() if system in systems}


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


def _table(comparisons: Sequence[PairwiseComparison], metric: str) -> Table:
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
    return Table(
        f"{metric}: first minus second",
        columns,
        rows,
        {number for number, each in enumerate(comparisons) if each.p_holm < _LEVEL},
        "\n".join(f"{letter}: {name}" for name, letter in letters.items()),
    )
