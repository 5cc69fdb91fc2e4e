"""Makes report.html of a run that was judged: reads what lies in its folder, and lays it out by page.html.jinja.

The page needs nothing beside it: no network, no script, no other file. Whatever text is on it is escaped.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reasonir.config import strip_targets
from reasonir.eval.evaluator import ANALYSIS
from reasonir.eval.result_table import metric_name
from reasonir.eval.results import Results
from reasonir.model.encoder import Encoder
from reasonir.report.html import facts
from reasonir.report.html.figures import draw_curves, draw_tasks, kept_picture
from reasonir.report.html.page import LEVELS, Figure, Page
from reasonir.report.html.queries import examples_of
from reasonir.runs.environment import environment
from reasonir.runs.metrics_csv import History
from reasonir.types import Task
from reasonir.utils.files import atomic_path

REPORT = "report.html"
_CURVES = {
    "train/loss": "training loss",
    "dev/ndcg_at_10": "development nDCG@10",
    "train/lr": "learning rate",
    "train/tokens_per_s": "tokens a second",
}
_PICTURES = 8


def write_report(
    folder: Path,
    tasks: Sequence[Task],
    results: Results,
    judged: str,
    *,
    values: Mapping[str, Any],
    encoder: Encoder | None = None,
    run: Path | None = None,
) -> Path:
    """Write the report of an evaluation, with the training behind it, and return the file.

    Args:
        folder: of the evaluation; its results.json is written already.
        tasks: what was judged, without documents where run files were.
        results: what was found.
        judged: the system that the report is about.
        values: the resolved configuration.
        encoder: the judged system's model.
        run: the folder of the training that the model came from.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shelf = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = page_of(folder, tasks, results, judged, values=values, encoder=encoder, run=run)
    text = shelf.get_template("page.html.jinja").render(page=page, spoken=metric_name, levels=LEVELS)
    with atomic_path(folder / REPORT) as partial:
        partial.write_bytes(text.encode("utf-8", "replace"))
    return folder / REPORT


def page_of(
    folder: Path,
    tasks: Sequence[Task],
    results: Results,
    judged: str,
    *,
    values: Mapping[str, Any],
    encoder: Encoder | None = None,
    run: Path | None = None,
) -> Page:
    """What the report says; see `write_report`."""
    document = json.loads((folder / "results.json").read_text())
    curves = History(run / "metrics.csv").curves() if run else {}
    plan = _read(run / "plan.json") if run else {}
    machine = _read(folder / "environment.json") or environment()
    return Page(
        title=_title(values, run),
        about=_about(values, tasks, results, run, plan=plan),
        headline=facts.headline_of(results, document, judged),
        results=facts.result_tables(results, document, judged),
        splits=_splits(tasks, results, document, judged),
        standing=_standing(folder),
        curves=draw_curves(curves, _CURVES),
        lengths=facts.length_tables(plan, results.protocol.get("truncation", {})),
        examples=examples_of(tasks, results, judged, encoder),
        analyses=_analyses(folder),
        speed=facts.speed_table(curves),
        memory=facts.memory_tables(plan, curves),
        notes=facts.notes_of(folder),
        texts={
            "Configuration": _yaml(strip_targets(values)),
            **({"Configuration of the training": (run / "config.yaml").read_text()} if run and run != folder else {}),
            "Rules of the evaluation": _yaml(results.protocol),
            "Packages": "\n".join(f"{name} {version}" for name, version in machine["packages"].items()),
        },
        environment=facts.environment_table(machine),
        commands=_commands(folder, run, Path(values["home"])),
    )


def _title(values: Mapping[str, Any], run: Path | None) -> str:
    if "run_name" in values:
        return str(values["run_name"])
    judged = run.name if run else values["trec"] or values["model"]["path"]
    return f"Evaluation of {judged}"


