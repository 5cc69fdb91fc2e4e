"""Comparing tracked runs: read what they left, test every pair, and write a table, a figure and the changed queries."""

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


def contrast_runs(config: DictConfig, folder: Path) -> None:
    """Compare `config.runs` and write comparison.json, queries.csv and comparison.png to `folder`.

    Raises:
        InputError: fewer than two runs, one that isn't there, or runs that weren't judged alike.
    """
    runs = [str(run) for run in config.runs]
    systems = read_systems(runs, Path(config.home))
    if len(systems) < 2:
        raise InputError(f"runs={runs}: give two or more, runs=[outputs/first,outputs/second], or a sweep's folder")
    contrasts = compare(systems, config.metric, seed=config.seed)
    document = {"metric": config.metric, "runs": runs, "contrasts": [contrast.to_dict() for contrast in contrasts]}
    with atomic_path(folder / "comparison.json") as partial:
        partial.write_text(json.dumps(document, indent=2))
    with atomic_path(folder / "queries.csv") as partial, partial.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["task", "first", "second", "query_id", "change"])
        for contrast in contrasts:
            if contrast.task != OVERALL:
                for query, change in changed_queries(systems, contrast, config.metric):
                    rows.writerow([contrast.task, contrast.first, contrast.second, query, change])
    plot_comparisons(contrasts, config.metric, folder / "comparison.png")
    show(_table(contrasts, config.metric))
    log.info("Everything is in %s", folder)


def read_systems(runs: Sequence[str], home: Path) -> dict[str, Mapping[str, PerQuery]]:
    """The per-query values of systems by short names that tell them apart; a sweep's jobs have theirs of its choices.

    Raises:
        InputError: a system is named twice, or what reading one reports.
    """
    found: dict[tuple[Path, str], Mapping[str, PerQuery]] = {}
    for run in chain.from_iterable(map(_jobs, runs)):
        folder, wanted, values = read_system(run, home)
        if (folder, wanted) in found:
            raise InputError(f"runs names {run} twice: give different runs, or systems of one (RUN:untrained)")
        found[folder, wanted] = values
    names = {folder: (*folder.parts[:-1], _name(folder)) for folder, _ in found}
    depth = next(n for n in count(1) if len({parts[-n:] for parts in names.values()}) == len(names))
    return {
        "/".join(names[folder][-depth:]) + (f":{wanted}" if wanted else ""): values
        for (folder, wanted), values in found.items()
    }


def read_system(run: str, home: Path) -> tuple[Path, str, Mapping[str, PerQuery]]:
    """The folder, the system asked for, and the per-query values of one system of a run: "RUN" or "RUN:system".

    Raises:
        InputError: the run was never judged, or has no such system.
    """
    path, _, wanted = run.rpartition(":") if ":" in run and not Path(run).exists() else (run, "", "")
    folder = folder_of_run(path, home).resolve()
    values = read_values(folder)
    known = sorted({system for systems in values.values() for system in systems})
    if not known:
        raise InputError(f"run={path}: {folder} holds no per_query.parquet: let the run end, or judge it")
    system = wanted or next((name for name in _PREFERRED if name in known), known[0])
    if system not in known:
        raise InputError(f"run={run}: there is no system {system!r}: choose {', '.join(known)}")
    return folder, wanted, {task: systems[system] for task, systems in values.items() if system in systems}


def _jobs(run: str) -> list[str]:
    """The finished jobs of a sweep's folder; any other run itself."""
    folder = Path(run).expanduser()
    if SweepRecord.read(folder) is None:
        return [run]
    return [str(job) for job, outcome in job_records(folder).items() if outcome.status == FINISHED]


def _name(folder: Path) -> str:
    """What a job of a sweep is called in MLflow; of any other run its folder's name."""
    swept, outcome = SweepRecord.read(folder.parent), JobRecord.read(folder)
    return swept.title(outcome.overrides) if swept and outcome else folder.name


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
