"""Queries with passages whose sentences are labelled (`reasonir.data.files.context_rows` documents the schema).

Options are applied in this order: filter_zero_relevance, items, upsample_factor, n_samples.
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
from reasonir.utils.ranges import Positive, Rule, Seed, Validated

_SHARE_OR_COUNT = Rule(
    lambda value: 0 < value <= 1 or (value > 1 and isinstance(value, int)), "a share up to 1, or a whole number of rows"
)


@dataclass(frozen=True, slots=True)
class ContextRelevance(Validated):
    """Examples with labelled spans.

    Attributes:
        path: a json, jsonl or parquet file, a folder of them, one that `datasets` saved, or a repository on the hub.
        split: part of a folder.
        subset: configuration of a repository.
        revision: branch, tag or commit of a hub id.
        dev_split: part that selects the best checkpoint; None holds out queries of `split`.
        teacher_column: the only column of teacher scores to read; None reads all.
        filter_zero_relevance: keep this many texts per row, those with the largest share of sentences that help, and
            at least one such sentence; rows with fewer are dropped. None keeps all texts.
        hardest: keep the texts with the smallest share instead.
        keep_first: always keep a row's first text.
        items: texts per query: relevant ones first, then others drawn at random; rows with fewer are dropped. None
            keeps all.
        upsample_factor: how often each row is repeated; a fraction is drawn.
        n_samples: rows to draw afterwards, as a share (up to 1) or a number; None keeps all.
        seed: of all draws.
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
    seed: Seed = 0

    def problems(self) -> Iterable[str]:
        """Yield a message for each option that has no effect."""
        for key in ("hardest", "keep_first"):
            if getattr(self, key) and self.filter_zero_relevance is None:
                yield f"{key}=true has no effect without filter_zero_relevance: give that a number"

    @property
    def name(self) -> str:
        """Name of the file or repository."""
        return "-".join(filter(None, [Path(self.path).name.split(".")[0], self.subset]))

    def identity(self) -> Mapping[str, Any]:
        """Return the options and the hashes of the files."""
        keys = ("teacher_column", "filter_zero_relevance", "hardest", "keep_first", "items")
        options = {key: getattr(self, key) for key in (*keys, "upsample_factor", "n_samples", "seed")}
        files = files_of(self.path, self.split, self.subset, self.revision, "data")
        return {"source": "context_relevance", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield the selected rows, repeated ones with an id per copy, and the rejected rows in between."""
        numbers = [number for number, row in enumerate(self._filtered()) if isinstance(row, Example)]
        times = Counter(self._drawn(numbers))
        for number, row in enumerate(self._filtered()):
            if isinstance(row, Rejected):
                yield row
                continue
            for copy in range(times[number]):
                yield replace(row, query_id=f"{row.query_id}#{copy + 1}") if copy else row

    def dev(self) -> Task | None:
        """Return the task of ranking the texts of each row of `dev_split`, if set."""
        if self.dev_split is None:
            return None
        rows = read_examples(self.path, self.dev_split, subset=self.subset, revision=self.revision)
        return task_of("dev", rows, {"collection": self.name, "split": self.dev_split})

    def _filtered(self) -> Iterator[Example | Rejected]:
        """Yield each row with its selected texts."""
        rows = read_examples(
            self.path, self.split, subset=self.subset, revision=self.revision, teacher_column=self.teacher_column
        )
        for number, example in enumerate(rows):
            documents = self._most_helpful(example.documents)
            documents = self._limited(documents, number)
            location = f"row {number + 1}, {example.query_id}"
            if len(documents) < max(self.filter_zero_relevance or 1, self.items or 1):
                yield Rejected("rows_with_too_few_texts", location, example.query)
            elif not any(document.label > 0 for document in documents):
                yield Rejected("rows_without_a_relevant_text", location, example.query)
            else:
                yield replace(example, documents=tuple(documents))

    def _most_helpful(self, documents: Sequence[Document]) -> Sequence[Document]:
        count = self.filter_zero_relevance
        if count is None:
            return documents
        first = documents[:1] if self.keep_first else ()
        rest = [document for document in documents[len(first) :] if any(document.span_labels)]
        rest.sort(key=lambda document: sum(document.span_labels) / len(document.span_labels), reverse=not self.hardest)
        return [*first, *rest][:count]

    def _limited(self, documents: Sequence[Document], number: int) -> Sequence[Document]:
        if self.items is None:
            return documents
        relevant = [document for document in documents if document.label > 0][: self.items]
        others = [document for document in documents if document.label <= 0]
        order = np.random.default_rng([self.seed, 0, number]).permutation(len(others))
        return [*relevant, *(others[index] for index in order[: self.items - len(relevant)])]

    def _drawn(self, rows: Sequence[int]) -> Sequence[int]:
        """Return the drawn row numbers, repeated by the upsampling factor."""
        draw = np.random.default_rng([self.seed, 1])
        whole = int(self.upsample_factor)
        tail = draw.permutation(rows)[: round((self.upsample_factor - whole) * len(rows))].tolist()
        upsampled: list[int] = [*rows] * whole + tail
        if self.n_samples is None:
            return upsampled
        count = ceil(self.n_samples * len(upsampled)) if self.n_samples <= 1 else int(self.n_samples)
        return [upsampled[index] for index in draw.permutation(len(upsampled))[:count]]
