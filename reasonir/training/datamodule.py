"""The LightningDataModule: a source prepared once, split without leaks, served in an order that can be continued.

It is here and not in `data/`, which knows nothing of Lightning. Mining adds negatives to training alone, and a teacher
its scores: the split, and the development and test tasks, are those of the source's own documents, so runs with and
without them are evaluated alike.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge
from lightning import LightningDataModule

from reasonir.data.base import Mixed, Source, Tested
from reasonir.data.batches.collate import Assemble, Batches, Items, positives_of_repeated_queries
from reasonir.data.batches.loader import Order, Quota, StepLoader
from reasonir.data.prepared import example_of, prepare, read, read_manifest
from reasonir.data.splits.holdout import Split, held_out_task, hold_out, relevant_keys
from reasonir.distributed.ranks import Ranks, present_ranks
from reasonir.loss.base import DOCUMENTS, LABELS, ORDER, SPANS
from reasonir.mining.base import Mining
from reasonir.mining.none import NoMining
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import NoTeacher
from reasonir.types import Example, Pair, Side, Task, Text
from reasonir.utils.ranges import NonNegative, NonNegativeFloat, Positive, Validated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderOptions(Validated):
    """How batches are made of a prepared set.

    Attributes:
        batch_size: items a step, of all devices together.
        negatives: hard negatives drawn for each item, where the data has any.
        homogeneous: every batch comes from one source of a mixture.
        positives: "each" relevant pair is an item, or each query with "all" its relevant documents.
        sample_size: train on that many queries, drawn by the seed; None trains on all.
        dev_size: development queries held out of the data: below 1 a share, otherwise a number. Unused where the source
            brings a development task of its own; 0 for none.
        test_size: test queries held out of the data, where the run is evaluated on its own data (eval=test_split) and
            the source keeps none; a share or a number.
        dev_documents: how many documents the development queries search.
        workers: processes that make batches; 0 makes them in the training process.
    """

    batch_size: Annotated[int, Ge(2)] = 64
    negatives: NonNegative = 1
    homogeneous: bool = False
    positives: Literal["each", "all"] = "each"
    sample_size: Annotated[int, Ge(2)] | None = None
    dev_size: NonNegativeFloat = 0.05
    test_size: NonNegativeFloat = 0.05
    dev_documents: Positive = 5000
    workers: NonNegative = 2


class RetrievalData(LightningDataModule):
    """Prepares a source, serves its training batches, and holds its development task (`dev`).

    Args:
        source: where the examples come from.
        options: how batches are made of them.
        home: under it prepared sets are kept.
        seed: of the split, the order and what is drawn.
        mining: finds hard negatives for the training queries.
        teacher: scores their documents.
        pairs: whether the head reads query and document together, and learns from queries without a relevant document.
        tested: whether the run is evaluated on queries of this data.
    """

    def __init__(
        self,
        source: Source,
        options: LoaderOptions,
        *,
        home: Path,
        seed: int,
        mining: Mining | None = None,
        teacher: Teacher | None = None,
        pairs: bool = False,
        tested: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.mining = mining or NoMining()
        self.teacher = teacher or NoTeacher()
        self.options = options
        self.home = home
        self.seed = seed
        self.pairs = pairs
        self.tested = tested
        self.assemble: Assemble | None = None
        self.rows: Any = None
        self.dev: Task | None = None
        self._own: Any = None
        self.split: Split | None = None
        self._tests: list[Task] = []
        self.withheld: frozenset[int] = frozenset()

    def prepare_data(self) -> None:
        """Write the prepared set, and those with mined negatives and a teacher's scores, if they aren't there."""
        self._trained_on(prepare(self.source, self.home))

    def _trained_on(self, own: Path) -> Path:
        """The source's own set after every stage."""
        return self.teacher.add_scores(self.mining.add_negatives(own, self.source, self.home), self.home)

    def setup(self, stage: str | None = None) -> None:
        """Open the prepared set and split it."""
        if self.rows is not None:
            return
        own, split = self.hold_out()
        self.folder = self._trained_on(own)
        self.rows = read(self.folder)
        kept_back = [*([self.dev] if self.dev else []), *self._tests]
        self.withheld = frozenset().union(*map(relevant_keys, kept_back))
        train = self._sampled(self._useful(split.train))
        self.items = Items.of(self.rows, train, positives=self.options.positives)
        self.quotas = self._quotas()

    def _useful(self, train: np.ndarray) -> np.ndarray:
        """The rows that the head learns from: a retriever from those with a relevant document, which others do without.

        A row that would give no document, since all of its negatives are withheld, is left out.
        """
        keys = self.rows.select(train).select_columns(["pos_keys", "neg_keys"])
        kept = [bool(row["pos_keys"]) or (self.pairs and not self.withheld.issuperset(row["neg_keys"])) for row in keys]
        if count := kept.count(False):
            log.info("Left out: %d queries without a relevant document", count)
        useful: np.ndarray = train[np.array(kept, dtype=bool)]
        return useful

    def hold_out(self) -> tuple[Path, Split]:
        """Divide the rows of the source itself, before any stage added to them: their set's folder, and the parts."""
        own = prepare(self.source, self.home)
        if self.split is None:
            self._own = rows = read(own)
            self.dev = self.source.dev()
            self._tests = list(self.source.tests()) if isinstance(self.source, Tested) else []
            test = self.options.test_size if self.tested and not self._tests else 0.0
            self.split = hold_out(rows, 0.0 if self.dev else self.options.dev_size, test=test, seed=self.seed)
            if len(self.split.dev):
                documents = self.options.dev_documents
                self.dev = held_out_task(rows, self.split.dev, name="dev", documents=documents, seed=self.seed)
            if len(self.split.test):
                self._tests = [held_out_task(rows, self.split.test, name=self.data_name)]
            self._report(self.split)
        return own, self.split

    def _report(self, split: Split) -> None:
        held = {"development": len(split.dev), "testing": len(split.test)}
        if any(held.values()):
            log.info(
                "Held out of %d queries: %s; none of their relevant documents is trained on",
                len(self._own),
                ", ".join(f"{count} for {what}" for what, count in held.items() if count),
            )

    @property
    def data_name(self) -> str:
        """See `reasonir.data.base.HeldOut`."""
        return self.source.name

    def tests(self) -> Sequence[Task]:
        """See `reasonir.data.base.HeldOut`."""
        return self._tests

    def test_examples(self) -> Sequence[Example]:
        """See `reasonir.data.base.HeldOut`."""
        assert self.split is not None
        return [example_of(self._own[row]) for row in self.split.test.tolist()]

    def _quotas(self) -> tuple[Quota, ...]:
        """Where each source's items stand, and how many of them a pass takes."""
        names = np.array(self.rows["source"][:])[self.items.row_I]
        found, first, counts = np.unique(names, return_index=True, return_counts=True)
        counts_of = dict(zip(found.tolist(), counts.tolist(), strict=True))
        taken = self.source.taken(counts_of) if isinstance(self.source, Mixed) else counts_of
        quotas = (Quota(int(start), counts_of[name], taken[name]) for name, start in zip(found, first, strict=True))
        return tuple(sorted(quotas, key=lambda quota: quota.first))

    def _sampled(self, train: np.ndarray) -> np.ndarray:
        wanted = self.options.sample_size
        if wanted is None or wanted >= len(train):
            return train
        return np.sort(np.random.default_rng([self.seed, 3]).choice(train, wanted, replace=False))

    @property
    def has_negatives(self) -> bool:
        """Whether the data brings hard negatives."""
        return bool(read_manifest(self.folder)["counts"]["negatives"])

    @property
    def contrasts(self) -> frozenset[str]:
        """What batches hold of that which an objective may need (see `Objective.needs`)."""
        rows = self.rows.select(np.unique(self.items.row_I))
        found = {SPANS} if any(any(row["spans"]) for row in rows.select_columns(["spans"])) else set()
        seen: set[float] = set()
        for labels in rows["labels"][:]:
            positives = [label for label in labels if label > 0]
            negatives = [label for label in labels if label <= 0] if self.options.negatives else []
            together = len(positives) if self.options.positives == "all" else min(1, len(positives))
            if together + min(len(negatives), self.options.negatives) > 1:
                found.add(DOCUMENTS)
                if len({*(positives if together > 1 else positives[:1]), *negatives}) > 1:
                    found.add(ORDER)
            seen.update(positives, negatives)
            if found >= {DOCUMENTS, ORDER}:
                break
        return frozenset(found | ({LABELS} if len(seen) > 1 else set()))

    def order(self, rank: int, ranks: int) -> Order:
        """The order of a rank's batches."""
        a_pass = sum(quota.taken for quota in self.quotas)
        return Order(
            len(self.items),
            min(self.options.batch_size, a_pass),
            self.seed,
            rank,
            ranks,
            self.quotas,
            homogeneous=self.options.homogeneous,
        )

    def queries(self, batch: int, ranks: Ranks) -> list[str]:
        """The queries of a rank in batch number `batch` of the run."""
        plan = self.order(ranks.rank, ranks.size).plan(batch)
        return [self.rows[int(self.items.row_I[item])]["query"] for item in plan.items]

    def batches_a_pass(self, ranks: int) -> int:
        """Batches in a pass over the data."""
        return len(self.order(0, ranks))

    def sample(self, count: int) -> dict[str, tuple[Side, list[Text]]]:
        """Texts of up to `count` training rows by column: queries, positives and, where there are any, negatives.

        Rows are drawn by the seed, and of their documents again at most `count` of each kind.
        """
        rows, pairs = self._sampled_rows(count)
        documents: dict[str, tuple[Side, list[Text]]] = {
            name: ("document", [pair.document for pair in each]) for name, each in pairs.items()
        }
        return {"queries": ("query", [Text(row["query"], row["instruction"]) for row in rows]), **documents}

    def sample_pairs(self, count: int) -> dict[str, list[Pair]]:
        """As `sample`, each query together with its documents."""
        return self._sampled_rows(count)[1]

    def _sampled_rows(self, count: int) -> tuple[list[Any], dict[str, list[Pair]]]:
        """Up to `count` training rows, and their pairs by column."""
        draw = np.random.default_rng([self.seed, 4])
        chosen = draw.permutation(np.unique(self.items.row_I))[:count]
        rows = [self.rows[int(row)] for row in chosen]
        found = {}
        for name, key in (("positives", "pos"), ("negatives", "neg")):
            pairs = [
                Pair(Text(row["query"], row["instruction"]), Text(text, instruction))
                for row in rows
                for instruction, text in row[key]
            ]
            if pairs:
                found[name] = [pairs[place] for place in draw.permutation(len(pairs))[:count]]
        return rows, found

    def texts_per_step(self, ranks: int) -> dict[str, int]:
        """How many texts of each column a step takes on one device, if no document stands twice.

        Where the data isn't read, each query is taken to have one positive and all the negatives that are asked for.
        """
        if self.rows is None:
            each = round(self.options.batch_size / ranks)
            return {"queries": each, "positives": each, "negatives": each * self.options.negatives}
        counts = read_manifest(self.folder)["counts"]
        items = min(self.options.batch_size, len(self.items)) / ranks
        positives = counts["positives"] / counts["queries"] if self.options.positives == "all" else 1
        negatives = min(self.options.negatives, counts["negatives"] / counts["queries"])
        wanted = {"queries": items, "positives": items * positives, "negatives": items * negatives}
        return {name: round(number) for name, number in wanted.items()}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave batches where they are: the engine moves one micro-batch at a time."""
        return batch

    def train_dataloader(self) -> StepLoader:
        """This rank's batches, tokenised in workers."""
        if self.assemble is None:
            raise AssertionError("the model's way to make batches is set before training")
        batches = Batches(
            self.rows,
            self.items,
            self.assemble,
            self.options.negatives,
            self.withheld,
            self.seed,
            positives_of_repeated_queries(self.rows),
        )
        ranks = present_ranks()
        return StepLoader(batches, self.order(ranks.rank, ranks.size), workers=self.options.workers)
