"""What a report says of a run beside its queries, as tables: results, lengths, speed, memory, notes, environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from reasonir.eval.evaluator import COLUMNS
from reasonir.eval.results import Results
from reasonir.eval.stats.ranking_metrics import NAMES
from reasonir.eval.stats.significance import Interval
from reasonir.report.html.page import Grid
from reasonir.report.plots import Curve

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) [\w.]+: (?P<message>.*)")
_SPOKEN = {"ndcg": "nDCG", "recall": "Recall", "precision": "Precision", "map": "MAP", "mrr": "MRR"}
_PACKAGES = ("reasonir", "torch", "transformers", "sentence-transformers", "pylate", "lightning", "faiss-cpu", "mlflow")
_NOTES = 40


def spoken(metric: str) -> str:
    """A metric's name as people write it.

    >>> spoken("ndcg_at_10"), spoken("mrr")
    ('nDCG@10', 'MRR')
    """
    name, _, cut = metric.partition("_at_")
    return _SPOKEN.get(name, name) + (f"@{cut}" if cut else "")


def result_grids(results: Results, document: Mapping[str, Any], judged: str) -> list[Grid]:
    """Systems and metrics: a table of one task; of several, the headline of all, and each one's own folded away.

    Args:
        results: what was found.
        document: results.json of it.
        judged: the system that stands out.
    """
    figures, metrics = results.figures(), list(dict.fromkeys((results.headline, *COLUMNS)))
    grids = [_overview(results, document, figures, judged)] if len(figures) > 1 else []
    for task, systems in figures.items():
        others = [name for name in systems if name != judged]
        differences = document["differences"].get(task, {})
        rows = []
        for system, values in systems.items():
            span = results.interval(task, system)
            gap = differences.get(system, {}).get(results.headline)
            rows.append(
                [
                    system,
                    _short(values[results.headline]),
                    _spoken_span(span),
                    *(_short(values[metric]) for metric in metrics[1:]),
                    *(_test(gap) if others else []),
                ]
            )
        heads = ["system", spoken(metrics[0]), "95 % interval", *map(spoken, metrics[1:])]
        note = f"Ahead by: {spoken(metrics[0])} of {judged} minus the row's; p: paired permutation test over queries."
        grids.append(
            Grid(
                task,
                [*heads, *(["ahead by", "p"] if others else [])],
                rows,
                frozenset({list(systems).index(judged)} if judged in systems else ()),
                note if others and differences else "",
                folded=len(figures) > 1,
            )
        )
        grids += _own(task, systems)
    return grids


def _overview(
    results: Results, document: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]], judged: str
) -> Grid:
    """The headline of every system on every task and group of tasks."""
    systems = list(dict.fromkeys(name for found in figures.values() for name in found))
    beside = next((name for name in ("untrained", "bm25") if name in systems and name != judged), None)
    rows = []
    for task, found in figures.items():
        cells = [_short(found[name][results.headline]) if name in found else "" for name in systems]
        cells.append(_spoken_span(results.interval(task, judged)) if judged in found else "")
        if beside:
            gap = document["differences"].get(task, {}).get(beside, {}).get(results.headline)
            cells += _test(gap)
        rows.append([task, *cells])
    return Grid(
        f"{spoken(results.headline)} of every task and mean",
        ["task", *systems, f"95 % interval of {judged}", *([f"ahead of {beside}", "p"] if beside else [])],
        rows,
        frozenset(number for number, row in enumerate(rows) if row[0] in results.groups),
        "Bold: means over tasks. p: paired permutation test over queries." if beside else "Bold: means over tasks.",
    )


def _own(task: str, systems: Mapping[str, Mapping[str, float]]) -> list[Grid]:
    """The figures that a benchmark has of its own."""
    names = list(dict.fromkeys(name for values in systems.values() for name in values if name not in NAMES))
    having = [system for system, values in systems.items() if any(name in values for name in names)]
    rows = [[name, *(f"{systems[s][name]:.4g}" if name in systems[s] else "" for s in having)] for name in names]
    return [Grid(f"{task}: what else was measured", ["figure", *having], rows, folded=True)] if rows else []


def headline_of(results: Results, document: Mapping[str, Any], judged: str) -> str:
    """The result in a sentence: of the only task, the first group of tasks, or the mean over all of them."""
    metric, tasks = spoken(results.headline), [task for task in results.protocol["tasks"] if task in results.values]
    group = next((name for name in results.figures() if name in results.groups), None)
    if group:
        span, where = results.interval(group, judged), f"{group}, the mean of {len(results.groups[group])} tasks,"
    elif len(tasks) > 1:
        span, where = results.interval_over(tasks, judged), f"the mean of {len(tasks)} tasks"
    else:
        span, where = results.interval(tasks[0], judged), tasks[0]
    said = f"On {where} the {judged} {'model' if judged in ('trained', 'untrained') else 'system'} reaches {metric} "
    said += f"{_short(span.mean)} (95 % interval {_spoken_span(span)})"
    beside = next(
        (n for n in ("untrained", "bm25") if n != judged and all(n in results.values[t] for t in tasks)), None
    )
    if beside is None:
        return f"{said}."
    place = group or (tasks[0] if len(tasks) == 1 else None)
    if place is None:
        gap = results.difference_over(tasks, judged, beside)._asdict()
    else:
        gap = document["differences"][place][beside][results.headline]
    return f"{said}, {_gap(gap['delta'], beside)} (p = {_short(gap['p'])})."


def _short(value: float, form: str = ".4f") -> str:
    """A share without the zero before its point.

    >>> _short(0.5), _short(-0.25, "+.2f"), _short(1)
    ('.5000', '-.25', '1.0000')
    """
    text = f"{value:{form}}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and text.lstrip("+-").startswith("0.") else text


def _spoken_span(span: Interval) -> str:
    return f"{_short(span.low, '.3f')} to {_short(span.high, '.3f')}"


def _test(gap: Mapping[str, float] | None) -> list[str]:
    """A difference and its p value; empty where nothing was tested."""
    return [_short(gap["delta"], "+.4f"), _short(gap["p"])] if gap else ["", ""]


def _gap(delta: float, other: str) -> str:
    """How far it is from another, before that one's name.

    >>> _gap(-0.25, "BM25"), _gap(0.0, "BM25")
    ('.2500 below BM25', 'as much as BM25')
    """
    if abs(delta) < 0.00005:
        return f"as much as {_named(other)}"
    return f"{_short(abs(delta))} {'above' if delta > 0 else 'below'} {_named(other)}"


def _named(system: str) -> str:
    return {"untrained": "the untrained model", "bm25": "BM25"}.get(system, system)


def length_grids(plan: Mapping[str, Any], truncation: Mapping[str, Any]) -> list[Grid]:
    """How long the training's texts are and what limits cut of them, and what they cut of the evaluation's."""
    grids = []
    if plan:
        rows = [
            [
                name,
                *(f"{each[key]:,}" for key in ("limit", "median", "p95", "longest")),
                f"{each['truncated']:.1%}",
                f"{each['tokens_lost']:.1%}",
            ]
            for name, each in plan["lengths"].items()
        ]
        counted = {"tokens": "", "characters": " Estimated at four characters a token."}
        note = f"A seeded sample of the training data.{counted.get(plan['lengths_counted'], ' Taken from the limits.')}"
        heads = ["texts", "limit", "median", "95 %", "longest", "cut", "tokens lost"]
        grids.append(Grid("Training, in tokens", heads, rows, note=note))
    rows = [
        [
            f"{task}, {side}",
            f"{each['texts']:,}",
            f"{each['cut']:.1%}",
            f"{each['tokens']:,}" if "tokens" in each else "",
            f"{each['lost']:,}",
        ]
        for task, sides in truncation.items()
        for side, each in sides.items()
    ]
    if rows:
        heads = ["texts", "distinct", "cut", "tokens read", "tokens lost"]
        grids.append(Grid("Evaluation", heads, rows, folded=len(rows) > 8))
    return grids


def speed_grid(curves: Mapping[str, Curve]) -> Grid | None:
    """How fast training went; None where nothing was logged."""
    if not curves.get("train/tokens_per_s"):
        return None
    steps, rates = curves["train/tokens_per_s"]
    rows = [
        ["optimiser steps", f"{steps[-1]:,}"],
        ["tokens a second, median", f"{median(rates):,.0f}"],
        ["from slowest to fastest", f"{min(rates):,.0f} to {max(rates):,.0f}"],
    ]
    if waits := curves.get("train/data_wait"):
        rows.append(["waiting for batches", f"{fmean(waits[1]):.1%} of the time"])
    if seconds := curves.get("train/seconds"):
        rows.append(["training, without evaluation", _duration(sum(seconds[1]))])
    return Grid("Training", ["", ""], rows)


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> _duration(3725)
    '1 h 02 min'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def memory_grids(plan: Mapping[str, Any], curves: Mapping[str, Curve]) -> list[Grid]:
    """What the plan estimated, beside what was measured."""
    if not plan:
        return []
    parts = ("weights", "gradients", "optimiser", "kept", "segment", "representations", "scores", "total")
    names = {"kept": "graphs kept", "segment": "one micro-batch's graph", "total": "the fullest moment"}
    rows = [[names.get(part, part), f"{plan[f'{part}_gib']:.3f} GiB"] for part in parts]
    peaks = curves.get("train/peak_memory_gib", ((), ()))[1]
    measured = []
    if peaks:
        measured.append(["peak of training", f"{max(peaks):.3f} GiB"])
    if probe := plan["probe"]:
        measured.append(["a step above the loaded model", f"{probe['measured_gib']:.3f} GiB"])
    measured += [
        ["memory of the device", "unknown" if plan["memory_gib"] is None else f"{plan['memory_gib']:.1f} GiB"],
        ["tokens a step", f"{plan['tokens_per_step']:,}"],
        ["micro-batch", f"{plan['micro_batch_tokens']:,} padded tokens"],
        ["graphs kept", f"{plan['max_saved_tokens']:,} padded tokens"],
        ["graphs, measured over estimated", f"{plan['graphs_measured_over_estimated']:.2f}"],
    ]
    said = f"{plan['hardware']}, {plan['precision']}; fullest in {plan['fullest_moment']}"
    return [
        Grid(f"Estimated: {said}", ["", ""], rows, frozenset({len(rows) - 1})),
        Grid(
            "Measured, and how a step was cut",
            ["", ""],
            measured,
            note="On a CPU the peak is that of the whole process, with its libraries and data.",
        ),
    ]


def notes_of(folder: Path) -> list[tuple[str, int]]:
    """What the log in a run's folder warns of, in order, each once with how often it was said."""
    found: Counter[str] = Counter()
    for file in sorted(folder.glob("*.log")):
        level, message = "", ""
        for line in [*file.read_text("utf-8", "replace").splitlines(), None]:
            begins = _LOGGED.fullmatch(line) if line is not None else None
            if begins is None and line is not None:
                message += f"\n{line}"
                continue
            if level in ("WARNING", "ERROR", "CRITICAL"):
                found[message] += 1
            level, message = (begins["level"], begins["message"]) if begins else ("", "")
    return list(found.items())[:_NOTES]


def environment_grid(environment: Mapping[str, Any]) -> Grid:
    """The machine, the code and the packages that figures depend on most."""
    git, packages = environment["git"], environment["packages"]
    rows = [
        ["Python", environment["python"]],
        ["platform", environment["platform"]],
        ["processors", f"{environment['cpus']}, {environment['threads']} threads of torch"],
        ["accelerators", ", ".join(environment["gpus"]) or "none"],
    ]
    if git:
        rows.append(["commit", f"{git['commit']}{'' if git['clean'] else ', with changes'}"])
    rows += [[name, packages[name]] for name in _PACKAGES if name in packages]
    return Grid("Where it ran", ["", ""], rows)
