"""LightningDataModule: a source prepared once, split without leakage, served in a resumable order.

Mined negatives and teacher scores are added to the training rows only. The split and the development and test tasks are
made from the source's own documents, so runs with and without mining or a teacher are evaluated alike.

`I` counts training items: rows with one or all of their positives.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule

from reasonir.data.base import Collection, Mixed, Source, Streamed, Tested, copy_key, is_streamed
from reasonir.data.batches.collate import Assemble, Batches, Items, positives_of_repeated_queries
from reasonir.data.batches.loader import Order, Quota, StepLoader
from reasonir.data.batches.stream import ItemStream, StreamBatches, StreamLoader
from reasonir.data.prepared import example_of, prepare, read, read_manifest
from reasonir.data.splits.holdout import Split, held_out_task, hold_out, relevant_keys
from reasonir.distributed.ranks import Ranks, present_ranks
from reasonir.eval.digest import digests_of, whole
from reasonir.loss.base import DOCUMENTS, LABELS, ORDER, SPANS
from reasonir.mining.base import Mining
from reasonir.mining.none import NoMining
from reasonir.runs.folder import saved_config
from reasonir.runs.provenance import refuse_other_data
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import NoTeacher
from reasonir.training.options import LoaderOptions
from reasonir.types import Example, Pair, Side, Task, Text

log = logging.getLogger(__name__)


class RetrievalData(LightningDataModule):
    """Training batches of a prepared source, and its development task (`dev`).

    Args:
        source: of the examples.
        options: batch construction.
        home: root of the prepared sets.
        seed: of the split, the order and every random choice.
        mining: finds hard negatives for the training queries.
        teacher: scores their documents.
        pairs: True for a head that reads query and document together: it also learns from queries without positives.
        tested: True to hold out test queries of this data.
        stream_batches: batches of the whole run, where the source is read as a stream.
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
        stream_batches: int = 0,
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
        self.stream_batches = stream_batches
        self.assemble: Assemble | None = None
        self.rows: Any = None
        self.dev: Task | None = None
        self._source_rows: Any = None
        self.split: Split | None = None
        self._tests: list[Task] = []
        self.withheld: frozenset[int] = frozenset()

    def prepare_data(self) -> None:
        """Write the prepared set, and the sets with mined negatives and teacher scores, unless they exist."""
        if self.rows is None:
            self._add_stages(prepare(self.source, self.home))

    def _add_stages(self, folder: Path) -> Path:
        """Add mined negatives and teacher scores to the source's prepared set."""
        return self.teacher.add_scores(self.mining.add_negatives(folder, self.source, self.home), self.home)

    def setup(self, stage: str | None = None) -> None:
        """Open the prepared set and split it."""
        if self.rows is not None:
            return
        prepared, split = self.hold_out()
        self.folder = self._add_stages(prepared)
        self.rows = read(self.folder)
        held_out = [*([self.dev] if self.dev else []), *self._tests]
        self.withheld = frozenset().union(*map(relevant_keys, held_out))
        train = self._sampled(self._trainable(split.train))
        self.items = Items.of(self.rows, train, positives=self.options.positives)
        self.quotas = self._quotas()

    def _trainable(self, train: np.ndarray) -> np.ndarray:
        """Select the rows that the head can learn from.

        A retriever needs a positive; a head that reads pairs needs any document that isn't withheld.
        """
        keys = self.rows.select(train).select_columns(["pos_keys", "neg_keys"])
        kept = [bool(row["pos_keys"]) or (self.pairs and not self.withheld.issuperset(row["neg_keys"])) for row in keys]
        if count := kept.count(False):
            log.info("Left out: %d queries without a relevant document", count)
        trainable: np.ndarray = train[np.array(kept, dtype=bool)]
        return trainable

    def hold_out(self) -> tuple[Path, Split]:
        """Split the source's own rows, without mined negatives; return the prepared set's folder and the split."""
        prepared = prepare(self.source, self.home)
        if self.split is None:
            self._source_rows = rows = read(prepared)
            self.dev = self.source.dev()
            self._tests = list(self.source.tests()) if isinstance(self.source, Tested) else []
            test = self.options.test_size if self.tested and not self._tests else 0.0
            self.split = hold_out(rows, 0.0 if self.dev else self.options.dev_size, test=test, seed=self.seed)
            if len(self.split.dev):
                documents = self.options.dev_documents
                self.dev = held_out_task(rows, self.split.dev, name="dev", documents=documents, seed=self.seed)
            if len(self.split.test):
                collection = self.source.collection() if isinstance(self.source, Collection) else ()
                self._tests = [held_out_task(rows, self.split.test, name=self.data_name, collection=collection)]
            self._report(self.split)
        return prepared, self.split

    @property
    def dev_content(self) -> str:
        """Digest of the development task; empty without one."""
        return whole(digests_of([self.dev])[self.dev.name]) if self.dev else ""

    def _report(self, split: Split) -> None:
        counts = {"development": len(split.dev), "testing": len(split.test)}
        if any(counts.values()):
            log.info(
                "Held out of %d queries: %s; none of their relevant documents is trained on",
                len(self._source_rows),
                ", ".join(f"{count} for {purpose}" for purpose, count in counts.items() if count),
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
        return [example_of(self._source_rows[row]) for row in self.split.test.tolist()]

    def _quotas(self) -> tuple[Quota, ...]:
        """Position and number of each source's items, and the number of them in an epoch."""
        item_sources = np.array(self.rows["source"][:])[self.items.row_I]
        names, first, counts = np.unique(item_sources, return_index=True, return_counts=True)
        counts_of = dict(zip(names.tolist(), counts.tolist(), strict=True))
        taken = self.source.taken(counts_of) if isinstance(self.source, Mixed) else counts_of
        quotas = (Quota(int(start), counts_of[name], taken[name]) for name, start in zip(names, first, strict=True))
        return tuple(sorted(quotas, key=lambda quota: quota.first))

    def _sampled(self, train: np.ndarray) -> np.ndarray:
        size = self.options.sample_size
        if size is None or size >= len(train):
            return train
        return np.sort(np.random.default_rng([self.seed, 3]).choice(train, size, replace=False))

    @property
    def has_negatives(self) -> bool:
        """True if the data has hard negatives."""
        return bool(read_manifest(self.folder)["counts"]["negatives"])

    @property
    def contrasts(self) -> frozenset[str]:
        """Contrasts present in the batches, out of those that an objective may need (see `Objective.needs`)."""
        rows = self.training_rows()
        contrasts = {SPANS} if any(any(row["spans"]) for row in rows.select_columns(["spans"])) else set()
        seen: set[float] = set()
        for labels in rows["labels"][:]:
            positives = [label for label in labels if label > 0]
            negatives = [label for label in labels if label <= 0] if self.options.negatives else []
            together = len(positives) if self.options.positives == "all" else min(1, len(positives))
            if together + min(len(negatives), self.options.negatives) > 1:
                contrasts.add(DOCUMENTS)
                if len({*(positives if together > 1 else positives[:1]), *negatives}) > 1:
                    contrasts.add(ORDER)
            seen.update(positives, negatives)
            if contrasts >= {DOCUMENTS, ORDER}:
                break
        return frozenset(contrasts | ({LABELS} if len(seen) > 1 else set()))

    def training_rows(self) -> Any:
        """Return the rows that are trained on."""
        return self.rows.select(np.unique(self.items.row_I))

    def order(self, rank: int, ranks: int) -> Order:
        """Return the order of a rank's batches."""
        items_per_epoch = sum(quota.taken for quota in self.quotas)
        return Order(
            len(self.items),
            min(self.options.batch_size, items_per_epoch),
            self.seed,
            rank,
            ranks,
            self.quotas,
            homogeneous=self.options.homogeneous,
        )

    def queries(self, batch: int, ranks: Ranks) -> list[str]:
        """Return a rank's queries in batch number `batch` of the run; none of a stream, which isn't read again."""
        if is_streamed(self.source):
            return []
        plan = self.order(ranks.rank, ranks.size).plan(batch)
        return [self.rows[int(self.items.row_I[item])]["query"] for item in plan.items]

    def batches_per_epoch(self, ranks: int) -> int:
        """Return the number of batches in an epoch; a stream's is the whole run."""
        if is_streamed(self.source):
            return self.stream_batches
        return len(self.order(0, ranks))

    def sample(self, count: int) -> dict[str, tuple[Side, list[Text]]]:
        """Sample texts of up to `count` training rows by column: queries, positives and, if there are any, negatives.

        Rows are drawn by the seed, and at most `count` of their positives and of their negatives.
        """
        rows, pairs_by_column = self._sampled_rows(count)
        documents: dict[str, tuple[Side, list[Text]]] = {
            name: ("document", [pair.document for pair in pairs]) for name, pairs in pairs_by_column.items()
        }
        return {"queries": ("query", [Text(row["query"], row["instruction"]) for row in rows]), **documents}

    def sample_pairs(self, count: int) -> dict[str, list[Pair]]:
        """Sample like `sample`, but return pairs of query and document."""
        return self._sampled_rows(count)[1]

    def _sampled_rows(self, count: int) -> tuple[list[Any], dict[str, list[Pair]]]:
        """Draw up to `count` training rows, and their pairs by column."""
        draw = np.random.default_rng([self.seed, 4])
        chosen = draw.permutation(np.unique(self.items.row_I))[:count]
        rows = [self.rows[int(row)] for row in chosen]
        sample = {}
        for name, key in (("positives", "pos"), ("negatives", "neg")):
            pairs = [
                Pair(Text(row["query"], row["instruction"]), Text(text, instruction))
                for row in rows
                for instruction, text in row[key]
            ]
            if pairs:
                sample[name] = [pairs[index] for index in draw.permutation(len(pairs))[:count]]
        return rows, sample

    def texts_per_step(self, ranks: int) -> dict[str, int]:
        """Estimate the texts of each column in a step on one device, if no document occurs twice.

        Before `setup`, one positive and `options.negatives` negatives per query are assumed.
        """
        if self.rows is None:
            queries = round(self.options.batch_size / ranks)
            return {"queries": queries, "positives": queries, "negatives": queries * self.options.negatives}
        counts = read_manifest(self.folder)["counts"]
        items = min(self.options.batch_size, len(self.items)) / ranks
        positives = counts["positives"] / counts["queries"] if self.options.positives == "all" else 1
        negatives = min(self.options.negatives, counts["negatives"] / counts["queries"])
        expected = {"queries": items, "positives": items * positives, "negatives": items * negatives}
        return {name: round(number) for name, number in expected.items()}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave batches where they are: the engine moves one micro-batch at a time."""
        return batch

    def train_dataloader(self) -> StepLoader | StreamLoader:
        """Return the loader of this rank's batches, tokenised in workers."""
        assert self.assemble is not None, "the tokenizer's collate is set before training"
        if is_streamed(self.source):
            return self._stream_loader(self.source, self.assemble)
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

    def _stream_loader(self, source: Streamed, assemble: Assemble) -> StreamLoader:
        """Return the loader of a stream, without what the first rows' development and test queries hold out."""
        held_out = [*([self.dev] if self.dev else []), *self._tests]
        queries = {copy_key(query.text) for task in held_out for query in task.queries.values()}
        ranks = present_ranks()
        return StreamLoader(
            ItemStream(source, self.withheld | queries, self.options.positives, self.pairs, self.seed),
            StreamBatches(assemble, self.options.negatives, self.seed),
            batch_size=self.options.batch_size,
            total=self.stream_batches,
            rank=ranks.rank,
            ranks=ranks.size,
            workers=self.options.workers,
        )


def loader_of(run: Path) -> LoaderOptions:
    """Return the loader options that a run was trained with."""
    saved = saved_config(run).get("loader", {})
    return LoaderOptions(**{key: value for key, value in saved.items() if key != "_target_"})


def held_out_data(source: Source, loader: LoaderOptions, *, home: Path, seed: int, run: Path | None) -> RetrievalData:
    """Hold out a source's test queries, as a training run with these options does.

    Raises:
        InputError: the data changed since `run` was trained.
    """
    data = RetrievalData(source, loader, home=home, seed=seed, tested=True)
    if run:
        refuse_other_data(source, run)
    data.hold_out()
    return data