def _about(
    values: Mapping[str, Any], tasks: Sequence[Task], results: Results, run: Path | None, *, plan: Mapping[str, Any]
) -> list[str]:
    """What was trained on what, and what it was judged on."""
    said = []
    if run:
        choices, manifest = _runtime(run).get("choices", {}), _read(run / "data.json")
        counts = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in manifest.get("counts", {}).items())
        model, head, data, loss = (choices.get(group) for group in ("model", "model/head", "data", "loss"))
        size = f" ({plan['parameters']:,} parameters, {plan['trained']:,} of them trained)" if plan else ""
        said.append(f"Model {model}{f' with head {head}' if head else ''}{size}, trained on {data} with loss {loss}.")
        said.append(f"The prepared set holds {counts}." if counts else "")
    elif "trec" not in results.protocol:
        said.append(f"{results.protocol['model']} as it is, not trained here.")
    queries = sum(len(task.queries) for task in tasks)
    corpora = {id(task.corpus): len(task.corpus) for task in tasks if len(task.corpus)}
    where = f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0].name
    over = f" over {sum(corpora.values()):,} documents" if corpora else ""
    said.append(f"Judged on {where}: {queries:,} {'queries' if queries != 1 else 'query'}{over}.")
    return [sentence for sentence in said if sentence]


def _splits(tasks: Sequence[Task], results: Results, document: Mapping[str, Any], judged: str) -> Figure | None:
    """The tasks beside each other, where there are several."""
    names = [task.name for task in tasks]
    if len(names) < 2:
        return None
    figures = results.figures()
    spans = document["intervals"]
    return draw_tasks(
        names,
        {name: {system: found[results.headline] for system, found in figures[name].items()} for name in names},
        {
            name: (spans[name][judged][results.headline]["low"], spans[name][judged][results.headline]["high"])
            for name in names
        },
        judged,
        metric_name(results.headline),
    )


def _standing(folder: Path) -> Figure | None:
    """The published figures that the benchmark stands among, where it has any."""
    file = folder / "leaderboard.png"
    return kept_picture(file, "Among the published figures") if file.is_file() else None


def _analyses(folder: Path) -> list[Figure]:
    """What the benchmark drew of its own."""
    files = sorted((folder / ANALYSIS).rglob("*.png"))
    return [kept_picture(file, file.relative_to(folder).as_posix()) for file in files[:_PICTURES]]


def _commands(folder: Path, run: Path | None, home: Path) -> dict[str, str]:
    """How to do it again, go on, and judge it on something else."""
    called = _runtime(folder).get("cwd")
    place = "" if str(home) == called else f"REASONIR_HOME={shlex.quote(str(home))} "
    call = f"{place}python -m reasonir."
    found = {}
    words = _overrides(folder)
    if words is not None:
        command = "train" if run == folder else "evaluate"
        found[f"Do it again, in {called}"] = f"{call}{command} {shlex.join(words)}"
    if run == folder:
        found["Go on from the last checkpoint"] = f"{call}train {shlex.quote(f'resume={folder}')}"
    if run:
        found["Judge the model on a benchmark"] = f"{call}evaluate {shlex.quote(f'run={run}')} eval=bright"
    return found


def _overrides(folder: Path) -> list[str] | None:
    """What the command line said, a resumed run's with what it was started with; None where Hydra noted nothing."""
    noted = folder / ".hydra" / "overrides.yaml"
    resumed = sorted((folder / ".hydra").glob("resumed_*/overrides.yaml"))
    file = resumed[-1] if resumed else noted
    if not file.is_file():
        return None
    return [word for word in yaml.safe_load(file.read_text()) if not word.lstrip("+").startswith("resume=")]


def _runtime(folder: Path) -> dict[str, Any]:
    """What Hydra noted of a command: the options that were composed, by group, and where it was called."""
    file = folder / ".hydra" / "hydra.yaml"
    return yaml.safe_load(file.read_text())["hydra"]["runtime"] if file.is_file() else {}


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False, allow_unicode=True, width=100)
