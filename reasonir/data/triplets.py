"""Triplets from any table: a query, its relevant documents, and documents that are not relevant.

The layouts of sentence-transformers, PyLate, FlagEmbedding and Tevatron are recognised by their columns:

- pair, triplet and n-tuple: one positive or a list, and any number of negatives: one, a list, or numbered columns
  (negative_1, ...);
- labelled pair and list: documents under `positive` or `documents`, and `label`: 1 for relevant and 0 for not;
- scored list: `documents` and `scores`; without labels or `positive_ids` its first document is the relevant one;
- any of these by id (query_id with document_ids, or positive_id and negative_id), the texts in tables of their own.

An element is a text, [instruction, text] as in ReasonIR's files, or an object with a text and perhaps a title; a query
may be [instruction, text] too. Rows with equal queries become one example with several positives. Optional columns:

- `pos_scores`, `neg_scores`, or `scores` of all documents of a row, positives first: a teacher's, kept as the teacher
  `scores`;
- `instruction` or `prompt`: instruction of the query;
- `split`: rows of another split are dropped;
- `excluded`, `source_document`: documents that must not be mined as negatives, such as the one the query is from.

Any other column named like a label or score is an error, so that no label is ignored by mistake.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice, repeat
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from reasonir.data.base import Rejected, content_key
from reasonir.data.files.dataset_files import DatasetFiles, dataset_files
from reasonir.data.files.records import Record, digests, id_of, read
from reasonir.data.files.row_stream import RowStream
from reasonir.data.files.texts_by_id import Texts, read_texts, text_tables
from reasonir.data.files.triplet_rows import Role, Triplet, TripletColumns, ids_of
from reasonir.errors import InputError
from reasonir.types import Example, Task
from reasonir.utils.ranges import Positive, Validated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Triplets(Validated):
    """Examples from a json, jsonl, csv, tsv or parquet file, a folder of them, or a dataset repository on the hub.

    Attributes:
        path: the file, folder or hub id.
        subset: of several sets in one folder or repository (see `data.files.dataset_files`).
        split: which files of a folder, and which rows of a table with a column `split`.
        columns: names of the columns by role, where they don't have a usual name.
        ignore: columns that aren't read.
        list_size: documents taken of a longer list (see `data.files.triplet_rows.entries_of`).
        texts: folder or hub id of the texts of rows that name them by id; None for `path`.
        revision: branch, tag or commit of a hub id.
        stream: read the rows as training goes, without preparing them; hub files without downloading them.
        buffer: rows of a stream that are shuffled together; its first ones give development queries, lengths and plan.
    """

    path: str
    subset: str | None = None
    split: str = "train"
    columns: Mapping[Role, str | None] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    list_size: Positive | None = None
    texts: str | None = None
    revision: str | None = None
    stream: bool = False
    buffer: Annotated[int, Ge(2)] = 10_000

    @property
    def name(self) -> str:
        """Name of the file or folder, and of the subset."""
        name = Path(self.path).name.split(".")[0]
        return f"{name}-{self.subset.replace('/', '-')}" if self.subset else name

    def identity(self) -> Mapping[str, Any]:
        """Return the columns and the hashes of the files; of a stream the sizes of local files, or the commit."""
        named = {role: name for role, name in self.columns.items() if name is not None}
        options: dict[str, Any] = {"split": self.split, "columns": named, "ignore": sorted(self.ignore)}
        if self.list_size:
            options["list_size"] = self.list_size
        if self.stream:
            return {"source": "triplets", **options, "buffer": self.buffer, "stream": self._dataset_files().stamp()}
        files = self._files()
        if tables := self._text_tables():
            options["texts"] = {side: digests(found, found[0].parent) for side, found in tables.items()}
        return {"source": "triplets", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield one example per distinct query and instruction."""
        columns, texts = self._columns, self._texts()
        triplets: dict[int, Triplet] = {}
        ids: set[str] = set()
        for record in self._records():
            if rejected := self._other_split(record):
                yield rejected
                continue
            row = Triplet.read(record, columns, texts, list_size=self.list_size)
            if first := triplets.get(key := content_key(row.query, row.instruction)):
                first.add(row)
            else:
                row.query_id = row.query_id or f"q{len(triplets)}"
                if row.query_id in ids:
                    raise InputError(
                        f"{record.location}: 'query_id' {row.query_id!r} is another query's: ids must be unique"
                    )
                ids.add(row.query_id)
                triplets[key] = row
        yield from (triplet.example() for triplet in triplets.values())

    def dev(self) -> Task | None:
        """Return None: part of the queries is held out."""
        return None

    def _other_split(self, record: Record) -> Rejected | None:
        split = self._columns.find(record, "split")
        if split and (name := id_of(record, [split[0]])) != self.split:
            return Rejected("row_of_another_split", record.location, name)
        return None

    @property
    def _columns(self) -> TripletColumns:
        return TripletColumns(self.columns, self.ignore)

    def _records(self) -> Iterator[Record]:
        """Yield the rows of all files, checked for unread labels and scores; log their layouts."""
        checked: set[tuple[str, ...]] = set()
        for record in self._head() if self.stream else chain.from_iterable(map(read, self._files())):
            if (names := tuple(record.values)) not in checked:
                self._columns.check_unread(record)
                log.info("%s is read as %s", record.location, self._columns.layout(record))
                checked.add(names)
            yield record

    def _head(self) -> Iterator[Record]:
        """Yield the first rows of the stream, without those that train."""
        log.info("data.stream: development queries, lengths and the plan come from the first %d rows", self.buffer)
        rows = RowStream(self._dataset_files().addresses(), self._stated)
        yield from map(self._record, islice(rows, self.buffer), count(), repeat(rows.cells))

    def rows(self, seed: int, epoch: int) -> RowStream:
        """See `reasonir.data.base.Streamed`."""
        addresses = self._dataset_files().addresses()
        order = np.random.default_rng([seed, 7, epoch]).permutation(len(addresses))
        return RowStream([addresses[number] for number in order], self._stated)

    def example(self, values: Mapping[str, Any], number: int, *, cells: bool) -> Example | Rejected:
        """See `reasonir.data.base.Streamed`."""
        record = self._record(values, number, cells)
        if rejected := self._other_split(record):
            return rejected
        row = Triplet.read(record, self._columns, list_size=self.list_size)
        row.query_id = row.query_id or f"q{number}"
        return row.example()

    def _record(self, values: Mapping[str, Any], number: int, cells: bool) -> Record:
        return Record(f"{self._stated}, row {number + 1} of the stream", dict(values), cells)

    @property
    def _stated(self) -> str:
        return f"data.path={self.path}, split {self.split}"

    def _dataset_files(self) -> DatasetFiles:
        return dataset_files(self.path, split=self.split, subset=self.subset, revision=self.revision)

    def _files(self) -> list[Path]:
        return self._dataset_files().local()

    def _text_tables(self) -> dict[str, list[Path]]:
        """Return the tables of texts that the rows name by id; empty for rows with texts."""
        first = next(iter(read(self._files()[0])), None)
        if first is None or not self._columns.by_id(first):
            return {}
        return text_tables(self.texts or self.path, self.split, self.revision)

    def _texts(self) -> Texts | None:
        """Read the texts that the rows name by id, if they do."""
        if self.stream or not (tables := self._text_tables()):
            return None
        queries: set[str] = set()
        documents: set[str] = set()
        for file in self._files():
            for record in read(file):
                ids_of(record, self._columns, queries, documents, list_size=self.list_size)
        return read_texts(tables, queries, documents)
