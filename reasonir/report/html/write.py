"""Writer of report.html for an evaluated run: reads its folder and renders page.html.jinja.

The page is self-contained: no network, no script, no other file. All text is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from reasonir.config import strip_targets
from reasonir.eval.result_table import metric_name
from reasonir.eval.results import ANALYSIS, Results, read_results
from reasonir.model.encoder import Encoder
from reasonir.report.html import facts
from reasonir.report.html.figures import draw_curves, draw_tasks, read_png
from reasonir.report.html.page import LEVELS, Figure, Page
from reasonir.report.html.queries import examples_of
from reasonir.runs.environment import environment
from reasonir.runs.metrics_csv import History
from reasonir.runs.overrides import flags_of, saved_overrides
from reasonir.types import Task
from reasonir.utils.command_line import command_line, override
from reasonir.utils.files import atomic_path
from reasonir.utils.state import read_json, read_state_yaml

REPORT = "report.html"
_CURVES = {
    "train/loss": "training loss",
    "dev/ndcg_at_10": "development nDCG@10",
    "train/lr": "learning rate",
    "train/tokens_per_s": "tokens per second",
}
_PICTURES = 8
_REMEDY = "copy it again, or delete it to leave it out of the report"


def write_report(
    folder: Path,
    tasks: Sequence[Task],
    results: Results,
    evaluated: str,
    *,
    values: Mapping[str, Any],
    encoder: Encoder | None = None,
    run: Path | None = None,
) -> Path:
    """Write the report of an evaluation, with that of the training if there is one, and return the file.

    Args:
        folder: folder of the evaluation, with results.json.
        tasks: the evaluated tasks, without documents for run files.
        results: results of the evaluation.
        evaluated: the system that the report is about.
        values: the resolved configuration.
        encoder: the evaluated system's model; None without one.
        run: folder of the training of the model; None without one.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = page_of(folder, tasks, results, evaluated, values=values, encoder=encoder, run=run)
    text = templates.get_template("page.html.jinja").render(page=page, metric_name=metric_name, levels=LEVELS)
    with atomic_path(folder / REPORT) as partial:
        partial.write_bytes(text.encode("utf-8", "replace"))
    return folder / REPORT


def page_of(
    folder: Path,
    tasks: Sequence[Task],
    results: Results,
    evaluated: str,
    *,
    values: Mapping[str, Any],
    encoder: Encoder | None = None,
    run: Path | None = None,
) -> Page:
    """Collect the content of the report; see `write_report`."""
    document = read_results(folder)
    curves = History(run / "metrics.csv").curves() if run else {}
    plan = _read(run / "plan.json") if run else {}
    machine = _read(folder / "environment.json") or environment()
    return Page(
        title=_title(values, run),
        about=_about(values, tasks, results, run, plan=plan),
        headline=facts.headline_of(results, document, evaluated),
        results=facts.result_tables(results, document, evaluated),
        splits=_splits(tasks, results, document, evaluated),
        standings=_standings(folder),
        curves=draw_curves(curves, _CURVES),
        lengths=facts.length_tables(plan, results.protocol.get("truncation", {})),
        examples=examples_of(tasks, results, evaluated, encoder),
        analyses=_analyses(folder),
        speed=facts.speed_table(curves),
        memory=facts.memory_tables(plan, curves),
        warnings=facts.warnings_of(folder),
        texts={
            "Configuration": _yaml(strip_targets(values)),
            **({"Configuration of the training": (run / "config.yaml").read_text()} if run and run != folder else {}),
            "Evaluation protocol": _yaml(results.protocol),
            "Packages": "\n".join(f"{name} {version}" for name, version in machine["packages"].items()),
        },
        environment=facts.environment_table(machine),
        commands=_commands(folder, run, Path(values["home"])),
    )


def _title(values: Mapping[str, Any], run: Path | None) -> str:
    if "run_name" in values:
        return str(values["run_name"])
    return f"Evaluation of {run.name if run else values['trec'] or values['model']['path']}"


