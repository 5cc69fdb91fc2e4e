"""Model card (README.md) from the files of a run; parts without data are omitted.

Metadata and headings are those of the library that opens the model (sentence-transformers, PyLate): tags, widget
examples, and results under the names of its evaluators; results of `eval=mteb` under mteb's. The text has results next
to baselines, the protocol, compressed vectors, the data with its licence and decontamination, and the command. Local
paths are cut to their last part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from reasonir.config import flatten
from reasonir.eval.compressed import Compressed
from reasonir.eval.result_table import CI, metric_name
from reasonir.eval.results import HEADLINE
from reasonir.model.head.base import Head
from reasonir.model.shape import Shape
from reasonir.publishing.graphs import GraphFile
from reasonir.publishing.measured import Measured
from reasonir.runs.components import component
from reasonir.runs.folder import saved_config
from reasonir.runs.overrides import parse_overrides, saved_overrides
from reasonir.runs.provenance import DATA
from reasonir.utils.command_line import command_line, override
from reasonir.utils.state import read_json
from reasonir.utils.table import TEXT, Table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FOLDERS = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+)+/(?=[\w.+-])")
_QUOTED = re.compile(r"""(["'])[/~](?:(?!\1).)*/((?:(?!\1).)*)\1""")
_HUB = "https://huggingface.co"
_METRICS = ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100")
_SIMILARITY = {"cosine": "Cosine Similarity", "euclidean": "Euclidean Distance", "dot": "Dot Product"}
"""The library's words for its names."""
_PACKAGES = ("reasonir", "torch", "transformers", "sentence-transformers", "pylate")


def card_of(
    run: Path,
    name: str,
    *,
    licence: str | None = None,
    measured: Measured | None = None,
    graphs: Sequence[GraphFile] = (),
) -> str:
    """Return the card of a run's model.

    Args:
        run: the run's folder.
        name: of the model, user/name or a folder.
        licence: of the model, by the hub's names.
        measured: what was measured for the card.
        graphs: files for other runtimes.

    Raises:
        InputError: the folder is no tracked run.
    """
    from huggingface_hub import ModelCardData

    config, measured = saved_config(run), measured or Measured()
    manifest, results, environment = (_read(run / file) for file in (DATA, "results.json", "environment.json"))
    loader = component(config["model"]["head"]["_target_"])  # None for a user's own head without its YAML
    head: type[Head] | None = loader.__self__ if loader else None
    base, datasets = _hub_id(config["model"]["path"]), sorted(set(_datasets(config["data"])))
    header = ModelCardData(
        base_model=base,
        library_name=head.usage.library if head else None,
        pipeline_tag=head.usage.task if head else None,
        tags=list(_tags(head, config, manifest)),
        license=licence,
        datasets=datasets or None,
        widget=_widget(head, measured),
        model_name=Path(name).name,
        eval_results=list(_listed(results, config.get("eval") or {}, head)) or None,
    )
    source = f"trained from {_link(base)}" if base else "trained"
    described = {
        "Model Type": head.usage.summary if head else None,
        "Base model": _link(base) if base else None,
        **(_sizes(head, run / "model", config["model"]["head"]) if head else {}),
        "Training Datasets": ", ".join(f"[{each}]({_HUB}/datasets/{each})" for each in datasets),
        "License": licence,
    }
    parts = [
        f"# {Path(name).name}",
        f"A {head.usage.summary if head else 'model'}, {source} with reasonir.",
        "## Model Details",
        "\n".join(f"- **{label}:** {value}" for label, value in described.items() if value),
        *(head.usage.parts(name) if head else ()),
        *_results(results),
        *_protocol(results),
        *_compressed(results, measured.compressed),
        *_graphs(graphs, name, head, measured),
        *_data(manifest),
        *_training(run, environment, config["seed"]),
    ]
    return f"---\n{header.to_yaml().strip()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _widget(head: type[Head] | None, measured: Measured) -> list[Mapping[str, Any]] | None:
    """Return the examples in the form that the hub's widget of the head's task reads; None if it has none."""
    task = head.usage.task if head else None
    if task == "feature-extraction":
        return [{"text": example["source_sentence"]} for example in measured.examples]
    return list(measured.examples) if task == "sentence-similarity" else None


def _link(base: str) -> str:
    return f"[{base}]({_HUB}/{base})"


def _tags(head: type[Head] | None, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the library's tags, ours, and as sentence-transformers writes them those of size and loss."""
    yield from head.usage.tags if head else ()
    yield "reasonir"
    if head:
        yield head.name
    if "queries" in manifest.get("counts", {}):
        yield f"dataset_size:{manifest['counts']['queries']}"
    if target := (config.get("loss") or {}).get("_target_"):
        yield f"loss:{target.rpartition('.')[2]}"


def _sizes(head: type[Head], folder: Path, options: Mapping[str, Any]) -> dict[str, str]:
    """Return lengths, vector size and similarity of an export by the labels of sentence-transformers and PyLate."""
    if not folder.is_dir():
        return {}
    limits = head.limits(folder, options)
    if len(set(limits.values())) == 1:
        sizes = {"Maximum Sequence Length": f"{limits['query']} tokens"}
    else:
        sizes = {f"{side.title()} Length": f"{limit} tokens" for side, limit in limits.items()}
    if head.usage.similarity:
        size = head.vector_size(folder, options, Shape.read(folder).hidden)
        sizes["Output Dimensionality"] = f"{size} dimensions"
        sizes["Similarity Function"] = _SIMILARITY.get(head.usage.similarity, head.usage.similarity)
    return sizes


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


def _listed(results: Mapping[str, Any], benchmark: Mapping[str, Any], head: type[Head] | None) -> Iterator[EvalResult]:
    """Yield the trained model's metrics on each task, for the hub: under the library's names, mteb's under mteb's."""
    from huggingface_hub import EvalResult

    evaluation, similarity = (head.usage.evaluation, head.usage.similarity) if head else ("Information Retrieval", "")
    for task, systems in results.get("results", {}).items():
        figures, stated = systems["trained"], results["protocol"].get("tasks", {}).get(task, {})
        if stated.get("benchmark", "").startswith("mteb "):
            yield _of_mteb(stated, figures)
            continue
        for metric in dict.fromkeys((results["protocol"]["headline"], *_METRICS)):
            if metric in figures:
                key = "_".join(filter(None, (similarity, metric.replace("_at_", "@"))))
                yield EvalResult(
                    task_type=evaluation.lower().replace(" ", "-"),
                    task_name=evaluation,
                    dataset_type=_hub_id(benchmark.get("path")) or task,
                    dataset_name=task,
                    metric_type=key,
                    metric_name=key.replace("_", " ").title(),
                    metric_value=round(figures[metric], 4),
                )


def _of_mteb(stated: Mapping[str, str], figures: Mapping[str, float]) -> EvalResult:
    """Return mteb's own score of a task, as mteb writes it for the hub."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-ranking" if stated["type"].endswith("Reranking") else "text-retrieval",
        task_name=stated["type"],
        dataset_type=stated["collection"],
        dataset_name=f"{stated['task']} ({stated['subset']})",
        dataset_config=stated["subset"],
        dataset_split=stated["split"],
        dataset_revision=stated["revision"],
        metric_type=stated["main score"],
        metric_name=stated["main score"],
        metric_value=round(figures[f"mteb_{stated['main score']}"], 5),
        source_name="MTEB",
        source_url="https://github.com/embeddings-benchmark/mteb/",
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
    yield "## Evaluation"
    yield Table("Results", heads, rows).markdown()
    yield "Δ: trained minus the row's system. Intervals: bootstrap over queries; p: paired permutation test."


def _protocol(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the evaluation protocol: lengths, prompts, index, seed."""
    stated = {key: value for key, value in results.get("protocol", {}).items() if key not in ("model", "truncation")}
    values = {key: value for key, value in flatten(stated).items() if value not in ("", None)}
    if values:
        yield "### Lengths, prompts, protocol"
        yield "\n".join(f"- {key}: `{json.dumps(value, ensure_ascii=False)}`" for key, value in values.items())


def _compressed(results: Mapping[str, Any], forms: Sequence[Compressed]) -> Iterator[str]:
    """Yield what shortened and quantised vectors lose."""
    if not forms:
        return
    headline = results.get("protocol", {}).get("headline")
    metrics = list(dict.fromkeys((headline if headline in forms[0].metrics else HEADLINE, "recall_at_100")))
    heads = {
        "dimensions": "{:d}",
        "numbers": TEXT,
        "bytes": "{:d}",
        **{metric_name(metric): "{:.4f}" for metric in metrics},
    }
    rows = [[form.size, form.form, form.bytes, *(form.metrics[metric] for metric in metrics)] for form in forms]
    yield "### Shortened and quantised vectors"
    yield Table("", heads, rows).markdown()
    yield (
        "Bytes of a document's vector, metrics on the evaluation above (mean over its tasks). `encode(..., "
        "truncate_dim=...)` and `precision=` of sentence-transformers give such vectors. Binary: signs of both sides; "
        "rescored: ordered anew by the query's own numbers."
    )


def _graphs(graphs: Sequence[GraphFile], name: str, head: type[Head] | None, measured: Measured) -> Iterator[str]:
    """Yield the files for other runtimes, what their scores differ, and how sentence-transformers opens them."""
    if not graphs:
        return
    heads = {"file": TEXT, "numbers": TEXT, "MB": "{:.1f}", "largest difference of a score": "{:.1e}"}
    rows = [[each.name, each.numbers, each.bytes / 1e6, each.difference] for each in graphs]
    low, high = graphs[0].scores
    yield "### ONNX and OpenVINO"
    yield Table("", heads, rows).markdown()
    yield (
        f"Compared with the model's scores of {len(measured.queries)} queries and {len(measured.documents)} documents, "
        f"from {low:.3f} to {high:.3f}, on a CPU in float32. int8: weights, and activations while it runs (dynamic)."
    )
    if head and head.usage.library != "PyLate" and not head.graph_folder:  # PyLate runs torch, a hub id has no folders
        kind = "CrossEncoder" if head.reads_pairs else "SparseEncoder" if head.sparse else "SentenceTransformer"
        backend = "onnx" if graphs[0].name.endswith(".onnx") else "openvino"
        code = f'from sentence_transformers import {kind}\n\nmodel = {kind}("{name}", backend="{backend}")'
        yield f"```python\n{code}\n```"


def _data(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the training data: counts, licence, decontamination."""
    if not manifest:
        return
    identity = flatten(manifest["identity"])
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in manifest["counts"].items())
    lines = [f"- {', '.join(manifest['sources'])}: {counts} (prepared set {manifest['fingerprint']})"]
    for name, label in (("licence", "licence of the data"), ("decontaminate", "decontamination against BRIGHT")):
        lines += [f"- {label}: {value}" for key, value in identity.items() if key.rpartition(".")[2] == name]
    yield "## Training Data"
    yield "\n".join(lines)


def _training(run: Path, environment: Mapping[str, Any], seed: int) -> Iterator[str]:
    """Yield the command, seed and package versions."""
    file = run / ".hydra" / "overrides.yaml"
    if file.is_file():
        yield "## Training Details"
        command = command_line("train", *map(_without_folders, saved_overrides(file)), home="")
        yield f"```bash\n{command}\n```"
    if environment:
        versions = {name.lower(): version for name, version in environment["packages"].items()}
        packages = ", ".join(f"{name} {versions[name]}" for name in _PACKAGES if name in versions)
        yield "### Framework Versions"
        yield f"Seed {seed}; Python {environment['python']}, {packages}."


def _without_folders(word: str) -> str:
    """Override without local folders: of each path only the last part."""
    (parsed,) = parse_overrides([word])
    value = None if parsed.is_sweep_override() or parsed.is_delete() else parsed.value()
    if isinstance(value, str) and value.startswith(("/", "~")):
        return override(parsed.get_key_element(), PurePath(value).name)
    return _FOLDERS.sub("", _QUOTED.sub(r"\1\2\1", word))
