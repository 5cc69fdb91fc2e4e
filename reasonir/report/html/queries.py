"""Queries of a report: those with the lowest metric, and those with the largest gains over the untrained model or BM25.

Only the documents on the page are read, since a benchmark may have millions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from reasonir.eval.results import Results
from reasonir.eval.trec import ordered
from reasonir.model.encoder import Encoder
from reasonir.report.html.page import Examples, Query, RankedHit
from reasonir.report.html.reading import reading_of
from reasonir.types import Corpus, Task

SHOWN, FIRST, MISSED = 5, 3, 2
_LONGEST = 600


@dataclass(frozen=True, slots=True)
class Candidate:
    """Candidate query of a task.

    Attributes:
        task: the task.
        query_id: id in the task.
        value: the metric.
        before: the metric of the system compared with; None without one.
        first: reciprocal rank of the first relevant document.
    """

    task: Task
    query_id: str
    value: float
    before: float | None
    first: float

    @property
    def gain(self) -> float:
        """Gain over the system compared with."""
        return 0.0 if self.before is None else self.value - self.before


def examples_of(tasks: Sequence[Task], results: Results, evaluated: str, encoder: Encoder | None) -> Examples:
    """Select the worst and the most improved queries of the system `evaluated`, whose model is `encoder`."""
    systems = set.intersection(*(set(results.values[task.name]) for task in tasks)) - {evaluated}
    against = next((name for name in ("untrained", "bm25") if name in systems), "")
    candidates = [candidate for task in tasks for candidate in _values(task, results, evaluated, against)]
    worst = _first([c for c in candidates if c.value < 1], lambda c: (c.value, c.first))
    improved = _first([c for c in candidates if c.gain > 0], lambda c: (-c.gain, -c.value))
    reading, show = reading_of(encoder)
    texts = _texts([*worst, *improved], results, evaluated)

    def shown_query(candidate: Candidate) -> Query:
        query = candidate.task.queries[candidate.query_id]
        first, missed = _hits(candidate, results, evaluated)
        shown = [*first, *missed[:MISSED]]
        available = [hit.doc_id for hit in shown if (id(candidate.task.corpus), hit.doc_id) in texts]
        passages = show(query, [texts[id(candidate.task.corpus), doc] for doc in available])
        by_id = dict(zip(available, passages, strict=True))
        filled = [replace(hit, passage=by_id.get(hit.doc_id)) for hit in shown]
        return Query(
            candidate.task.name,
            candidate.query_id,
            query.text if len(query.text) <= _LONGEST else f"{query.text[:_LONGEST]} …",
            query.instruction,
            candidate.value,
            candidate.before,
            filled[: len(first)],
            filled[len(first) :],
            len(missed[MISSED:]),
            len(results.runs[candidate.task.name][evaluated].get(candidate.query_id, {})),
        )

    gains = [candidate.gain for candidate in candidates]
    return Examples(
        results.headline,
        [shown_query(candidate) for candidate in worst],
        [shown_query(candidate) for candidate in improved] if against else None,
        against,
        (sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains), sum(gain == 0 for gain in gains)),
        reading,
    )


def _values(task: Task, results: Results, evaluated: str, against: str) -> Iterable[Candidate]:
    values, baseline = results.values[task.name][evaluated], results.values[task.name].get(against)
    for query_id in task.queries:
        before = baseline[query_id][results.headline] if baseline else None
        yield Candidate(task, query_id, values[query_id][results.headline], before, values[query_id]["mrr"])


def _first(candidates: Sequence[Candidate], key: Callable[[Candidate], tuple[float, ...]]) -> list[Candidate]:
    """Return the first by `key`; among equals, tasks take turns."""
    counts: Counter[str] = Counter()
    turns = []
    for candidate in sorted(candidates, key=key):
        turns.append((key(candidate), counts[candidate.task.name], candidate))
        counts[candidate.task.name] += 1
    return [candidate for *_, candidate in sorted(turns, key=lambda turn: turn[:2])[:SHOWN]]


def _hits(candidate: Candidate, results: Results, evaluated: str) -> tuple[list[RankedHit], list[RankedHit]]:
    """Return the top documents of a ranking, and all other relevant ones, the best ranked first; without passages."""
    task = candidate.task
    ranking = ordered(results.runs[task.name][evaluated].get(candidate.query_id, {}))
    relevant = {doc for doc, label in task.qrels[candidate.query_id].items() if label >= task.relevant_from}
    hits = [RankedHit(doc, doc in relevant, rank, score, None) for rank, (doc, score) in enumerate(ranking, 1)]
    absent = sorted(relevant.difference(doc for doc, _ in ranking))
    missed = [hit for hit in hits[FIRST:] if hit.relevant]
    return hits[:FIRST], [
        *missed,
        *(RankedHit(doc, relevant=True, rank=None, score=None, passage=None) for doc in absent),
    ]


def _texts(chosen: Sequence[Candidate], results: Results, evaluated: str) -> dict[tuple[int, str], str]:
    """Read the documents on the page, by corpus and id."""
    corpora: dict[int, Corpus] = {}
    wanted: dict[int, set[str]] = {}
    for candidate in chosen:
        first, missed = _hits(candidate, results, evaluated)
        corpora[id(candidate.task.corpus)] = candidate.task.corpus
        wanted.setdefault(id(candidate.task.corpus), set()).update(hit.doc_id for hit in (*first, *missed[:MISSED]))
    return {
        (number, doc): corpus.texts[index]
        for number, corpus in corpora.items()
        for index, doc in enumerate(corpus.ids)
        if doc in wanted[number]
    }
