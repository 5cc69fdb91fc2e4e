"""False negatives by a guide model, left out of every batch (GISTEmbed, Solatorio 2024, arXiv:2402.16829).

A document is no negative of a query, hard or in the batch, if the guide scores it above the query's relevant document,
or above the limit that a margin sets. That depends on the texts alone, so the documents of the whole set are compared
once, and each row lists the keys of those to leave out: batches are those of a guide that scores each of them, for any
loss, on any number of devices, and after resuming. Evaluation on held-out rows doesn't read the list.

Shape letters: Q queries of a block, N documents of the set, M some of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le

from reasonir.data.batch import Representation
from reasonir.data.prepared import example_of, notes_of, read, read_manifest, write_set
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.model.fingerprint import identity_of
from reasonir.types import Example, Text
from reasonir.utils.ranges import NonNegativeFloat, Seed, Validated

log = logging.getLogger(__name__)
_QUERIES = 256
_DOCUMENTS = 1 << 16
_MANY = 1000
"""False negatives of a query on average above which a warning is logged: they take time in every batch."""


@dataclass(frozen=True, slots=True)
class Guide(Validated):
    """Teacher that adds no scores, but the documents that are no negatives.

    Attributes:
        model: the guide, a retriever.
        hardware: device that it runs on.
        absolute_margin: a negative's score is at most the positive's less this; None sets no limit.
        relative_margin: a negative's score is at most this share of the positive's (on negative scores, as far below
            it); None sets no limit. Of several positives the one with the highest score counts.
        run: the tracked run that `model` comes from, if any.
        seed: draws parameters that the checkpoint lacks.
    """

    model: Model
    hardware: Hardware
    absolute_margin: NonNegativeFloat | None = 0.0
    relative_margin: Annotated[float, Gt(0), Le(1)] | None = None
    run: str | None = None
    seed: Seed = 0
    columns: ClassVar[frozenset[str]] = frozenset()
    bounded: ClassVar[bool] = True

    def problems(self) -> Iterable[str]:
        """Yield a message for a model that reads pairs, and for no limit at all."""
        if self.model.reads_pairs:
            key = f"run={self.run}" if self.run else f"model.path={self.model.path}"
            yield f"{key} has a head that reads pairs: choose a retriever (model/head@teacher.model.head=biencoder)"
        if self.absolute_margin is None and self.relative_margin is None:
            yield "absolute_margin and relative_margin are null, so nothing is left out: give one of them"

    def check_available(self) -> None:
        """See `Teacher.check_available`."""
        self.model.locate()

    def add_scores(self, prepared: Path, home: Path) -> Path:
        """Write the set with the keys of each query's false negatives; see `Teacher.add_scores`."""
        rows, manifest = read(prepared), read_manifest(prepared)
        margins = {"absolute_margin": self.absolute_margin, "relative_margin": self.relative_margin}
        counts = {"queries": len(rows), "queries_with_false_negatives": 0, "false_negatives": 0, "of_own_negatives": 0}
        folder = write_set(
            f"{prepared.name.rsplit('-', 1)[0]}-guide",
            {
                "source": "taught",
                "of": manifest["identity"],
                "guide": {**identity_of(self.model), **margins, "seed": self.seed},
            },
            lambda: self._examples(rows, counts),
            home,
            what="Guiding",
            total=len(rows),
            notes=lambda: {**notes_of(manifest), "guide": counts},
        )
        found = read_manifest(folder)["guide"]
        log.info(
            "Guide: %d false negatives of %d of %d queries; %d are among the negatives of their own row",
            *(
                found[name]
                for name in ("false_negatives", "queries_with_false_negatives", "queries", "of_own_negatives")
            ),
        )
        if found["false_negatives"] > _MANY * found["queries"]:
            log.warning(
                "The guide scores %.0f documents of a query above its positive on average, which makes batches slow: "
                "choose a better guide, or lower its margin",
                found["false_negatives"] / found["queries"],
            )
        return folder

    def _examples(self, rows: Any, counts: dict[str, int]) -> Iterator[Example]:
        """Yield the examples with their false negatives, and count these."""
        pool = _pool(rows)
        keys, number_of = list(pool), {key: number for number, key in enumerate(pool)}
        encoder = self.model.load(seed=self.seed).to(self.hardware.resolve().torch_device)
        documents = encoder.encode(list(pool.values()), "document")
        for start in range(0, len(rows), _QUERIES):
            block = [rows[number] for number in range(start, min(len(rows), start + _QUERIES))]
            queries = encoder.encode([Text(row["query"], row["instruction"]) for row in block], "query")
            positives = [[number_of[key] for key in row["pos_keys"]] for row in block]
            above = self._above(encoder, queries, documents, positives)
            for row, relevant, numbers in zip(block, positives, above, strict=True):
                masked = tuple(sorted(keys[number] for number in set(numbers) - set(relevant)))
                counts["queries_with_false_negatives"] += bool(masked)
                counts["false_negatives"] += len(masked)
                counts["of_own_negatives"] += len(set(masked) & set(row["neg_keys"]))
                example = example_of(row)
                yield replace(example, masked=tuple(sorted({*(example.masked or ()), *masked})))

    @torch.no_grad()
    def _above(
        self, encoder: Encoder, queries: Representation, documents: Representation, positives: list[list[int]]
    ) -> list[list[int]]:
        """Return the numbers of the documents above each query's limit; none for a query without a positive."""
        relevant = sorted({number for numbers in positives for number in numbers})
        if not relevant:
            return [[] for _ in positives]
        scores_QM = encoder.head.score(queries, documents.take(torch.tensor(relevant))).cpu()
        column = {number: index for index, number in enumerate(relevant)}
        limits_Q = torch.tensor(
            [
                self._limit(float(scores_QM[row, [column[number] for number in numbers]].max()))
                if numbers
                else torch.inf
                for row, numbers in enumerate(positives)
            ]
        )
        above: list[list[int]] = [[] for _ in positives]
        for part_M in torch.split(torch.arange(len(documents)), _DOCUMENTS):
            scores_QM = encoder.head.score(queries, documents.take(part_M)).cpu()
            for row, number in (scores_QM > limits_Q[:, None]).nonzero().tolist():
                above[row].append(int(part_M[number]))
        return above

    def _limit(self, positive: float) -> float:
        """Return the highest score of a negative, by the positive's."""
        absolute = torch.inf if self.absolute_margin is None else positive - self.absolute_margin
        share = self.relative_margin
        return min(absolute, torch.inf if share is None else positive - (1 - share) * abs(positive))


def _pool(rows: Any) -> Mapping[int, Text]:
    """Return every distinct document of the rows by its key."""
    pool: dict[int, Text] = {}
    for row in rows:
        for key, (instruction, text) in zip(row["pos_keys"] + row["neg_keys"], row["pos"] + row["neg"], strict=True):
            pool.setdefault(key, Text(text, instruction))
    return pool
