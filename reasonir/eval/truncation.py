"""Truncation of a benchmark's texts by a model's length limits: part of every result, with a warning above a share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reasonir.eval.systems import System
from reasonir.model.caching_encoder import MAX_CUT, CachingEncoder, Cut
from reasonir.types import Run, Task

log = logging.getLogger(__name__)
Report = dict[str, dict[str, dict[str, float]]]


@dataclass(slots=True)
class Truncation:
    """Counter of the truncation by `reader` while a system ranks with it."""

    reader: CachingEncoder
    _read: dict[int, tuple[Cut, Cut, Cut]] = field(default_factory=dict)

    def counting(self, system: System) -> System:
        """Return the system, recording the counts of each corpus."""
        reader = self.reader

        def rank(task: Task) -> Run:
            reader.documents = reader.pairs = reader.pair_queries = Cut()
            run = system(task)
            self._read[id(task.corpus)] = (reader.documents, reader.pairs, reader.pair_queries)
            return run

        return rank

    def report(self, tasks: Sequence[Task]) -> Report:
        """Return texts, share cut, tokens read and lost by task and side (queries, documents; or pairs, queries).

        Queries and documents are counted once each; pairs as often as they are scored.
        """
        return {task.name: self._sides(task) for task in tasks}

    def _sides(self, task: Task) -> dict[str, dict[str, float]]:
        documents, pairs, pair_queries = self._read[id(task.corpus)]
        if self.reader.head.reads_pairs:
            queries = {key: value for key, value in _shares(pair_queries).items() if key != "tokens"}
            return {"pairs": _shares(pairs), "queries": queries}
        queries_of = sum((self.reader.queries[text] for text in task.queries.values()), Cut())
        return {"queries": _shares(queries_of), "documents": _shares(documents)}

    def warn(self, report: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        """Warn of tasks in which many queries are truncated."""
        many = {task: sides["queries"]["cut"] for task, sides in report.items() if sides["queries"]["cut"] > MAX_CUT}
        if not many:
            return
        shares = ", ".join(f"{task} {share:.0%}" for task, share in many.items())
        limit = self.reader.head.tokenizer.limit("query")
        if not self.reader.head.reads_pairs:
            log.warning(
                "Queries longer than %d tokens were truncated: %s. Raise model.head.query_length "
                "(model.head.max_length of a bi-encoder)",
                limit,
                shares,
            )
        else:
            log.warning(
                "Queries were truncated in pairs of at most %d tokens: %s of the pairs. Raise model.head.max_length or "
                "model.head.query_share",
                limit,
                shares,
            )


def _shares(cut: Cut) -> dict[str, float]:
    return {"texts": cut.texts, "cut": round(cut.share, 4), "tokens": cut.tokens, "lost": cut.lost}