def _about(
    values: Mapping[str, Any], tasks: Sequence[Task], results: Results, run: Path | None, *, plan: Mapping[str, Any]
) -> list[str]:
    """Return sentences on model, data and tasks."""
    sentences = []
    if run:
        choices, manifest = _hydra(run).get("runtime", {}).get("choices", {}), _read(run / "data.json")
        counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in manifest.get("counts", {}).items())
        model, head, data, loss = (choices.get(group) for group in ("model", "model/head", "data", "loss"))
        size = f" ({plan['parameters']:,} parameters, {plan['trained']:,} of them trained)" if plan else ""
        name = f"{model} with head {head}" if head else model
        sentences.append(f"Model {name}{size}, trained on {data} with loss {loss}.")
        sentences.append(f"The prepared set has {counts}." if counts else "")
    elif "trec" not in results.protocol:
        sentences.append(f"{results.protocol['model']} without training.")
    queries = sum(len(task.queries) for task in tasks)
    corpora = {id(task.corpus): len(task.corpus) for task in tasks if len(task.corpus)}
    scope = f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0].name
    over = f" over {sum(corpora.values()):,} documents" if corpora else ""
    sentences.append(f"Evaluated on {scope}: {queries:,} {'queries' if queries != 1 else 'query'}{over}.")
    return [sentence for sentence in sentences if sentence]


def _splits(tasks: Sequence[Task], results: Results, document: Mapping[str, Any], evaluated: str) -> Figure | None:
    """Plot the tasks if there are several."""
    names = [task.name for task in tasks]
    if len(names) < 2:
        return None
    figures = results.figures()
    spans = document["intervals"]
    return draw_tasks(
        names,
        {name: {system: metrics[results.headline] for system, metrics in figures[name].items()} for name in names},
        {
            name: (spans[name][evaluated][results.headline]["low"], spans[name][evaluated][results.headline]["high"])
            for name in names
        },
        evaluated,
        metric_name(results.headline),
    )


def _standings(folder: Path) -> list[Figure]:
    """Embed the leaderboards that the benchmark has."""
    files = sorted(folder.glob("leaderboard*.png"))
    return [read_png(file, "Leaderboard with published results") for file in files]


def _analyses(folder: Path) -> list[Figure]:
    """Embed the benchmark's plots."""
    files = sorted((folder / ANALYSIS).rglob("*.png"))
    return [read_png(file, file.relative_to(folder).as_posix()) for file in files[:_PICTURES]]


def _commands(folder: Path, run: Path | None, home: Path) -> dict[str, str]:
    """Return commands to reproduce the run, resume it, and evaluate its model on another benchmark."""
    saved = _hydra(folder)
    cwd = saved["runtime"]["cwd"] if saved else None
    call = partial(command_line, home="" if str(home) == cwd else str(home))
    flags = flags_of(saved) if saved else []
    commands = {}
    overrides = _overrides(folder)
    if overrides is not None:
        command = "train" if run == folder else "evaluate"
        commands[f"Run it again in {cwd}"] = call(command, *flags, *overrides)
    if run == folder:
        commands["Resume from the last checkpoint"] = call("train", *flags, override("resume", folder))
    if run:
        commands["Evaluate the model on another benchmark"] = call("evaluate", override("run", run), "eval=bright")
    return commands


def _overrides(folder: Path) -> list[str] | None:
    """Return the overrides of the command line, a resumed run's with its first ones; None without Hydra's files."""
    first = folder / ".hydra" / "overrides.yaml"
    resumed = sorted((folder / ".hydra").glob("resumed_*/overrides.yaml"))
    file = resumed[-1] if resumed else first
    if not file.is_file():
        return None
    return [word for word in saved_overrides(file) if not word.lstrip("+").startswith("resume=")]


def _hydra(folder: Path) -> dict[str, Any]:
    """Return Hydra's record of a command, empty without one: `runtime` has the options by group and working folder."""
    file = folder / ".hydra" / "hydra.yaml"
    return dict(read_state_yaml(file, dict, "record of Hydra", remedy=_REMEDY)["hydra"]) if file.is_file() else {}


def _read(file: Path) -> dict[str, Any]:
    return read_json(file, remedy=_REMEDY) if file.is_file() else {}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False, allow_unicode=True, width=100)
