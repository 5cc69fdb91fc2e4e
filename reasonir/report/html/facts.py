"""Tables and sentences of a report: results, lengths, speed, memory, warnings, environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from reasonir.eval.result_table import CI, SPAN, metric_name, task_table
from reasonir.eval.results import PER_QUERY, Results
from reasonir.report.plots import Curve
from reasonir.utils.table import TEXT, Table, duration

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) [\w.]+: (?P<message>.*)")
_PACKAGES = ("reasonir", "torch", "transformers", "sentence-transformers", "pylate", "lightning", "faiss-cpu", "mlflow")
_MOST_WARNINGS = 40


def result_tables(results: Results, document: Mapping[str, Any], evaluated: str) -> list[Table]:
    """Return systems and metrics: a table of one task; of several, an overview of the main metric and folded tables.

    Args:
        results: results of the evaluation.
        document: content of its results.json.
        evaluated: the system to highlight.
    """
    figures = results.figures()
    several = len(figures) > 1
    tables = [_overview(results, document, figures, evaluated)] if several else []
    for task, systems in figures.items():
        tables.append(replace(task_table(results, task, evaluated), title=task, folded=several))
        tables += _own(task, systems)
    return tables


def _overview(
    results: Results, document: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]], evaluated: str
) -> Table:
    """Return the main metric of every system on every task and group of tasks."""
    systems = list(dict.fromkeys(name for values in figures.values() for name in values))
    other = next((name for name in ("untrained", "bm25") if name in systems and name != evaluated), None)
    metric, rows = metric_name(results.headline), []
    for task, values in figures.items():
        cells = [values[name][results.headline] if name in values else None for name in systems]
        cells.append(results.interval(task, evaluated) if evaluated in values else None)
        if other:
            gap = document["differences"].get(task, {}).get(other, {}).get(results.headline, {})
            cells += [gap.get("delta"), gap.get("p")]
        rows.append([task, *cells])
    columns = {"task": TEXT, **dict.fromkeys(systems, "{:.4f}"), f"{CI} of {evaluated}": SPAN}
    return Table(
        f"{metric} by task",
        columns | ({f"Δ to {other}": "{:+.4f}", "p": "{:.4f}"} if other else {}),
        rows,
        {number for number, row in enumerate(rows) if row[0] in results.groups},
        "Bold: means over tasks." + (" p: paired permutation test over queries." if other else ""),
    )


def _own(task: str, systems: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """Return the benchmark's further metrics."""
    names = list(dict.fromkeys(name for values in systems.values() for name in values if name not in PER_QUERY))
    having = [system for system, values in systems.items() if any(name in values for name in names)]
    rows = [[name, *(systems[system].get(name) for system in having)] for name in names]
    columns = {"metric": TEXT, **dict.fromkeys(having, "{:.4g}")}
    return [Table(f"{task}: further metrics", columns, rows, folded=True)] if rows else []


def headline_of(results: Results, document: Mapping[str, Any], evaluated: str) -> str:
    """Return the result in a sentence: on the only task, the first group of tasks, or the mean over all of them."""
    metric, tasks = (
        metric_name(results.headline),
        [task for task in results.protocol["tasks"] if task in results.values],
    )
    group = next((name for name in results.figures() if name in results.groups), None)
    if group:
        span, scope = results.interval(group, evaluated), f"{group}, the mean of {len(results.groups[group])} tasks,"
    elif len(tasks) > 1:
        span, scope = results.interval_over(tasks, evaluated), f"the mean of {len(tasks)} tasks"
    else:
        span, scope = results.interval(tasks[0], evaluated), tasks[0]
    noun = "model" if evaluated in ("trained", "untrained") else "system"
    sentence = f"On {scope} the {evaluated} {noun} reaches {metric} {span.mean:.4f} ({CI} {SPAN.format(span)})"
    baseline = next(
        (n for n in ("untrained", "bm25") if n != evaluated and all(n in results.values[t] for t in tasks)), None
    )
    if baseline is None:
        return f"{sentence}."
    name = group or (tasks[0] if len(tasks) == 1 else None)
    if name is None:
        gap = results.difference_over(tasks, evaluated, baseline)._asdict()
    else:
        gap = document["differences"][name][baseline][results.headline]
    return f"{sentence}, {_gap(gap['delta'], baseline)} (p = {gap['p']:.4f})."


def _gap(delta: float, other: str) -> str:
    """Return a difference from another system in words.

    >>> _gap(-0.25, "BM25"), _gap(0.0, "BM25")
    ('0.2500 below BM25', 'equal to BM25')
    """
    if abs(delta) < 0.00005:
        return f"equal to {_named(other)}"
    return f"{abs(delta):.4f} {'above' if delta > 0 else 'below'} {_named(other)}"


def _named(system: str) -> str:
    return {"untrained": "the untrained model", "bm25": "BM25"}.get(system, system)


