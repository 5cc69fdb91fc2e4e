"""Triplets from any table: a query, its relevant documents, and documents that are not relevant.

A row has one positive or a list, and any number of negatives: one, a list, or numbered columns (negative_1, ...).
An element is a text, or [instruction, text] as in ReasonIR's files; a query may be [instruction, text] too. Rows with
equal queries become one example with several positives. Optional columns:

- `label`: 1 if the documents under `positive` are relevant, otherwise 0, one value or one per document (the pairs and
  lists of sentence-transformers);
- `pos_scores`, `neg_scores`: teacher scores of the documents (FlagEmbedding), kept as the teacher `scores`;
- `instruction` or `prompt`: instruction of the query;
- `split`: rows of another split are dropped;
- `excluded`, `source_document`: documents that must not be mined as negatives, such as the one the query is from.

Any other column named like a label or score is an error, so that no label is ignored by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasonir.data.base import Rejected, content_key
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, digests, find, id_of, read
from reasonir.data.files.triplet_rows import Role, Triplet, TripletColumns
from reasonir.errors import InputError
from reasonir.types import Example, Task
from reasonir.utils.ranges import Validated


@dataclass(frozen=True, slots=True)
class Triplets(Validated):
    """Examples from a json, jsonl, csv, tsv or parquet file, a folder of them, or a dataset repository on the hub.

    Attributes:
        path: the file, folder or hub id; in a folder the files named after `split` are read.
        split: which files of a folder, and which rows of a table with a column `split`.
        columns: names of the columns by role, where they don't have a usual name.
        ignore: columns that aren't read.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    split: str = "train"
    columns: Mapping[Role, str | None] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    revision: str | None = None

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return Path(self.path).name.split(".")[0]

    def identity(self) -> Mapping[str, Any]:
        """Return the columns and the hashes of the files."""
        files = self._files()
        named = {role: name for role, name in self.columns.items() if name is not None}
        options = {"split": self.split, "columns": named, "ignore": sorted(self.ignore)}
        return {"source": "triplets", **options, "files": digests(files, files[0].parent)}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield one example per distinct query and instruction."""
        columns = TripletColumns(self.columns, self.ignore)
        triplets: dict[int, Triplet] = {}
        ids: set[str] = set()
        for record in self._records(columns):
            split = columns.find(record, "split")
            if split and (name := id_of(record, [split[0]])) != self.split:
                yield Rejected("row_of_another_split", record.location, name)
                continue
            row = Triplet.read(record, columns)
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

    def _records(self, columns: TripletColumns) -> Iterator[Record]:
        """Yield the rows of all files, checked for unread labels and scores."""
        checked: set[tuple[str, ...]] = set()
        for file in self._files():
            for record in read(file):
                if (names := tuple(record.values)) not in checked:
                    columns.check_unread(record)
                    checked.add(names)
                yield record

    def _files(self) -> list[Path]:
        local = local_data(self.path, revision=self.revision)
        if local.is_file():
            return [local]
        patterns = [f"{root}{self.split}{rest}" for root in ("", "data/", "*/") for rest in (".*", "-*.parquet")]
        files = find(local, patterns, tables=True)
        if not files:
            names = ", ".join(sorted(file.name for file in local.iterdir())[:8]) or "nothing"
            raise InputError(f"data.split={self.split}: {local} has no such file (it has {names}): choose another")
        return files
