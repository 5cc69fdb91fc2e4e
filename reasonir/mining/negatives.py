"""Hard negatives for every query of a prepared set: a window of its ranking without probable positives.

Relevant and excluded documents, existing negatives and the query's own text are removed before ranks are counted, so a
query with many positives has as many candidates as one with few. A document that scores nearly as high as the positive
is probably relevant too: `relative_margin` is the positive-aware limit of NV-Retriever (Moreira et al. 2024,
arXiv:2407.15831), `absolute_margin` its absolute form. Queries are searched and written in blocks, so memory holds the
documents and their index, not the data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le

from reasonir.data.base import Collection, Source, copy_key
from reasonir.data.batches.collate import SameQuery, positives_of_repeated_queries
from reasonir.data.prepared import MASKED, TEACHER, example_of, notes_of, read, read_manifest, write_set
from reasonir.mining.base import Candidate, Ranker, Searcher
from reasonir.mining.report import MiningTally, sentence
from reasonir.types import Corpus, Document, Example, Run, Text
from reasonir.utils.ranges import NonNegative, NonNegativeFloat, Positive, Seed, Validated
from reasonir.utils.sentences import count_words

log = logging.getLogger(__name__)
POSITIVES = {"highest": max, "lowest": min}


@dataclass(frozen=True, slots=True)
class HardNegatives(Validated):
    """Mining by search.

    Attributes:
        searcher: ranks the documents.
        num_negatives: negatives per query, fewer where fewer candidates remain.
        range_min: number of top ranks to skip.
        range_max: last rank to consider.
        absolute_margin: a negative's score is below the positive's by more than this; None sets no limit.
        relative_margin: a negative's score is below this share of the positive's (on negative scores, as far below it);
            None sets no limit.
        max_score: a negative's score is below this; None sets no limit.
        positive: which score sets those limits if there are several positives, the highest or the lowest.
        min_words: shorter documents are never negatives.
        sampling: take the first of the remaining candidates, or draw them at random.
        seed: draws them.
        replace_own: drop the negatives that come with the data.
        block: queries searched at a time; index=exact encodes the documents again for each block.
    """

    searcher: Searcher
    num_negatives: Positive = 4
    range_min: NonNegative = 10
    range_max: Positive = 100
    absolute_margin: NonNegativeFloat | None = None
    relative_margin: Annotated[float, Gt(0), Le(1)] | None = None
    max_score: float | None = None
    positive: Literal["highest", "lowest"] = "highest"
    min_words: NonNegative = 0
    sampling: Literal["first", "random"] = "random"
    seed: Seed = 0
    replace_own: bool = False
    block: Positive = 1024

    def problems(self) -> Iterable[str]:
        """Yield a message for an empty window of ranks."""
        if self.range_min >= self.range_max:
            yield f"range_max={self.range_max}: give more than range_min={self.range_min}"

    def add_negatives(self, prepared: Path, source: Source, home: Path) -> Path:
        """See `Mining.add_negatives`."""
        rows, manifest = read(prepared), read_manifest(prepared)
        if teachers := [name.removeprefix(TEACHER) for name in rows.column_names if name.startswith(TEACHER)]:
            log.warning("Mining drops the teacher scores (%s), since mined negatives have none", ", ".join(teachers))
        tally = MiningTally()
        folder = write_set(
            f"{source.name}-{self.searcher.name}",
            {"source": "mined", "of": manifest["identity"], "mining": self._identity()},
            lambda: self._examples(rows, source, tally),
            home,
            what="Mining",
            total=len(rows),
            notes=lambda: {**notes_of(manifest), "mining": tally.to_dict()},
        )
        log.info("%s", sentence(read_manifest(folder)["mining"]))
        return folder

    def _identity(self) -> Mapping[str, Any]:
        rules = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("searcher", "block")}
        return {"searcher": self.searcher.name, **self.searcher.identity(), "rules": rules}

    def _examples(self, rows: Any, source: Source, tally: MiningTally) -> Iterator[Example]:
        pool = _pool(source, rows)
        log.info("Mining %d documents for %d queries", len(pool), len(rows))
        ranker = self.searcher.open(Corpus(list(pool), [document.text for document in pool.values()]))
        same_query = positives_of_repeated_queries(rows)
        for start in range(0, len(rows), self.block):
            block = [rows[number] for number in range(start, min(len(rows), start + self.block))]
            ineligible = [self._ineligible(row, same_query) for row in block]
            queries = {row["query_id"]: Text(row["query"], row["instruction"]) for row in block}
            run = ranker.search(queries, self.range_max + max(map(len, ineligible)))
            positives = self._positive_scores(ranker, queries, block, run)
            for number, (row, reasons) in enumerate(zip(block, ineligible, strict=True), start):
                positive = positives.get(row["query_id"], 0.0)
                candidates = self._candidates(run[row["query_id"]], pool, reasons, positive, tally)
                chosen = self._choose(candidates, number)
                example = example_of(row)
                documents = [replace(document, teachers={}) for document in example.documents]
                if example.positives:
                    tally.add(example, chosen)
                    if self.replace_own:
                        documents = [document for document in documents if document.label > 0]
                    documents += [candidate.document for candidate in chosen]
                yield replace(example, documents=tuple(documents))
        tally.check_not_empty(self.range_min, self.range_max, len(pool))

    def _positive_scores(
        self, ranker: Ranker, queries: Mapping[str, Text], block: Sequence[Any], run: Run
    ) -> dict[str, float]:
        """Return the positive's score for each query, if a limit depends on it."""
        if self.absolute_margin is None and self.relative_margin is None:
            return {}
        wanted = {row["query_id"]: [str(key) for key in dict.fromkeys(row["pos_keys"])] for row in block}
        missing = {q: [doc for doc in doc_ids if doc not in run[q]] for q, doc_ids in wanted.items()}
        scored = ranker.score(queries, {q: doc_ids for q, doc_ids in missing.items() if doc_ids})
        best = POSITIVES[self.positive]
        return {
            q: best(run[q][doc] if doc in run[q] else scored[q][doc] for doc in doc_ids)
            for q, doc_ids in wanted.items()
        }

    def _ineligible(self, row: Any, same_query: SameQuery) -> dict[str, str]:
        """Return the documents that can't be new negatives of a row, whatever their score, each with the reason."""
        own = () if self.replace_own else row["neg_keys"]
        elsewhere = same_query.get((row["query_key"], row["instruction"]), ())
        reasons = {
            **dict.fromkeys(own, "already_negative"),
            row["query_key"]: "equals_query",
            **dict.fromkeys((*row["excluded_keys"], *row.get(MASKED, ())), "excluded"),
            **dict.fromkeys((*row["pos_keys"], *elsewhere), "relevant"),
        }
        return {str(key): reason for key, reason in reasons.items()}

    def _candidates(
        self,
        ranking: Mapping[str, float],
        pool: Mapping[str, Document],
        ineligible: Mapping[str, str],
        positive: float,
        tally: MiningTally,
    ) -> list[Candidate]:
        """Return the candidates in the window that break no rule; ranks count eligible documents."""
        candidates = []
        rank = 0
        for doc_id, score in ranking.items():
            if doc_id in ineligible:
                tally.removed[ineligible[doc_id]] += 1
                continue
            rank += 1
            if rank > self.range_max:
                break
            if rank <= self.range_min:
                continue
            tally.candidates += 1
            document = pool[doc_id]
            if rule := self._broken_rule(document, score, positive):
                tally.removed[rule] += 1
            else:
                candidates.append(Candidate(document, rank, score))
        return candidates

    def _broken_rule(self, document: Document, score: float, positive: float) -> str | None:
        """Return the first rule that a candidate breaks."""
        if count_words(document.text) < self.min_words:
            return "min_words"
        if self.max_score is not None and score >= self.max_score:
            return "max_score"
        if self.absolute_margin is not None and score >= positive - self.absolute_margin:
            return "absolute_margin"
        if self.relative_margin is not None and score >= positive - (1 - self.relative_margin) * abs(positive):
            return "relative_margin"
        return None

    def _choose(self, candidates: Sequence[Candidate], row: int) -> list[Candidate]:
        """Return up to `num_negatives` candidates, by rank; the draw depends on the row, not on its block."""
        if self.sampling == "first" or len(candidates) <= self.num_negatives:
            return list(candidates[: self.num_negatives])
        drawn = np.random.default_rng([self.seed, row]).choice(len(candidates), self.num_negatives, replace=False)
        return [candidates[number] for number in sorted(drawn.tolist())]


def _pool(source: Source, rows: Any) -> dict[str, Document]:
    """Return every distinct text of the source's collection and of the prepared rows, by its key, equal for copies.

    Labels, spans and teacher scores are dropped, since they hold for one query only.
    """
    collection: Iterable[Document] = source.collection() if isinstance(source, Collection) else ()
    labelled = (document for row in rows for document in example_of(row).documents)
    pool: dict[str, Document] = {}
    for document in chain(collection, labelled):
        unlabelled = replace(document, label=0.0, teachers={}, spans=(), span_labels=())
        pool.setdefault(str(copy_key(document.text)), unlabelled)
    return pool
