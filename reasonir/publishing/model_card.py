"""Model card (README.md) from the files of a run; parts without data are omitted.

The header has base model, library, task, data and results for the hub; the text has results next to baselines, the
protocol, the data with its licence and decontamination, the command, and a usage snippet. Local paths are cut to their
last part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from reasonir.config import flatten
from reasonir.eval.result_table import CI, metric_name
from reasonir.model.head.base import Head
from reasonir.runs.components import component
from reasonir.runs.folder import saved_config
from reasonir.runs.overrides import parse_overrides, saved_overrides
from reasonir.runs.provenance import DATA
from reasonir.utils.command_line import command_line, override
from reasonir.utils.state import read_json
from reasonir.utils.table import TEXT, Table

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FOLDERS = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+)+/(?=[\w.+-])")
_QUOTED = re.compile(r"""(["'])[/~](?:(?!\1).)*/((?:(?!\1).)*)\1""")
_HUB = "https://huggingface.co"
_PACKAGES = ("reasonir", "torch", "transformers", "sentence-transformers", "pylate")


def card_of(run: Path, name: str, *, licence: str | None = None) -> str:
    """Return the card of a run's model.

    Args:
        run: the run's folder.
        name: of the model, user/name or a folder.
        licence: of the model, by the hub's names.

    Raises:
        InputError: the folder is no tracked run.
    """
    from huggingface_hub import ModelCardData

    config = saved_config(run)
    manifest, results, environment = (_read(run / file) for file in (DATA, "results.json", "environment.json"))
    loader = component(config["model"]["head"]["_target_"])  # None for a user's own head without its YAML
    head: type[Head] | None = loader.__self__ if loader else None
    base = _hub_id(config["model"]["path"])
    header = ModelCardData(
        base_model=base,
        library_name=head.usage.library if head else None,
        pipeline_tag=head.usage.task if head else None,
        tags=["reasonir", *([head.name] if head else [])],
        license=licence,
        datasets=sorted(set(_datasets(config["data"]))) or None,
        model_name=Path(name).name,
        eval_results=list(_listed(results, config["eval"])) or None,
    )
    source = f"trained from [{base}]({_HUB}/{base})" if base else "trained"
    parts = [
        f"# {Path(name).name}",
        f"A {head.usage.summary if head else 'model'}, {source} with reasonir.",
        *_results(results),
        *_protocol(results),
        *_data(manifest),
        *_training(run, environment, config["seed"]),
        *(head.usage.parts(name) if head else ()),
    ]
    return f"---\n{header.to_yaml().strip()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _read(file: Path) -> Mapping[str, Any]:
    return read_json(file, remedy="copy it again, or delete it to leave it out of the card") if file.is_file() else {}


def _hub_id(path: Any) -> str | None:
    """The path if it is a hub id and no local path, else None."""
    return path if isinstance(path, str) and _HUB_ID.fullmatch(path) and not Path(path).exists() else None


def _datasets(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hub ids of a data source."""
    for key, value in flatten(source).items():
        if key.rpartition(".")[2] in ("path", "documents") and (hub_id := _hub_id(value)):
            yield hub_id


def _listed(results: Mapping[str, Any], benchmark: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the trained model's headline metric on each task, for the hub."""
    from huggingface_hub import EvalResult

    for task, systems in results.get("results", {}).items():
        metric = results["protocol"]["headline"]
        yield EvalResult(
            task_type="information-retrieval",
            dataset_type=_hub_id(benchmark.get("path")) or task,
            dataset_name=task,
            metric_type=metric,
            metric_value=round(systems["trained"][metric], 4),
        )


def _results(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results: every system's headline metric with its interval, and the trained model's difference."""
    if not results:
        return
    metric = results["protocol"]["headline"]
    rows = []
    for task, systems in results["results"].items():
        for system, values in systems.items():
            span = results["intervals"].get(task, {}).get(system, {}).get(metric)
            gap = results["differences"].get(task, {}).get(system, {}).get(metric, {})
            rows.append([task, system, values[metric], span, gap.get("delta"), gap.get("p")])
    name, span_format = metric_name(metric), "{0[low]:.3f} to {0[high]:.3f}"
    heads = {"task": TEXT, "system": TEXT, name: "{:.4f}", CI: span_format, f"Δ {name}": "{:+.4f}", "p": "{:.4f}"}
    yield "## Results"
    yield Table("Results", heads, rows).markdown()
    yield "Δ: trained minus the row's system. Intervals: bootstrap over queries; p: paired permutation test."


def _protocol(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the evaluation protocol: lengths, prompts, index, seed."""
    stated = {key: value for key, value in results.get("protocol", {}).items() if key not in ("model", "truncation")}
    values = {key: value for key, value in flatten(stated).items() if value not in ("", None)}
    if values:
        yield "## Lengths, prompts, protocol"
        yield "\n".join(f"- {key}: `{json.dumps(value, ensure_ascii=False)}`" for key, value in values.items())


def _data(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the training data: counts, licence, decontamination."""
    if not manifest:
        return
    identity = flatten(manifest["identity"])
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in manifest["counts"].items())
    lines = [f"- {', '.join(manifest['sources'])}: {counts} (prepared set {manifest['fingerprint']})"]
    for name, label in (("licence", "licence of the data"), ("decontaminate", "decontamination against BRIGHT")):
        lines += [f"- {label}: {value}" for key, value in identity.items() if key.rpartition(".")[2] == name]
    yield "## Training data"
    yield "\n".join(lines)


def _training(run: Path, environment: Mapping[str, Any], seed: int) -> Iterator[str]:
    """Yield the command, seed and package versions."""
    file = run / ".hydra" / "overrides.yaml"
    if file.is_file():
        yield "## Training"
        command = command_line("train", *map(_without_folders, saved_overrides(file)), home="")
        yield f"```bash\n{command}\n```"
    if environment:
        versions = {name.lower(): version for name, version in environment["packages"].items()}
        packages = ", ".join(f"{name} {versions[name]}" for name in _PACKAGES if name in versions)
        yield f"Seed {seed}; Python {environment['python']}, {packages}."


def _without_folders(word: str) -> str:
    """Override without local folders: of each path only the last part."""
    (parsed,) = parse_overrides([word])
    value = None if parsed.is_sweep_override() or parsed.is_delete() else parsed.value()
    if isinstance(value, str) and value.startswith(("/", "~")):
        return override(parsed.get_key_element(), PurePath(value).name)
    return _FOLDERS.sub("", _QUOTED.sub(r"\1\2\1", word))
