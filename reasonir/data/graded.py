"""Judged pairs: a query, a document, and how relevant raters found it (Home Depot product search and its like).

All documents of a query, however it is spelt, are one example, and go to one part (`reasonir.data.splits.stratified`).
Labels run from 0, the lowest relevance, to 1, the highest, or are cut at `threshold`. Dev and test order the documents
that were judged for a query; the gain of one in nDCG is its distance from the lowest relevance, so that the lowest
gains nothing.

Documents may be judged for queries of several parts: the manifest counts them. Where one is relevant in dev or test,
training drops it from the negatives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from reasonir.data.base import Rejected, content_key
from reasonir.data.files.ratings import Judgements, RatedQuery, RatingColumns, files_of, gather, read_ratings
from reasonir.data.files.records import digests
from reasonir.data.splits.shares import PARTS, Shares
from reasonir.data.splits.stratified import divide, normalise, shuffled
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.ranges import Ascending, NonNegative, Positive, Validated

log = logging.getLogger(__name__)

GRADES = 24
"""Steps from the lowest to the highest relevance in judgements, which are whole numbers: thirds and quarters fit."""


@dataclass(frozen=True, slots=True)
class Graded(Validated):
    """Examples from rows of query, document and relevance.

    Attributes:
        path: file, folder or hub id; of a folder all its files of the first kind found are read.
        columns: what the columns are called.
        scale: the lowest and the highest relevance.
        threshold: the relevance from which a document counts as relevant, in binary labels and in metrics.
        labels: "soft" for the place on the scale, "binary" for 1 from `threshold` on and 0 below.
        max_words: of the last text column; None keeps all. What a model can't read is cut by its head in any case.
        lower: put all texts in small letters.
        splits: shares of the queries for train, dev and test.
        bins: mean relevances that divide the queries into strata.
        sample: use that many queries, drawn by `seed`; None uses all.
        corpus_negatives: random documents of the training part for each training query, with label 0.
        min_documents: queries with fewer aren't ranked in dev and test.
        seed: of all that is drawn.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    columns: RatingColumns = field(default_factory=RatingColumns)
    scale: tuple[float, float] = (1, 3)
    threshold: float = 2.33
    labels: Literal["soft", "binary"] = "soft"
    max_words: Positive | None = None
    lower: bool = False
    splits: Shares = (0.7, 0.15, 0.15)
    bins: Annotated[Sequence[float], Ascending] = (1.67, 2.0, 2.33)
    sample: Annotated[int, Ge(3)] | None = None
    corpus_negatives: NonNegative = 0
    min_documents: Positive = 2
    seed: NonNegative = 0
    revision: str | None = None

    def problems(self) -> Iterable[str]:
        """A threshold off the scale."""
        low, high = self.scale
        if not low < high:
            yield f"scale={list(self.scale)}: give the lowest and the highest relevance, such as [1,3]"
        elif not low < self.threshold <= high:
            yield f"threshold={self.threshold}: give a relevance above {low} and up to {high}"

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return Path(self.path).expanduser().absolute().name.split(".")[0]

    def identity(self) -> Mapping[str, Any]:
        """Options and the hashes of the files."""
        files = files_of(self.path, revision=self.revision)
        options = {key: value for key, value in asdict(self).items() if key not in ("path", "revision")}
        return {"source": "graded", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """One example a training query that has a document of label above 0."""
        judgements = self._read()
        yield from judgements.other_wordings
        pool = list(judgements.documents("train"))
        for query_id, asked in judgements.part("train").items():
            documents = [
                Document(doc_id, judgements.texts[doc_id], label=self._label(relevance))
                for doc_id, relevance in asked.relevance.items()
            ]
            if not any(document.label > 0 for document in documents):
                yield Rejected("query_without_positive", f"query {query_id}", asked.text)
                continue
            drawn = self._corpus_negatives(query_id, asked, pool)
            documents += [Document(doc_id, judgements.texts[doc_id], label=0.0) for doc_id in drawn]
            yield Example(query_id, asked.text, tuple(documents))

    def dev(self) -> Task | None:
        """The dev queries that can be ranked; None where dev's share is 0."""
        return self._ranked("dev", self._read()) if self.splits[1] else None

    def tests(self) -> Iterator[Task]:
        """The test queries that can be ranked, if test's share isn't 0."""
        if self.splits[2]:
            yield self._ranked("test", self._read())

    def pairs(self, part: str) -> tuple[Task, Mapping[str, Mapping[str, float]]]:
        """All queries of a part, whether they can be ranked or not, and the relevance of their documents."""
        judgements = self._read()
        queries = judgements.part(part)
        return self._task(part, queries, judgements), {name: asked.relevance for name, asked in queries.items()}

    def notes(self) -> dict[str, Any]:
        """The sizes of the parts, and what two of them have in common: queries never, documents maybe."""
        judgements = self._read()
        parts, shared = {}, {}
        for part in PARTS:
            relevances = [value for asked in judgements.part(part).values() for value in asked.relevance.values()]
            parts[part] = {
                "queries": len(judgements.part(part)),
                "documents": len(judgements.documents(part)),
                "pairs": len(relevances),
                "mean_relevance": round(fmean(relevances), 4) if relevances else None,
            }
        spelt = {part: {normalise(asked.text) for asked in judgements.part(part).values()} for part in PARTS}
        for first, second in combinations(PARTS, 2):
            shared[f"{first}/{second}"] = {
                "queries": len(spelt[first] & spelt[second]),
                "documents": len(judgements.documents(first).keys() & judgements.documents(second).keys()),
            }
            both = shared[f"{first}/{second}"]
            log.info("In %s and %s: %d queries, %d documents", first, second, both["queries"], both["documents"])
        return {"parts": parts, "shared": shared}

    def grade(self, relevance: float) -> int:
        """The whole number that stands for a relevance in judgements: 0 for the lowest."""
        return round(GRADES * self._place(relevance))

    def relevant(self, relevance: float) -> bool:
        """Whether a relevance is `threshold` or more, to the step of `grade`."""
        return self.grade(relevance) >= self.grade(self.threshold)

    def _place(self, relevance: float) -> float:
        low, high = self.scale
        return (relevance - low) / (high - low)

    def _label(self, relevance: float) -> float:
        return self._place(relevance) if self.labels == "soft" else float(self.relevant(relevance))

    def _corpus_negatives(self, query_id: str, asked: RatedQuery, pool: Sequence[str]) -> list[str]:
        """Documents of other training queries, drawn without repetition."""
        if not self.corpus_negatives:
            return []
        draw = np.random.default_rng([self.seed, content_key(query_id) & 0xFFFFFFFF])
        wanted = min(len(pool), self.corpus_negatives + len(asked.judged))
        chosen = [pool[place] for place in draw.choice(len(pool), wanted, replace=False).tolist()]
        return [doc_id for doc_id in chosen if doc_id not in asked.judged][: self.corpus_negatives]

    def _ranked(self, part: str, judgements: Judgements) -> Task:
        """The task of a part's queries with documents enough, one of them relevant.

        Raises:
            InputError: there is no such query.
        """
        everything = judgements.part(part)
        queries = {
            query_id: asked
            for query_id, asked in everything.items()
            if len(asked.judged) >= self.min_documents and any(map(self.relevant, asked.relevance.values()))
        }
        if not queries:
            raise InputError(
                f"data.path={self.path}: none of the {len(everything)} {part} queries has {self.min_documents} judged "
                f"documents, one of relevance {self.threshold} or more: give more rows, or lower data.min_documents"
            )
        return self._task(part, queries, judgements, unranked=len(everything) - len(queries))

    def _task(self, part: str, queries: Mapping[str, RatedQuery], judgements: Judgements, *, unranked: int = 0) -> Task:
        documents = {doc_id: judgements.texts[doc_id] for doc_id in judgements.documents(part)}
        return Task(
            name=self.name if part == "test" else f"{self.name}-{part}",
            queries={query_id: Text(asked.text) for query_id, asked in queries.items()},
            corpus=Corpus(list(documents), list(documents.values())),
            qrels={
                query_id: {doc_id: self.grade(value) for doc_id, value in asked.relevance.items()}
                for query_id, asked in queries.items()
            },
            protocol={
                "collection": self.name,
                "split": part,
                "shares": "/".join(map(str, self.splits)),
                "seed": str(self.seed),
                "gain": f"relevance - {self.scale[0]:g}",
                "relevant": f"relevance >= {self.threshold:g}",
                "queries": str(len(queries)),
                "queries_not_ranked": str(unranked),
            },
            candidates={query_id: list(asked.judged) for query_id, asked in queries.items()},
            relevant_from=self.grade(self.threshold),
        )

    def _read(self) -> Judgements:
        """Read all rows and divide the queries.

        Raises:
            InputError: a row that can't be used, or too few queries to be divided.
        """
        files = files_of(self.path, revision=self.revision)
        rows = read_ratings(files, self.columns, self.scale, max_words=self.max_words, lower=self.lower)
        queries, texts, others = gather(rows)
        if self.sample is not None:
            queries = {key: queries[key] for key in shuffled(list(queries), seed=self.seed)[: self.sample]}
        means = {key: fmean(asked.relevance.values()) for key, asked in queries.items()}
        part_of = divide(means, self.splits, self.bins, seed=self.seed)
        for part, share in zip(PARTS, self.splits, strict=True):
            if share and part not in part_of.values():
                raise InputError(
                    f"data.splits={list(self.splits)}: {len(queries)} queries leave none for {part}: give more rows, "
                    "or set its share to 0"
                )
        return Judgements(queries, part_of, texts, others)
