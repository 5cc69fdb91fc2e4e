"""The queries that a report shows: those that went worst, and those that gained most over an untrained model or words.

Only the documents that are shown are fetched, since a benchmark may have a million of them.
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
class Chosen:
    """A query of a task: its metric, that of the system it is compared with, where its first relevant document is.

    `first` is that place's reciprocal, 0 where no relevant document is ranked.
    """

    task: Task
    query_id: str
    value: float
    before: float | None
    first: float

    @property
    def gain(self) -> float:
        """How far it is ahead of what it is compared with."""
        return 0.0 if self.before is None else self.value - self.before


def examples_of(tasks: Sequence[Task], results: Results, judged: str, encoder: Encoder | None) -> Examples:
    """The worst and the most improved queries of the system `judged`, as `encoder`, its model, reads them."""
    systems = set.intersection(*(set(results.values[task.name]) for task in tasks)) - {judged}
    against = next((name for name in ("untrained", "bm25") if name in systems), "")
    every = [each for task in tasks for each in _values(task, results, judged, against)]
    worst = _first([each for each in every if each.value < 1], lambda each: (each.value, each.first))
    improved = _first([each for each in every if each.gain > 0], lambda each: (-each.gain, -each.value))
    reading, show = reading_of(encoder)
    texts = _texts([*worst, *improved], results, judged)

    def asked(each: Chosen) -> Query:
        query = each.task.queries[each.query_id]
        first, missed = _hits(each, results, judged)
        shown = [*first, *missed[:MISSED]]
        there = [hit.doc_id for hit in shown if (id(each.task.corpus), hit.doc_id) in texts]
        passages = show(query, [texts[id(each.task.corpus), doc] for doc in there])
        by_id = dict(zip(there, passages, strict=True))
        filled = [replace(hit, passage=by_id.get(hit.doc_id)) for hit in shown]
        return Query(
            each.task.name,
            each.query_id,
            query.text if len(query.text) <= _LONGEST else f"{query.text[:_LONGEST]} …",
            query.instruction,
            each.value,
            each.before,
            filled[: len(first)],
            filled[len(first) :],
            len(missed[MISSED:]),
            len(results.runs[each.task.name][judged].get(each.query_id, {})),
        )

    gains = [each.gain for each in every]
    return Examples(
        results.headline,
        [asked(each) for each in worst],
        [asked(each) for each in improved] if against else None,
        against,
        (sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains), sum(gain == 0 for gain in gains)),
        reading,
    )


def _values(task: Task, results: Results, judged: str, against: str) -> Iterable[Chosen]:
    ours, theirs = results.values[task.name][judged], results.values[task.name].get(against)
    for query_id in task.queries:
        before = theirs[query_id][results.headline] if theirs else None
        yield Chosen(task, query_id, ours[query_id][results.headline], before, ours[query_id]["mrr"])


def _first(every: Sequence[Chosen], key: Callable[[Chosen], tuple[float, ...]]) -> list[Chosen]:
    """The first by `key`; of equals, the tasks take turns."""
    places: Counter[str] = Counter()
    turns = []
    for each in sorted(every, key=key):
        turns.append((key(each), places[each.task.name], each))
        places[each.task.name] += 1
    return [each for *_, each in sorted(turns, key=lambda turn: turn[:2])[:SHOWN]]


def _hits(each: Chosen, results: Results, judged: str) -> tuple[list[RankedHit], list[RankedHit]]:
    """The first documents of a ranking, and all other relevant ones, the best ranked first; without passages."""
    task = each.task
    ranking = ordered(results.runs[task.name][judged].get(each.query_id, {}))
    wanted = {doc for doc, label in task.qrels[each.query_id].items() if label >= task.relevant_from}
    found = [RankedHit(doc, doc in wanted, rank, score, None) for rank, (doc, score) in enumerate(ranking, 1)]
    absent = sorted(wanted.difference(doc for doc, _ in ranking))
    missed = [hit for hit in found[FIRST:] if hit.relevant]
    return found[:FIRST], [
        *missed,
        *(RankedHit(doc, relevant=True, rank=None, score=None, passage=None) for doc in absent),
    ]


def _texts(chosen: Sequence[Chosen], results: Results, judged: str) -> dict[tuple[int, str], str]:
    """The documents that are shown of the corpora that are there, by corpus and id."""
    corpora: dict[int, Corpus] = {}
    wanted: dict[int, set[str]] = {}
    for each in chosen:
        first, missed = _hits(each, results, judged)
        corpora[id(each.task.corpus)] = each.task.corpus
        wanted.setdefault(id(each.task.corpus), set()).update(hit.doc_id for hit in (*first, *missed[:MISSED]))
    return {
        (number, doc): corpus.texts[place]
        for number, corpus in corpora.items()
        for place, doc in enumerate(corpus.ids)
        if doc in wanted[number]
    }
