"""Retrieval and reranking tasks of mteb 2 (Enevoldsen et al. 2025, arXiv:2502.13595), which scores the rankings too.

mteb reads the data and names what is evaluated: subsets (mostly languages), splits, candidates, prompts. Each subset
and split is a task here. mteb's files of every system's scores lie in analysis/mteb/results/<model>/<revision> next to
the results, in the form that its leaderboard takes.

Judgements are used as mteb uses them: queries without a relevant document count 0, and the document with a query's id
is left out where the task says so, even if it is relevant.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from reasonir.errors import InputError, NotHereError, did_you_mean, raise_errors
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.ranking_metrics import NAMES, mean, per_query
from reasonir.model.embedding_cache import identity_of
from reasonir.model.encoder import Encoder
from reasonir.types import Corpus, Qrels, Run, Task, Text
from reasonir.utils.hub import snapshot
from reasonir.utils.random_state import kept_random_state
from reasonir.utils.values import check_grade, check_id, check_text

log = logging.getLogger(__name__)

_TYPES = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
_OURS = {"accuracy": "recall_at_1", "map_at_1000": "map"}
"""Our names of mteb's metrics, where they differ."""
_AGREEMENT = 1e-4
_LISTED = 20


@dataclass(frozen=True, slots=True)
class _Part:
    """A subset and split of a task of mteb."""

    task: Any
    subset: str
    split: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Names of the task, subset and split."""
        return self.task.metadata.name, self.subset, self.split

    @property
    def name(self) -> str:
        """The task's name, with subset and split where it has several."""
        several = len(self.task.metadata.hf_subsets) > 1, len(self.task.metadata.eval_splits) > 1
        named = [name for name, shown in zip((self.subset, self.split), several, strict=True) if shown]
        return "-".join([self.task.metadata.name, *named]).replace("/", "_")

    @property
    def data(self) -> Any:
        """Corpus, queries, judgements and candidates, once the task is loaded."""
        found = self.task.dataset
        return found.get(self.subset, found)[self.split]


