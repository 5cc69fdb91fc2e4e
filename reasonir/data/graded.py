"""Rated pairs: a query, a document, and its relevance on a scale (such as Home Depot product search).

All documents of a query, in any spelling, are one example and go to one part (`reasonir.data.splits.stratified`).
Labels run from 0, the lowest relevance, to 1, the highest, or are binary at `threshold`. Dev and test rank the
documents that were rated for a query; a document's gain in nDCG is its distance from the lowest relevance.

Documents may be rated for queries of several parts: the manifest counts them. A document that is relevant in dev or
test is dropped from the training negatives.
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
from reasonir.utils.ranges import Ascending, NonNegative, Positive, Seed, Validated

log = logging.getLogger(__name__)

GRADES = 24
"""Steps from the lowest to the highest relevance in qrels, which are whole numbers: thirds and quarters fit."""


@dataclass(frozen=True, slots=True)
class Graded(Validated):
    """Examples from rows of query, document and relevance.

    Attributes:
        path: file, folder or hub id; of a folder all files of the first kind it has are read.
        columns: names of the columns.
        scale: the lowest and the highest relevance.
        threshold: lowest relevance of a relevant document, for binary labels and metrics.
        labels: "soft" for the position on the scale, "binary" for 1 from `threshold` on and 0 below.
        max_words: words to keep of the last text column; None keeps all. The head truncates to its length in any case.
        lower: convert all texts to lower case.
        splits: shares of the queries for train, dev and test.
        bins: mean relevances that divide the queries into strata.
        sample: number of queries to draw by `seed`; None uses all.
        corpus_negatives: random documents of the training part per training query, with label 0.
        min_documents: queries with fewer documents are skipped in dev and test.
        seed: of all draws.
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
    seed: Seed = 0
    revision: str | None = None

    def problems(self) -> Iterable[str]:
        """Yield a message for a wrong scale or threshold."""
        low, high = self.scale
        if not low < high:
            yield f"scale={list(self.scale)}: give the lowest and the highest relevance, such as [1,3]"
        elif not low < self.threshold <= high:
            yield f"threshold={self.threshold}: give a relevance above {low} and up to {high}"

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return Path(self.path).expanduser().absolute().name.split(".")[0]

    def identity(self) -> Mapping[str, Any]:
        """Return the options and the hashes of the files."""
        files = files_of(self.path, revision=self.revision)
        options = {key: value for key, value in asdict(self).items() if key not in ("path", "revision")}
        return {"source": "graded", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield one example per training query that has a document of label above 0."""
        judgements = self._read()
        yield from judgements.other_wordings
        pool = list(judgements.documents("train"))
        for query_id, query in judgements.part("train").items():
            documents = [
                Document(doc_id, judgements.texts[doc_id], label=self._label(relevance))
                for doc_id, relevance in query.relevance.items()
            ]
            if not any(document.label > 0 for document in documents):
                yield Rejected("query_without_positive", f"query {query_id}", query.text)
                continue
            drawn = self._corpus_negatives(query_id, query, pool)
            documents += [Document(doc_id, judgements.texts[doc_id], label=0.0) for doc_id in drawn]
            yield Example(query_id, query.text, tuple(documents))

    def dev(self) -> Task | None:
        """Return the task of the dev queries that can be ranked; None if dev's share is 0."""
        return self._ranked("dev", self._read()) if self.splits[1] else None

    def tests(self) -> Iterator[Task]:
        """Yield the task of the test queries that can be ranked, unless test's share is 0."""
        if self.splits[2]:
            yield self._ranked("test", self._read())

    def pairs(self, part: str) -> tuple[Task, Mapping[str, Mapping[str, float]]]:
        """Return the task of all queries of a part, even those that can't be ranked, and their documents' relevance."""
        judgements = self._read()
        queries = judgements.part(part)
        return self._task(part, queries, judgements), {query_id: query.relevance for query_id, query in queries.items()}

    def notes(self) -> dict[str, Any]:
        """Return the sizes of the parts, and the numbers of queries (always 0) and documents that two parts share."""
        judgements = self._read()
        parts, shared = {}, {}
        for part in PARTS:
            relevances = [value for query in judgements.part(part).values() for value in query.relevance.values()]
            parts[part] = {
                "queries": len(judgements.part(part)),
                "documents": len(judgements.documents(part)),
                "pairs": len(relevances),
                "mean_relevance": round(fmean(relevances), 4) if relevances else None,
            }
        spelt = {part: {normalise(query.text) for query in judgements.part(part).values()} for part in PARTS}
        for first, second in combinations(PARTS, 2):
            shared[f"{first}/{second}"] = {
                "queries": len(spelt[first] & spelt[second]),
                "documents": len(judgements.documents(first).keys() & judgements.documents(second).keys()),
            }
            both = shared[f"{first}/{second}"]
            log.info("In %s and %s: %d queries, %d documents", first, second, both["queries"], both["documents"])
        return {"parts": parts, "shared": shared}

    def grade(self, relevance: float) -> int:
        """Return the whole number for a relevance in qrels: 0 for the lowest."""
        return round(GRADES * self._rescaled(relevance))

    def relevant(self, relevance: float) -> bool:
        """Return whether a relevance is `threshold` or more, at the resolution of `grade`."""
        return self.grade(relevance) >= self.grade(self.threshold)

    def _rescaled(self, relevance: float) -> float:
        low, high = self.scale
        return (relevance - low) / (high - low)

    def _label(self, relevance: float) -> float:
        return self._rescaled(relevance) if self.labels == "soft" else float(self.relevant(relevance))

    def _corpus_negatives(self, query_id: str, query: RatedQuery, pool: Sequence[str]) -> list[str]:
        """Draw documents of other training queries, without repetition."""
        if not self.corpus_negatives:
            return []
        draw = np.random.default_rng([self.seed, content_key(query_id) & 0xFFFFFFFF])
        count = min(len(pool), self.corpus_negatives + len(query.ratings))
        chosen = [pool[index] for index in draw.choice(len(pool), count, replace=False).tolist()]
        return [doc_id for doc_id in chosen if doc_id not in query.ratings][: self.corpus_negatives]

    def _ranked(self, part: str, judgements: Judgements) -> Task:
        """Return the task of a part's queries with enough documents, one of them relevant.

        Raises:
            InputError: there is no such query.
        """
        everything = judgements.part(part)
        queries = {
            query_id: query
            for query_id, query in everything.items()
            if len(query.ratings) >= self.min_documents and any(map(self.relevant, query.relevance.values()))
        }
        if not queries:
            raise InputError(
                f"data.path={self.path}: none of the {len(everything)} {part} queries has {self.min_documents} rated "
                f"documents, one of relevance {self.threshold} or more: give more rows, or lower data.min_documents"
            )
        return self._task(part, queries, judgements, unranked=len(everything) - len(queries))

    def _task(self, part: str, queries: Mapping[str, RatedQuery], judgements: Judgements, *, unranked: int = 0) -> Task:
        documents = {doc_id: judgements.texts[doc_id] for doc_id in judgements.documents(part)}
        return Task(
            name=self.name if part == "test" else f"{self.name}-{part}",
            queries={query_id: Text(query.text) for query_id, query in queries.items()},
            corpus=Corpus(list(documents), list(documents.values())),
            qrels={
                query_id: {doc_id: self.grade(value) for doc_id, value in query.relevance.items()}
                for query_id, query in queries.items()
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
            candidates={query_id: list(query.ratings) for query_id, query in queries.items()},
            relevant_from=self.grade(self.threshold),
        )

    def _read(self) -> Judgements:
        """Read all rows and split the queries.

        Raises:
            InputError: a row can't be used, or there are too few queries to split.
        """
        files = files_of(self.path, revision=self.revision)
        rows = read_ratings(files, self.columns, self.scale, max_words=self.max_words, lower=self.lower)
        queries, texts, others = gather(rows)
        if self.sample is not None:
            queries = {key: queries[key] for key in shuffled(list(queries), seed=self.seed)[: self.sample]}
        means = {key: fmean(query.relevance.values()) for key, query in queries.items()}
        part_of = divide(means, self.splits, self.bins, seed=self.seed)
        for part, share in zip(PARTS, self.splits, strict=True):
            if share and part not in part_of.values():
                raise InputError(
                    f"data.splits={list(self.splits)}: the {len(queries)} queries of data.path={self.path} leave none "
                    f"for {part}: give more rows, or set its share to 0"
                )
        return Judgements(queries, part_of, texts, others)
