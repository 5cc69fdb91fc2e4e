"""Results of an evaluation as a table: one row per system, the main metric first."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reasonir.eval.results import Results
from reasonir.eval.stats.significance import Difference
from reasonir.index.topk import AT, RECALL
from reasonir.utils.table import TEXT, Table

COLUMNS = ("recall_at_10", "recall_at_100", "mrr", "map")
CI, SPAN = "95% CI", "{0.low:.3f} to {0.high:.3f}"
_NAMES = {
    "ndcg": "nDCG",
    "recall": "Recall",
    "precision": "Precision",
    "map": "MAP",
    "mrr": "MRR",
    "alpha_ndcg": "alpha-nDCG",
    "aspect_recall": "Aspect recall",
}


def metric_name(metric: str) -> str:
    """Return a metric's display name.

    >>> metric_name("ndcg_at_10"), metric_name("mrr")
    ('nDCG@10', 'MRR')
    """
    name, _, cut = metric.partition("_at_")
    return _NAMES.get(name, name) + (f"@{cut}" if cut else "")


def result_table(results: Results, system: str) -> Table:
    """Return the metrics of all systems on the only task, or their means over tasks with a column per task.

    Args:
        results: the evaluation's results.
        system: the system that the others are compared with.
    """
    tasks = list(results.protocol["tasks"])
    if len(tasks) == 1:
        return task_table(results, tasks[0], system)
    figures = results.figures()
    names = list(dict.fromkeys(name for task in tasks for name in figures[task]))
    rows = []
    for name in names:
        values = [figures[task].get(name, {}).get(results.headline) for task in tasks]
        complete = [value for value in values if value is not None]
        whole = len(complete) == len(tasks)
        gap = results.difference_over(tasks, system, name) if whole and name != system else None
        span = results.interval_over(tasks, name) if whole else None
        rows.append([name, fmean(complete) if whole else None, span, *_test(gap), *values])
    metric = metric_name(results.headline)
    heads = {"system": TEXT, f"mean {metric}": "{:.4f}", CI: SPAN, f"Δ {metric}": "{:+.4f}", "p": "{:.4f}"}
    return Table(
        f"Evaluation: {metric} on {len(tasks)} tasks",
        heads | {task.replace("_", " "): "{:.4f}" for task in tasks},
        rows,
        {names.index(system)} if system in names else (),
        _note(results, system, compared=len(names) > 1),
    )


def task_table(results: Results, task: str, system: str) -> Table:
    """Return every system's metrics on a task or group of tasks, with the difference of `system` from it."""
    systems = results.figures()[task]
    metrics = list(dict.fromkeys((results.headline, *COLUMNS)))
    metric = metric_name(results.headline)
    rows = []
    for name, values in systems.items():
        gap = results.difference(task, system, name) if name != system and system in systems else None
        first, *others = (values[column] for column in metrics)
        rows.append([name, first, results.interval(task, name), *_test(gap), *others])
    heads = {"system": TEXT, metric: "{:.4f}", CI: SPAN, f"Δ {metric}": "{:+.4f}", "p": "{:.4f}"}
    return Table(
        f"Evaluation: {task}",
        heads | {metric_name(column): "{:.4f}" for column in metrics[1:]},
        rows,
        {list(systems).index(system)} if system in systems else (),
        _note(results, system, compared=len(systems) > 1),
    )


def _test(gap: Difference | None) -> Sequence[float | None]:
    return (None, None) if gap is None else gap


def _note(results: Results, system: str, *, compared: bool) -> str:
    """Explain the difference column; then give the system's other means and the recall of its approximate index."""
    lines = []
    if compared:
        lines.append(f"Δ: {system} minus the row's system; p: paired permutation test over queries.")
    figures, tasks = results.figures(), results.protocol["tasks"]
    others = [name for name, members in results.groups.items() if name in figures and set(members) != set(tasks)]
    if not others:  # further judgements
        others = [name for name in figures if name not in tasks and name not in results.groups]
    values = [f"{name} {figures[name][system][results.headline]:.4f}" for name in others if system in figures[name]]
    if values:
        lines.append(f"{system}: {', '.join(values)}")
    lines += [
        f"{task}: of the exact first {AT}, index={results.protocol['index']['name']} finds {measured[RECALL]:.1%} "
        f"({measured['vectors']:,} of {measured['encoded_vectors']:,} vectors)"
        for task, systems in results.measured.items()
        if RECALL in (measured := systems.get(system, {}))
    ]
    lines += [
        f"{task}: {measured['query_terms']:.0f} terms a query, {measured['document_terms']:.0f} a document, of which a "
        f"pair shares {measured['flops']:.2f}"
        for task, systems in results.measured.items()
        if "flops" in (measured := systems.get(system, {}))
    ]
    return "\n".join(lines)