class Mteb(Benchmark):
    """Tasks of mteb by name, with its score of the same rankings.

    The headline is the tasks' main score, if they share one that is among our metrics, otherwise nDCG@10. mteb's main
    score is reported next to it as `mteb_<metric>`.
    """

    def __init__(
        self,
        tasks: Annotated[Sequence[str], MinLen(1)],
        *,
        subsets: Annotated[Sequence[str], MinLen(1)] | None = None,
        splits: Annotated[Sequence[str], MinLen(1)] | None = None,
        instructions: bool = True,
        submit_as: str | None = None,
    ) -> None:
        """Choose the tasks.

        Args:
            tasks: names of tasks, or of benchmarks of mteb, whose tasks of other types are left out.
            subsets: subsets to evaluate, in tasks that have several; None for all.
            splits: splits to evaluate; None for the task's own.
            instructions: a task's prompt for queries becomes their instruction.
            submit_as: `owner/name@revision` of the trained model, or of a run file, in mteb's files; None for
                `reasonir/trained@<hash of its weights>`.

        Raises:
            InputError: a name is unknown, or a task that isn't text retrieval or reranking.
        """
        if submit_as and (submit_as.count("/"), submit_as.count("@")) != (1, 1):
            raise_errors([f"submit_as={submit_as}: give owner/name@revision"], "mistake in Mteb", type(self))
        self._instructions, self._submit_as = instructions, submit_as
        with kept_random_state():  # mteb seeds all generators
            try:
                self._roots = _roots(tasks)
            except InputError as error:
                raise_errors(error.problems or [str(error)], "mistake in Mteb", type(self))
        self._parts = {part.name: part for part in self._filtered(subsets, splits)}
        self._qrels: dict[str, Qrels] = {}

    @property
    def headline(self) -> str:
        """The main metric."""
        main = {_ours(part.task.metadata.main_score) for part in self._parts.values()}
        return main.pop() or HEADLINE if len(main) == 1 else HEADLINE

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The mean over a task's subsets and splits, or an aggregate's tasks, and over all, under `mteb`."""
        members = {
            root: [name for name, part in self._parts.items() if part.task.metadata.name in leaves]
            for root, leaves in self._leaf_names().items()
        }
        groups = {root: names for root, names in members.items() if len(names) > 1}
        return groups | ({"mteb": list(self._parts)} if len(members) > 1 else {})

    @property
    def analyses_run_files(self) -> bool:
        """True: mteb judges any rankings."""
        return True

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield one task per subset and split."""
        for name, part in self._parts.items():
            with kept_random_state():  # mteb seeds all generators
                _load(part.task)
            task = self._task(name, part)
            self._qrels[name] = task.qrels
            yield task

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return mteb's main scores of a system, and write its result files."""
        import mteb

        runs = {part.key: system.runs[name] for name, part in self._parts.items()}
        judged = _Judged(self._model_meta(system), runs)
        cache = mteb.ResultCache(folder / "mteb")
        leaves = {part.task.metadata.name: part.task for part in self._parts.values()}
        with kept_random_state():  # mteb seeds all generators
            found = mteb.evaluate(
                judged,
                list(leaves.values()),
                cache=cache,
                co2_tracker=False,
                overwrite_strategy="always",
                show_progress_bar=False,
            )
        results = {result.task_name: result for result in found.task_results}
        for root, names in self._leaf_names().items():
            if root not in leaves:
                combined = self._roots[root].combine_task_results([results[name] for name in names])
                cache.save_to_cache(combined, judged.mteb_model_meta)
        return {
            name: self._compared(name, part, results[part.task.metadata.name], system)
            for name, part in self._parts.items()
        }

    def _compared(self, name: str, part: _Part, result: Any, system: EvaluatedSystem) -> ExtraMetrics:
        """Return mteb's main score of a part, with a warning if ours is another."""
        metric = part.task.metadata.main_score
        (scores,) = [each for each in result.scores[part.split] if each["hf_subset"] == part.subset]
        theirs, ours = float(scores["main_score"]), _ours(metric)
        if ours:
            value = mean(per_query(system.runs[name], self._qrels[name]))[ours]
            if abs(theirs - value) > _AGREEMENT:
                log.warning("%s of %s on %s is %.5f by mteb and %.5f here", metric, system.name, name, theirs, value)
        return ExtraMetrics({f"mteb_{metric}": theirs})

    def _filtered(self, subsets: Sequence[str] | None, splits: Sequence[str] | None) -> Iterator[_Part]:
        """Yield the parts of all tasks.

        Raises:
            InputError: a subset or split is unknown, or a task has none of them.
        """
        tasks = [copy(leaf) for root in self._roots.values() for leaf in _leaves(root)]  # mteb shares benchmarks' tasks
        faults = []
        for key, given, names_of in (("subsets", subsets, _subsets), ("splits", splits, _splits)):
            known = list(dict.fromkeys(name for task in tasks for name in names_of(task)))
            if unknown := [name for name in given or () if name not in known]:
                close = did_you_mean(unknown[0], known)
                faults.append(f"{key} names {unknown[0]!r}{close}: choose from {', '.join(known[:_LISTED])}")
                continue
            for task in tasks:
                own = names_of(task)
                if given is not None and not set(own) & set(given) and not (key == "subsets" and len(own) == 1):
                    faults.append(f"{key}={list(given)}: {task.metadata.name} has {', '.join(own[:_LISTED])}")
        raise_errors(faults, "mistake in Mteb", type(self))
        for task in tasks:
            if subsets is not None and len(task.hf_subsets) > 1:
                task.hf_subsets = [name for name in task.hf_subsets if name in subsets]
            if splits is not None:
                task.filter_eval_splits([name for name in task.eval_splits if name in splits])
            yield from (_Part(task, subset, split) for subset in task.hf_subsets for split in task.eval_splits)

    def _leaf_names(self) -> dict[str, list[str]]:
        return {name: [leaf.metadata.name for leaf in _leaves(root)] for name, root in self._roots.items()}

    def _task(self, name: str, part: _Part) -> Task:
        """Return a part as a task."""
        data, of = part.data, part.task.metadata
        where = f"{of.name} of mteb"
        documents = {check_id(row["id"], f"{where}: a document's id"): _document(row, where) for row in data["corpus"]}
        queries = {check_id(row["id"], f"{where}: a query's id"): _query(row, where) for row in data["queries"]}
        qrels = {
            query_id: {
                str(doc_id): check_grade(label, f"{where}: the score of {doc_id!r} for query {query_id!r}")
                for doc_id, label in data["relevant_docs"][query_id].items()
            }
            for query_id in queries
            if data["relevant_docs"].get(query_id)
        }
        prompt = _prompt(part.task) if self._instructions else ""
        listed = data["top_ranked"]
        own = {query: frozenset({query}) for query in qrels if query in documents}
        ignored = part.task.ignore_identical_ids
        return Task(
            name=name,
            queries={query_id: Text(queries[query_id], prompt) for query_id in qrels},
            corpus=Corpus(list(documents), list(documents.values())),
            qrels=qrels,
            excluded=own if ignored else {},
            candidates={query_id: list(map(str, listed.get(query_id, ()))) for query_id in qrels} if listed else {},
            verbatim=True,
            protocol={
                "benchmark": f"mteb {version('mteb')}",
                "task": of.name,
                "type": of.type,
                "subset": part.subset,
                "split": part.split,
                "collection": of.dataset["path"],
                "revision": of.dataset["revision"],
                "licence": of.license or "not stated",
                "main score": of.main_score,
                "instruction": prompt,
                **({"candidates": "those of the task"} if listed else {}),
                "documents": str(len(documents)),
                "documents with a query's id": f"not ranked for it ({len(own)})" if ignored else "ranked",
            },
        )

    def _model_meta(self, system: EvaluatedSystem) -> Any:
        """Return what mteb's files say of a system."""
        from mteb.models import ModelMeta

        name, revision = f"reasonir/{system.name}", "no_revision_available"
        facts: dict[str, Any] = {"model_type": []}
        if system.encoder is not None:
            revision = identity_of(system.encoder)
            facts = _facts(system.encoder)
        if self._submit_as and system.name not in ("random", "bm25", "untrained"):
            name, revision = self._submit_as.split("@")
        return ModelMeta.create_empty({"name": name, "revision": revision, **facts})


