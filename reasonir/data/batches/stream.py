"""Batches straight from the rows of a source that is read as a stream, for sets larger than the disk.

The rows are read in windows: `buffer` rows, shuffled among themselves; the order of the files changes with the epoch.
Batches, draws and shuffles are a function of the seed and the position, so a run resumes exactly: the loader's state is
the state that `datasets` gives for the start of the present window, and the number of items taken from the window.
Every rank reads all rows and takes its share of every batch, whatever the number of ranks and workers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from reasonir.data.base import Rejected, Streamed
from reasonir.data.batch import Batch
from reasonir.data.batches.collate import ALL, NONE, Assemble, Batches, Items
from reasonir.data.batches.loader import BatchPlan, quiet_tokenizers, refuse_other_order
from reasonir.data.prepared import row_of
from reasonir.data.splits.shares import drop_held_out
from reasonir.errors import InputError
from reasonir.types import Example

log = logging.getLogger(__name__)
Item = tuple[dict[str, Any], int]
"""A row, and the index of its positive, `ALL` or `NONE`."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position in a stream.

    Attributes:
        epoch: passes over all rows before this one.
        window: number of the window in the epoch.
        taken: items taken from it.
        rows: state of the rows at the window's start; None at the start of the epoch.
    """

    epoch: int = 0
    window: int = 0
    taken: int = 0
    rows: Any = None


@dataclass(frozen=True)
class ItemStream:
    """Endless items of a source.

    Attributes:
        source: of the rows.
        held: keys of held-out queries and documents: rows with one of them as query or positive are left out.
        positives: one item per relevant pair ("each"), or per query with "all" its relevant documents.
        pairs: True to keep rows without a positive.
        seed: of the shuffles.
    """

    source: Streamed
    held: frozenset[int]
    positives: str
    pairs: bool
    seed: int

    def items(self, cursor: Cursor) -> Iterator[tuple[Item, Cursor]]:
        """Yield the items from `cursor` on, each with the position after it.

        Raises:
            InputError: a row can't be used, or no row can be trained on.
        """
        while True:
            found = False
            for start, items in self._windows(cursor):
                order = np.random.default_rng([self.seed, 6, start.epoch, start.window]).permutation(len(items))
                for taken in range(start.taken, len(items)):
                    found = True
                    yield items[order[taken]], replace(start, taken=taken + 1)
            if not found and cursor == Cursor(cursor.epoch):
                raise InputError(f"{self.source.name}: the stream has no row to train on: check its path and split")
            cursor = Cursor(cursor.epoch + 1)

    def _windows(self, cursor: Cursor) -> Iterator[tuple[Cursor, list[Item]]]:
        """Yield the windows of an epoch from `cursor` on."""
        size, rejected = self.source.buffer, Counter[str]()
        rows = self.source.rows(self.seed, cursor.epoch)
        if cursor.rows is not None:
            rows.load_state_dict(cursor.rows)
        stream = iter(rows)
        while True:
            read = list(islice(stream, size))
            if not read:
                break
            examples = (
                self.source.example(values, number, cells=rows.cells)
                for number, values in enumerate(read, cursor.window * size)
            )
            yield cursor, list(self._kept(examples, rejected))
            cursor = Cursor(cursor.epoch, cursor.window + 1, 0, rows.state_dict())
        log.info("Epoch %d of the stream ends after %d windows of %d rows", cursor.epoch + 1, cursor.window, size)
        for kind, count in rejected.items():
            log.info("Left out: %d %s", count, kind.replace("_", " "))

    def _kept(self, examples: Iterable[Example | Rejected], rejected: Counter[str]) -> Iterator[Item]:
        for example in examples:
            for part in [example] if isinstance(example, Rejected) else drop_held_out(example, self.held):
                if isinstance(part, Rejected):
                    rejected[part.kind] += 1
                elif not part.positives and not self.pairs:
                    rejected["query_without_a_relevant_document"] += 1
                else:
                    yield from self._items(part)

    def _items(self, example: Example) -> Iterator[Item]:
        row = row_of(example)
        if self.positives == "all":
            yield row, ALL
        else:
            yield from ((row, positive) for positive in (range(len(row["pos"])) if row["pos"] else (NONE,)))


@dataclass(frozen=True)
class StreamBatches(Dataset[Any]):
    """Batches of items: `batches[step, items]`.

    Attributes:
        assemble: makes a batch of a step's groups with a head's tokenizer; picklable.
        negatives: hard negatives drawn per item.
        seed: determines the draws, together with the step.
    """

    assemble: Assemble
    negatives: int
    seed: int

    def __getitem__(self, taken: tuple[int, Sequence[Item]]) -> Any:
        step, items = taken
        rows = [row for row, _ in items]
        positive_I = np.array([positive for _, positive in items])
        same_query: dict[tuple[int, str], list[int]] = {}
        for row in rows:
            same_query.setdefault((row["query_key"], row["instruction"]), []).extend(row["pos_keys"])
        numbers = np.arange(len(rows))
        batches = Batches(
            rows, Items(numbers, positive_I), self.assemble, self.negatives, frozenset(), self.seed, same_query
        )
        return batches[BatchPlan(step, np.full(len(rows), step), numbers)]


class _Upcoming(Sampler[tuple[int, list[Item]]]):
    """Sampler of a rank's items from step `start` on, which notes the position after each step."""

    def __init__(self, stream: ItemStream, batch_size: int, total: int, rank: int, ranks: int) -> None:
        self.stream, self.batch_size, self.total, self.rank, self.ranks = stream, batch_size, total, rank, ranks
        self.start = 0
        self.cursor = Cursor()
        self.after: dict[int, Cursor] = {}

    def __iter__(self) -> Iterator[tuple[int, list[Item]]]:
        items = self.stream.items(self.cursor)
        for step in range(self.start, self.total):
            taken = list(islice(items, self.batch_size))
            self.after[step] = taken[-1][1]
            share = np.array_split(np.arange(len(taken)), self.ranks)[self.rank]
            yield step, [taken[index][0] for index in share]

    def __len__(self) -> int:
        return self.total