def length_tables(plan: Mapping[str, Any], truncation: Mapping[str, Any]) -> list[Table]:
    """Return lengths and truncation of the training's texts, and truncation of the evaluation's."""
    tables, cut = [], {"cut": "{:.1%}"}
    if plan:
        keys = {"limit": "limit", "median": "median", "95%": "p95", "longest": "longest"}
        rows = [
            [name, *(each[key] for key in keys.values()), each["truncated"], each["tokens_lost"]]
            for name, each in plan["lengths"].items()
        ]
        counted = {"tokens": "", "characters": " Estimated at four characters per token."}
        note = f"A seeded sample of the training data.{counted.get(plan['lengths_counted'], ' Taken from the limits.')}"
        columns = {"texts": TEXT, **dict.fromkeys(keys, "{:,}"), **cut, "tokens lost": "{:.1%}"}
        tables.append(Table("Training, in tokens", columns, rows, note=note))
    rows = [
        [f"{task}, {side}", each["texts"], each["cut"], each.get("tokens"), each["lost"]]
        for task, sides in truncation.items()
        for side, each in sides.items()
    ]
    if rows:
        columns = {"texts": TEXT, "distinct": "{:,}", **cut, "tokens read": "{:,}", "tokens lost": "{:,}"}
        tables.append(Table("Evaluation", columns, rows, folded=len(rows) > 8))
    return tables


def speed_table(curves: Mapping[str, Curve]) -> Table | None:
    """Return the speed of training; None if none was logged."""
    if not curves.get("train/tokens_per_s"):
        return None
    steps, rates = curves["train/tokens_per_s"]
    rows = [
        ["optimiser steps", f"{steps[-1]:,}"],
        ["tokens per second, median", f"{median(rates):,.0f}"],
        ["slowest to fastest", f"{min(rates):,.0f} to {max(rates):,.0f}"],
    ]
    if waits := curves.get("train/data_wait"):
        rows.append(["waiting for batches", f"{fmean(waits[1]):.1%} of the time"])
    if seconds := curves.get("train/seconds"):
        rows.append(["training, without evaluation", duration(sum(seconds[1]))])
    return Table("Training", {}, rows)


def memory_tables(plan: Mapping[str, Any], curves: Mapping[str, Curve]) -> list[Table]:
    """Return the memory estimated by the plan and measured in training."""
    if not plan:
        return []
    parts = ("weights", "gradients", "optimiser", "kept", "segment", "scores", "total")
    names = {"kept": "saved activations", "segment": "activations of one micro-batch", "total": "peak"}
    rows = [[names.get(part, part), f"{plan[f'{part}_gib']:.3f} GiB"] for part in parts]
    peaks = curves.get("train/peak_memory_gib", ((), ()))[1]
    measured = []
    if peaks:
        measured.append(["peak in training", f"{max(peaks):.3f} GiB"])
    if probe := plan["probe"]:
        measured.append(["training step above the loaded model", f"{probe['measured_gib']:.3f} GiB"])
    measured += [
        ["memory of the device", "unknown" if plan["memory_gib"] is None else f"{plan['memory_gib']:.1f} GiB"],
        ["tokens per step", f"{plan['tokens_per_step']:,}"],
        ["micro-batch", f"{plan['micro_batch_tokens']:,} padded tokens"],
        ["saved activations", f"{plan['max_saved_tokens']:,} padded tokens"],
    ]
    device = f"{plan['hardware']}, {plan['precision']}; peak in {plan['fullest_moment']}"
    return [
        Table(f"Estimated: {device}", {}, rows, {len(rows) - 1}),
        Table(
            "Measured",
            {},
            measured,
            note="On a CPU the peak is that of the whole process, with its libraries and data.",
        ),
    ]


def warnings_of(folder: Path) -> list[tuple[str, int]]:
    """Return the distinct warnings of the log in a run's folder, in order, each with its count."""
    messages: Counter[str] = Counter()
    for file in sorted(folder.glob("*.log")):
        level, message = "", ""
        for line in [*file.read_text("utf-8", "replace").splitlines(), None]:
            start = _LOGGED.fullmatch(line) if line is not None else None
            if start is None and line is not None:
                message += f"\n{line}"
                continue
            if level in ("WARNING", "ERROR", "CRITICAL"):
                messages[message] += 1
            level, message = (start["level"], start["message"]) if start else ("", "")
    return list(messages.items())[:_MOST_WARNINGS]


def environment_table(environment: Mapping[str, Any]) -> Table:
    """Return the machine, the commit and the versions of the main packages."""
    git, packages = environment["git"], environment["packages"]
    rows = [
        ["Python", environment["python"]],
        ["platform", environment["platform"]],
        ["processors", f"{environment['cpus']}, {environment['threads']} threads of torch"],
        ["accelerators", ", ".join(environment["gpus"]) or "none"],
    ]
    if git:
        rows.append(["commit", f"{git['commit']}{'' if git['clean'] else ', with uncommitted changes'}"])
    rows += [[name, packages[name]] for name in _PACKAGES if name in packages]
    return Table("Machine and packages", {}, rows)
