"""BRIGHT (Su et al. 2024, arXiv:2407.12883) by its own protocol: twelve splits of reasoning-intensive queries.

Excluded documents are masked before the ranking is cut to the top 1,000, judgements are binary, ties are broken as in
pytrec_eval. The main metric is nDCG@10, averaged over the twelve splits without weights; for whole documents it is
Recall@1. Corrected judgements, in which every exact copy of a relevant document is relevant too (castorini's `.fixed`
files if the folder has them, otherwise copies are looked up in the corpus), are scored in the same pass. mteb's
protocol differs in the instructions given to the models, not in ranking or scoring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import MinLen

from reasonir.data.files.bright import (
    GROUPS,
    HUB_ID,
    LONG_SPLITS,
    REVISION,
    folder_of,
    read_corpus,
    read_queries,
)
from reasonir.data.files.corpus_store import StoredCorpus
from reasonir.data.files.records import Record
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.expansion import expanded, read_expansions
from reasonir.eval.instructions import Instructions
from reasonir.eval.leaderboard import Leaderboard, read_leaderboard
from reasonir.eval.results import HEADLINE, PER_QUERY
from reasonir.eval.systems import CORRECTED
from reasonir.eval.trec import read_judgements
from reasonir.types import Corpus, Qrels, Task, Text
from reasonir.utils.ranges import Validated


@dataclass(frozen=True, slots=True)
class Bright(Benchmark, Validated):
    """The splits of BRIGHT as tasks; benchmarks in its layout derive from it.

    Attributes:
        title: name of the benchmark.
        kinds: its splits by kind.
        long_splits: splits with whole documents.
        boards: file of its published results.
        corrects: exact copies of relevant documents are relevant in further judgements.
        path: folder, or dataset repository on the hub.
        splits: a selection of the twelve; None for all splits of this setting.
        revision: commit of the hub id.
        long: search whole documents (eight splits) instead of their passages.
        queries: configuration of the queries: examples, or one of BRIGHT's rewritten ones (gpt4_reason, ...); or a
            file of rows with id, query and, if it covers several splits, split.
        expansion: rewritten queries "replace" the original or are "append"ed to it.
        instructions: instructions by split; they reach the model through `model.prompts`.
        protocol: name of the evaluation protocol, recorded with every result.
        metric: the main metric; None for the setting's default.
        kept: folder for memory-mapped corpora.
    """

    title: ClassVar[str] = "BRIGHT"
    kinds: ClassVar[Mapping[str, Sequence[str]]] = GROUPS
    long_splits: ClassVar[Sequence[str]] = LONG_SPLITS
    boards: ClassVar[Path] = Path(__file__).with_name("bright.toml")
    corrects: ClassVar[bool] = True

    path: str = HUB_ID
    splits: Annotated[Sequence[str], MinLen(1)] | None = None
    revision: str | None = REVISION
    long: bool = False
    queries: str = "examples"
    expansion: Literal["replace", "append"] = "replace"
    instructions: Instructions = field(default_factory=Instructions)
    protocol: Literal["bright-official", "mteb-1.1"] = "bright-official"
    metric: str | None = None
    kept: str = "data/corpora"

    def problems(self) -> Iterable[str]:
        """Unknown splits and metrics."""
        for split in self.splits or ():
            if split not in self._known:
                yield f"splits names {split!r}: choose from {', '.join(self._known)}"
        if self.metric not in (None, *PER_QUERY):
            yield f"metric={self.metric}: choose one of {', '.join(PER_QUERY)}"
        for split in self.instructions.by_split:
            if split not in self._all:
                yield f"instructions.by_split names {split!r}: choose from {', '.join(self._all)}"

    @property
    def _all(self) -> Sequence[str]:
        return [split for splits in self.kinds.values() for split in splits]

    @property
    def _known(self) -> Sequence[str]:
        return self.long_splits if self.long else self._all

    @property
    def chosen(self) -> tuple[str, ...]:
        """The selected splits in the benchmark's order."""
        return tuple(split for split in self._known if self.splits is None or split in self.splits)

    @property
    def headline(self) -> str:
        """The main metric: Recall@1 for whole documents, nDCG@10 for passages."""
        return self.metric or ("recall_at_1" if self.long else HEADLINE)

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Means over all splits and over each kind of splits, by official and by corrected judgements."""
        whole, name = self._known, self._name
        kinds = {f"{name}_{kind}": [split for split in splits if split in whole] for kind, splits in self.kinds.items()}
        official = {name: list(whole)} | {
            kind: splits for kind, splits in kinds.items() if 1 < len(splits) < len(whole)
        }
        if not self.corrects:
            return official
        corrected = {
            f"{name}_{CORRECTED}": [f"{split}_{CORRECTED}" for split in splits] for name, splits in official.items()
        }
        return official | corrected

    @property
    def leaderboard(self) -> Leaderboard:
        """The published results in this setting."""
        return read_leaderboard(self.boards, f"{self._name}_long" if self.long else self._name)

    @property
    def _name(self) -> str:
        """Name of the mean over all splits, and of the leaderboard."""
        return re.sub(r"\W", "_", self.title.lower())

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield one task per split; splits with equal documents share one corpus; no documents without `corpus`."""
        folder = self.folder()
        shared: dict[str, StoredCorpus] = {}
        for split in self.chosen:
            documents = StoredCorpus(Corpus([], []), np.empty(0, dtype=np.int64), split)
            if corpus:
                documents = read_corpus(folder, split, Path(self.kept).expanduser(), long=self.long)
            documents = shared.setdefault(documents.digest, documents)
            yield self._task(folder, split, documents)

    def folder(self) -> Path:
        """Return the folder with the files."""
        return folder_of(self.path, revision=self.revision, key="eval.path")

    def _task(self, folder: Path, split: str, documents: StoredCorpus) -> Task:
        rows = list(read_queries(folder, split))
        if not rows:
            raise InputError(f"{folder} has no queries of split {split}: fetch it again")
        gold = "gold_ids_long" if self.long else "gold_ids"
        official = {row.values["id"]: dict.fromkeys(row.values[gold], 1) for row in rows}
        for row in rows:
            if not row.values[gold]:
                raise InputError(
                    f"{row.location}: query {row.values['id']!r} has no {gold}: add one or remove the query"
                )
        known = set(documents.corpus.ids)
        excluded = {row.values["id"]: frozenset(row.values["excluded_ids"]) for row in rows}
        protocol = {
            "benchmark": self.title,
            "protocol": self.protocol,
            "split": split,
            "setting": "long" if self.long else "short",
            "revision": (self.revision or "")
            if self.path.count("/") == 1 and not Path(self.path).exists()
            else "local",
            "queries": self.queries if self.queries == "examples" else f"{self.queries} ({self.expansion})",
            "instruction": self.instructions.of(split, long=self.long),
        }
        return Task(
            name=split,
            queries=self._texts(folder, split, rows),
            corpus=documents.corpus,
            qrels=official,
            excluded={q: ids & known if known else ids for q, ids in excluded.items()},
            protocol=protocol,
            judgements=self._corrected(folder, split, official, excluded, documents) if self.corrects else {},
        )

    def _texts(self, folder: Path, split: str, rows: Sequence[Record]) -> dict[str, Text]:
        instruction = self.instructions.of(split, long=self.long)
        original = {row.values["id"]: row.values["query"] for row in rows}
        if self.queries == "examples":
            return {query_id: Text(text, instruction) for query_id, text in original.items()}
        rewritten = self._rewritten(folder, split)
        if missing := sorted(original.keys() - rewritten.keys()):
            raise InputError(f"eval.queries={self.queries}: split {split} has no row for query {missing[0]!r}: add it")
        return {
            query_id: Text(expanded(text, rewritten[query_id], self.expansion), instruction)
            for query_id, text in original.items()
        }

    def _rewritten(self, folder: Path, split: str) -> Mapping[str, str]:
        file = Path(self.queries).expanduser()
        if not file.is_file():
            return {row.values["id"]: row.values["query"] for row in read_queries(folder, split, self.queries)}
        return read_expansions(file, split, "split")

    def _corrected(
        self, folder: Path, split: str, official: Qrels, excluded: Mapping[str, frozenset[str]], documents: StoredCorpus
    ) -> Mapping[str, Qrels]:
        file = folder / split / "qrels_fixed.txt"
        if not self.long and file.is_file():
            return {CORRECTED: read_judgements(file)}
        if not len(documents.corpus):
            return {}
        duplicates = _Duplicates(documents)
        return {
            CORRECTED: {
                query_id: {
                    copy: 1 for doc_id in labels for copy in duplicates.of(doc_id) if copy not in excluded[query_id]
                }
                for query_id, labels in official.items()
            }
        }


class _Duplicates:
    """Lookup of documents with equal text."""

    def __init__(self, documents: StoredCorpus) -> None:
        self._corpus = documents.corpus
        self._index = {doc_id: index for index, doc_id in enumerate(documents.corpus.ids)}
        self._order_N = np.argsort(documents.keys_N, kind="stable")
        self._keys_N = documents.keys_N[self._order_N]
        self._key_of = documents.keys_N

    def of(self, doc_id: str) -> list[str]:
        """Return the ids of all documents with the text of `doc_id`, itself included; unknown ids have no copies."""
        if doc_id not in self._index:
            return [doc_id]
        ids, texts, index = self._corpus.ids, self._corpus.texts, self._index[doc_id]
        first, last = (np.searchsorted(self._keys_N, self._key_of[index], side) for side in ("left", "right"))
        return [ids[other] for other in self._order_N[first:last].tolist() if texts[other] == texts[index]]