class StreamLoader(DataLoader[Batch]):
    """Loader of a stream's batches; Lightning saves and restores its position.

    Args:
        stream: of the items.
        batches: makes a batch of items.
        batch_size: items per batch, over all ranks.
        total: batches of the whole run, which is one epoch to Lightning.
        rank: this process.
        ranks: number of processes.
        workers: processes that tokenise.
    """

    def __init__(
        self,
        stream: ItemStream,
        batches: StreamBatches,
        *,
        batch_size: int,
        total: int,
        rank: int,
        ranks: int,
        workers: int,
    ) -> None:
        self.upcoming = _Upcoming(stream, batch_size, total, rank, ranks)
        self.consumed = 0
        self.cursor = Cursor()
        super().__init__(
            batches,
            batch_size=None,
            sampler=self.upcoming,  # yields steps with their items, the keys of `batches`
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=quiet_tokenizers,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.upcoming.start, self.upcoming.cursor = self.consumed, self.cursor
        for batch in super().__iter__():
            self.cursor = self.upcoming.after.pop(self.consumed)
            self.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that training took, and what the order depends on."""
        return {"consumed": self.consumed, "cursor": asdict(self.cursor), **self._order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after `state["consumed"]` batches.

        Raises:
            InputError: the order of this run's batches is another one.
        """
        refuse_other_order(state, self._order())
        self.consumed, self.cursor = state["consumed"], Cursor(**state["cursor"])

    def _order(self) -> dict[str, Any]:
        stream = self.upcoming.stream
        return {
            "batch_size": self.upcoming.batch_size,
            "buffer": stream.source.buffer,
            "positives": stream.positives,
            "seed": stream.seed,
        }