class _Judged:
    """Rankings as a search model of mteb."""

    def __init__(self, meta: Any, runs: Mapping[tuple[str, str, str], Run]) -> None:
        self.mteb_model_meta = meta
        self._runs = runs

    def index(self, corpus: Any, **options: Any) -> None:
        """Do nothing: the documents are ranked."""

    def search(self, queries: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, **options: Any) -> Run:
        """Return the rankings of a part's queries."""
        run = self._runs[task_metadata.name, hf_subset, hf_split]
        return {query_id: dict(run.get(query_id, {})) for query_id in map(str, queries["id"])}  # mteb changes them


def _facts(encoder: Encoder) -> dict[str, Any]:
    """Return the facts of a model that mteb's files state."""
    head = encoder.head
    form = "sparse" if head.sparse else "dense" if head.single_vector else "late-interaction"
    return {
        "n_parameters": sum(weight.numel() for weight in encoder.parameters()),
        "framework": ["PyTorch"],
        "model_type": ["cross-encoder" if head.reads_pairs else form],
    }


def _roots(names: Sequence[str]) -> dict[str, Any]:
    """Return the tasks, aggregates among them, of names of tasks and benchmarks.

    Raises:
        InputError: mteb isn't installed, or a name is unknown or of another kind of task.
    """
    try:
        import mteb
    except ImportError as error:
        raise InputError(f"tasks={list(names)}: mteb isn't installed: pip install 'reasonir[mteb]'") from error
    found: dict[str, Any] = {}
    faults = []
    for name in names:
        try:
            task = mteb.get_task(name)
        except KeyError:
            try:
                members = list(mteb.get_benchmark(name).tasks)
            except KeyError:
                faults.append(_unknown(name))
                continue
            suited = [member for member in members if not _unsuited(member)]
            if not suited:
                faults.append(f"tasks names the benchmark {name!r}, which has no task of text retrieval or reranking")
            elif len(suited) < len(members):
                log.info("%s: %d tasks of other types are left out", name, len(members) - len(suited))
            found |= {member.metadata.name: member for member in suited}
        else:
            if fault := _unsuited(task):
                faults.append(f"tasks names {name!r}, which {fault}: choose tasks of text retrieval or reranking")
            found[task.metadata.name] = task
    raise_errors(faults, "mistake in Mteb")
    return found


