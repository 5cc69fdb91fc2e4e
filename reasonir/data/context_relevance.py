"""Queries with passages whose sentences are judged (`reasonir.data.files.context_rows` has their schema).

What is taken of them is decided in this order: filter_zero_relevance, items, upsample_factor, n_samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from reasonir.data.base import Rejected
from reasonir.data.files.context_rows import files_of, read_examples, task_of
from reasonir.data.files.records import digests
from reasonir.types import Document, Example, Task
from reasonir.utils.ranges import NonNegative, Positive, Rule, Validated

_SHARE_OR_COUNT = Rule(
    lambda value: 0 < value <= 1 or (value > 1 and value % 1 == 0), "a share up to 1, or a whole number of rows"
)


@dataclass(frozen=True, slots=True)
class ContextRelevance(Validated):
    """Examples with judged spans.

    Attributes:
        path: a json, jsonl or parquet file, a folder of them, one that `datasets` saved, or a repository on the hub.
        split: which part of a folder.
        subset: which of a repository's sets.
        revision: branch, tag or commit of a hub id.
        dev_split: the part to choose checkpoints by; None holds queries of `split` out.
        teacher_column: the one column of teacher scores that is read; None reads all there are.
        filter_zero_relevance: keep, of the texts with a sentence that helps, the so many with the largest share of
            such; rows that have fewer are left out.
        hardest: keep those with the smallest share.
        keep_first: keep a row's first text in any case.
        items: texts a query: relevant ones first, then others drawn; rows that have fewer are left out.
        upsample_factor: how often each row is there; a fraction is drawn.
        n_samples: of what is left, a share (to 1) or a number of rows, drawn.
        seed: of what is drawn.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    revision: str | None = None
    dev_split: str | None = None
    teacher_column: str | None = None
    filter_zero_relevance: Positive | None = None
    hardest: bool = False
    keep_first: bool = False
    items: Annotated[int, Ge(2)] | None = None
    upsample_factor: Annotated[float, Ge(1)] = 1.0
    n_samples: Annotated[float, _SHARE_OR_COUNT] | None = None
    seed: NonNegative = 0

    def problems(self) -> Iterable[str]:
        """Rules of a choice that isn't made."""
        for key in ("hardest", "keep_first"):
            if getattr(self, key) and self.filter_zero_relevance is None:
                yield f"{key}=true says what filter_zero_relevance keeps: give that a number"

    @property
    def name(self) -> str:
        """The file's or repository's name."""
        return "-".join(filter(None, [Path(self.path).name.split(".")[0], self.subset]))

    def identity(self) -> Mapping[str, Any]:
        """Every option, and the hashes of the files."""
        taken = ("teacher_column", "filter_zero_relevance", "hardest", "keep_first", "items")
        options = {key: getattr(self, key) for key in (*taken, "upsample_factor", "n_samples", "seed")}
        files = files_of(self.path, self.split, self.subset, self.revision, "data")
        return {"source": "context_relevance", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """The rows that are left, those that stand more than once under ids of their own."""
        kept = [number for number, each in enumerate(self._narrowed()) if isinstance(each, Example)]
        times = Counter(self._drawn(kept))
        for number, each in enumerate(self._narrowed()):
            if isinstance(each, Rejected):
                yield each
            for copy in range(times[number] if isinstance(each, Example) else 0):
                assert isinstance(each, Example)
                yield replace(each, query_id=f"{each.query_id}#{copy + 1}") if copy else each

    def dev(self) -> Task | None:
        """To order the texts of each row of `dev_split`."""
        if self.dev_split is None:
            return None
        rows = read_examples(self.path, self.dev_split, subset=self.subset, revision=self.revision)
        return task_of("dev", rows, {"collection": self.name, "split": self.dev_split})

    def _narrowed(self) -> Iterator[Example | Rejected]:
        """Each row with the texts that are taken of it."""
        rows = read_examples(
            self.path, self.split, subset=self.subset, revision=self.revision, teacher_column=self.teacher_column
        )
        for number, example in enumerate(rows):
            documents = self._helpful(example.documents)
            documents = self._counted(documents, number)
            place = f"row {number + 1}, {example.query_id}"
            if len(documents) < max(self.filter_zero_relevance or 1, self.items or 1):
                yield Rejected("rows_with_too_few_texts", place, example.query)
            elif not any(document.label > 0 for document in documents):
                yield Rejected("rows_without_a_relevant_text", place, example.query)
            else:
                yield replace(example, documents=tuple(documents))

    def _helpful(self, documents: Sequence[Document]) -> Sequence[Document]:
        wanted = self.filter_zero_relevance
        if wanted is None:
            return documents
        first = documents[:1] if self.keep_first else ()
        rest = [document for document in documents[len(first) :] if any(document.span_labels)]
        rest.sort(key=lambda document: sum(document.span_labels) / len(document.span_labels), reverse=not self.hardest)
        return [*first, *rest][:wanted]

    def _counted(self, documents: Sequence[Document], number: int) -> Sequence[Document]:
        if self.items is None:
            return documents
        relevant = [document for document in documents if document.label > 0][: self.items]
        others = [document for document in documents if document.label <= 0]
        order = np.random.default_rng([self.seed, 0, number]).permutation(len(others))
        return [*relevant, *(others[place] for place in order[: self.items - len(relevant)])]

    def _drawn(self, rows: Sequence[int]) -> Sequence[int]:
        """The rows, each as often as it is taken."""
        draw = np.random.default_rng([self.seed, 1])
        whole = int(self.upsample_factor)
        tail = draw.permutation(rows)[: round((self.upsample_factor - whole) * len(rows))].tolist()
        found: list[int] = [*rows] * whole + tail
        if self.n_samples is None:
            return found
        count = ceil(self.n_samples * len(found)) if self.n_samples <= 1 else int(self.n_samples)
        return [found[place] for place in draw.permutation(len(found))[:count]]
