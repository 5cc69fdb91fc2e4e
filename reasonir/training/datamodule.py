"""The LightningDataModule: a source prepared once, split without leaks, served in an order that can be continued.

It lives here and not in `data/`, which knows nothing of Lightning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule

from reasonir.data.base import Source
from reasonir.data.collate import Batches, Items, Tokenize, positives_of_repeated_queries
from reasonir.data.holdout import Split, dev_task, hold_out
from reasonir.data.loader import Order, StepLoader
from reasonir.data.prepared import prepare, read, read_manifest
from reasonir.training.ranks import present_ranks
from reasonir.types import Side, Task, Text


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How batches are made of a prepared set.

    Attributes:
        batch_size: items a step, of all devices together.
        negatives: hard negatives drawn for each item, where the data has any.
        positives: "each" relevant pair is an item, or each query with "all" its relevant documents.
        sample_size: train on that many queries, drawn by the seed; None trains on all.
        holdout: development queries held out of the data: below 1 a share, otherwise a number. Unused where the source
            brings a development task of its own; 0 for none.
        dev_documents: how many documents the held-out queries search.
        workers: processes that make batches; 0 makes them in the training process.
    """

    batch_size: int = 64
    negatives: int = 1
    positives: str = "each"
    sample_size: int | None = None
    holdout: float = 0.05
    dev_documents: int = 5000
    workers: int = 2

    def problems(self) -> list[str]:
        """What is out of range."""
        found = []
        if self.positives not in ("each", "all"):
            found.append(f"loader.positives={self.positives}: choose each or all")
        for key, least in (("batch_size", 2), ("negatives", 0), ("workers", 0), ("dev_documents", 1)):
            if getattr(self, key) < least:
                found.append(f"loader.{key}={getattr(self, key)}: give {least} or more")
        if self.sample_size is not None and self.sample_size < 2:
            found.append(f"loader.sample_size={self.sample_size}: give 2 or more, or null for all")
        if self.holdout < 0:
            found.append(f"loader.holdout={self.holdout}: give a share below 1, a number of queries, or 0")
        return found


class RetrievalData(LightningDataModule):
    """Prepares a source, serves its training batches, and holds its development task (`dev`).

    Args:
        source: where the examples come from.
        options: how batches are made of them.
        home: under it prepared sets are kept.
        seed: of the split, the order and what is drawn.
    """

    def __init__(self, source: Source, options: LoaderOptions, *, home: Path, seed: int) -> None:
        super().__init__()
        self.source = source
        self.options = options
        self.home = home
        self.seed = seed
        self.tokenize: Tokenize | None = None
        self.rows: Any = None
        self.split: Split | None = None
        self.dev: Task | None = None

    def prepare_data(self) -> None:
        """Write the prepared set if it isn't there."""
        prepare(self.source, self.home)

    def setup(self, stage: str | None = None) -> None:
        """Open the prepared set and split it."""
        if self.rows is not None:
            return
        self.folder = prepare(self.source, self.home)
        self.rows = read(self.folder)
        self.dev = self.source.dev()
        share = 0.0 if self.dev else self.options.holdout
        self.split = hold_out(self.rows, share, seed=self.seed)
        if self.dev is None and len(self.split.dev):
            self.dev = dev_task(self.rows, self.split.dev, documents=self.options.dev_documents, seed=self.seed)
        self.items = Items.of(self.rows, self._sampled(self.split.train), positives=self.options.positives)

    def _sampled(self, train: np.ndarray) -> np.ndarray:
        wanted = self.options.sample_size
        if wanted is None or wanted >= len(train):
            return train
        return np.sort(np.random.default_rng([self.seed, 3]).choice(train, wanted, replace=False))

    @property
    def has_negatives(self) -> bool:
        """Whether the data brings hard negatives."""
        return bool(read_manifest(self.folder)["counts"]["negatives"])

    def order(self, rank: int, ranks: int) -> Order:
        """The order of a rank's batches."""
        return Order(len(self.items), min(self.options.batch_size, len(self.items)), self.seed, rank, ranks)

    def batches_a_pass(self, ranks: int) -> int:
        """Batches in a pass over the data."""
        return len(self.order(0, ranks))

    def sample(self, count: int) -> dict[str, tuple[Side, list[Text]]]:
        """Texts of up to `count` training rows by column: queries, positives and, where there are any, negatives.

        Rows are drawn by the seed, and of their documents again at most `count` of each kind.
        """
        draw = np.random.default_rng([self.seed, 4])
        chosen = draw.permutation(np.unique(self.items.row_I))[:count]
        rows = [self.rows[int(row)] for row in chosen]
        found: dict[str, tuple[Side, list[Text]]] = {
            "queries": ("query", [Text(row["query"], row["instruction"]) for row in rows])
        }
        for name, key in (("positives", "pos"), ("negatives", "neg")):
            texts = [Text(text, instruction) for row in rows for instruction, text in row[key]]
            if texts:
                found[name] = ("document", [texts[place] for place in draw.permutation(len(texts))[:count]])
        return found

    def texts_per_step(self, ranks: int) -> dict[str, int]:
        """How many texts of each column a step takes on one device, if no document stands twice."""
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
        if self.tokenize is None:
            raise AssertionError("the model's tokenizer is set before training")
        assert self.split is not None
        batches = Batches(
            self.rows,
            self.items,
            self.tokenize,
            self.options.negatives,
            self.split.dev_keys,
            self.seed,
            positives_of_repeated_queries(self.rows),
        )
        ranks = present_ranks()
        return StepLoader(batches, self.order(ranks.rank, ranks.size), workers=self.options.workers)
