"""Rows of tables as `datasets` streams them: from disk or the hub, without a copy, with a state to resume from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from reasonir.data.files.records import Bare, Quoted
from reasonir.errors import InputError

_BUILDERS = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "tsv": "csv"}


class RowStream:
    """Rows of files of one kind, in the order of the files.

    Args:
        addresses: paths or hub addresses.
        name: of the data set, for messages.
    """

    def __init__(self, addresses: Sequence[str], name: str) -> None:
        from datasets import load_dataset

        kinds = {address.lower().removesuffix(".gz").rpartition(".")[2] for address in addresses}
        if len(kinds) > 1:
            raise InputError(f"{name}: a stream is read from files of one kind, these are {', '.join(sorted(kinds))}")
        (self.kind,) = kinds
        self.name = name
        try:
            options = _cells(addresses[0], "\t" if self.kind == "tsv" else ",") if self.cells else {}
            builder = _BUILDERS[self.kind]
            self._rows = load_dataset(builder, data_files=[*addresses], split="train", streaming=True, **options)
        except _faults() as error:
            raise self._unreadable(error) from error

    @property
    def cells(self) -> bool:
        """True for csv and tsv, whose values are all strings."""
        return self.kind in ("csv", "tsv")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows.

        Raises:
            InputError: a file can't be read.
        """
        try:
            yield from self._rows
        except _faults() as error:
            raise self._unreadable(error) from error

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last row."""
        state: dict[str, Any] = self._rows.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the row whose state this is."""
        self._rows.load_state_dict(state)

    def _unreadable(self, error: Exception) -> InputError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return InputError(f"{self.name} can't be read as a stream of {self.kind} ({reason}): check its files")


def _cells(address: str, separator: str) -> dict[str, Any]:
    """Return the options by which a table's cells are read as `records.read` reads them: every one a string."""
    import fsspec
    from datasets import Features, Value

    dialect = Bare if separator == "\t" else Quoted
    with fsspec.open(address, "rt", encoding="utf-8-sig", newline="", compression="infer") as stream:
        header = next(csv.reader(stream, dialect=dialect), [])
    features = Features({name: Value("string") for name in header})
    return {"features": features, "keep_default_na": False, "sep": separator, "quoting": dialect.quoting}


def _faults() -> tuple[type[Exception], ...]:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError
    from pyarrow import ArrowException

    return DatasetsError, ArrowException, HfHubHTTPError, OSError, ValueError, TypeError
