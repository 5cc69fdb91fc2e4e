"""What a model's limits cut off of a benchmark's texts: part of every result, and said aloud where it is much."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reasonir.eval.retrieval import System
from reasonir.model.reader import Cut, Reader
from reasonir.types import Run, Task

log = logging.getLogger(__name__)
_MUCH = 0.05


@dataclass(slots=True)
class Truncation:
    """Counts what `reader` cuts while a system searches with it."""

    reader: Reader
    _documents: dict[int, Cut] = field(default_factory=dict)

    def watching(self, system: System) -> System:
        """The system, its corpora's counts noted."""

        def rank(task: Task) -> Run:
            self.reader.documents = Cut()
            run = system(task)
            self._documents[id(task.corpus)] = self.reader.documents
            return run

        return rank

    def report(self, tasks: Sequence[Task]) -> dict[str, dict[str, dict[str, float]]]:
        """By task, for queries and documents: distinct texts, the share that was cut, tokens read and lost."""
        return {
            task.name: {
                "queries": _shares(sum((self.reader.queries[text] for text in task.queries.values()), Cut())),
                "documents": _shares(self._documents[id(task.corpus)]),
            }
            for task in tasks
        }


def warn(report: Mapping[str, Mapping[str, Mapping[str, float]]], length: int) -> None:
    """Say on which tasks many queries don't fit into `length` tokens."""
    many = {task: sides["queries"]["cut"] for task, sides in report.items() if sides["queries"]["cut"] > _MUCH}
    if many:
        log.warning(
            "Queries longer than %d tokens were cut: %s. A larger model.head.query_length (model.head.max_length of a "
            "bi-encoder) lets the model read them",
            length,
            ", ".join(f"{task} {share:.0%}" for task, share in many.items()),
        )


def _shares(cut: Cut) -> dict[str, float]:
    return {"texts": cut.texts, "cut": round(cut.cut / max(1, cut.texts), 4), "tokens": cut.tokens, "lost": cut.lost}