def _unknown(name: str) -> str:
    import mteb
    from mteb.get_tasks import TASK_LIST

    known = [task.metadata.name for task in TASK_LIST] + [benchmark.name for benchmark in mteb.get_benchmarks()]
    site = "https://embeddings-benchmark.github.io/mteb"
    return f"tasks names {name!r}{did_you_mean(name, known)}: mteb {version('mteb')} has no such task ({site})"


def _unsuited(task: Any) -> str | None:
    """Return why a task can't be evaluated, None if it can."""
    if set(task.metadata.modalities) != {"text"}:
        return f"reads {', '.join(sorted(task.metadata.modalities))}"
    if task.metadata.type not in _TYPES:
        return f"is a task of {task.metadata.type}"
    return None


def _leaves(root: Any) -> Sequence[Any]:
    """Return the tasks of an aggregate, or a task itself."""
    return getattr(root.metadata, "tasks", None) or [root]


def _subsets(task: Any) -> Sequence[str]:
    return list(task.hf_subsets)


def _splits(task: Any) -> Sequence[str]:
    return list(task.eval_splits)


def _ours(metric: str) -> str | None:
    """Return our name of a metric of mteb, None if it isn't among ours."""
    name = _OURS.get(metric, metric)
    return name if name in NAMES else None


def _load(task: Any) -> None:
    """Read a task's data as mteb does, or, without network, from the hub's cache.

    Raises:
        InputError: it can't be read.
        NotHereError: it is neither cached nor available on the hub.
    """
    from huggingface_hub.errors import HfHubHTTPError

    of = task.metadata
    path, revision = of.dataset["path"], of.dataset["revision"]
    try:
        task.load_data()
    except (OSError, HfHubHTTPError) as error:
        try:
            folder = snapshot(path, repo_type="dataset", revision=revision)
        except (OSError, HfHubHTTPError):
            raise NotHereError(
                f"the data of mteb's {of.name} isn't on this machine and can't be downloaded "
                f"({str(error).splitlines()[0][:120]}): download it on a machine with network access, logged in if it "
                f"is private (hf download --repo-type dataset {path} --revision {revision})"
            ) from error
        task.metadata = of.model_copy(update={"dataset": {**of.dataset, "path": str(folder)}})
        try:
            task.load_data()
        except (OSError, ValueError) as fault:
            raise InputError(
                f"the data of mteb's {of.name} in {folder} is incomplete ({str(fault).splitlines()[0][:120]}): "
                f"hf download --repo-type dataset {path} --revision {revision}"
            ) from fault
        finally:
            task.metadata = of
    task.convert_v1_dataset_format_to_v2(num_proc=None)


def _prompt(task: Any) -> str:
    """Return the prompt for queries that mteb gives to models which take instructions."""
    prompt = task.metadata.prompt
    if isinstance(prompt, Mapping):
        return str(prompt.get("query") or "")
    return str(prompt or task.abstask_prompt)


def _document(row: Mapping[str, Any], where: str) -> str:
    """Return title and text as mteb's models read them."""
    title, text = row.get("title") or "", check_text(row["text"], f"{where}: a document's text", blank=True)
    return f"{title} {text}".strip()


def _query(row: Mapping[str, Any], where: str) -> str:
    """Return a query as mteb's models read it: with its own instruction, a conversation turn by turn."""
    said, instruction = row["text"], row.get("instruction")
    if isinstance(said, list):
        turns = [turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in said]
        return " ".join(filter(None, [instruction, "; ".join(turns)]))
    text = check_text(said, f"{where}: a query's text", blank=True)
    return text if instruction is None else f"{text} {instruction}"
