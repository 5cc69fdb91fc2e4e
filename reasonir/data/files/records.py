"""Rows of any common file as dictionaries, each with its location for error messages."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from reasonir.errors import InputError
from reasonir.utils.files import sha256

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz", ".tsv.gz")


class _Quoted(csv.excel):
    strict = True


class _Bare(csv.excel_tab):
    strict = True
    quoting = csv.QUOTE_NONE


class Record(NamedTuple):
    """One row; `location` is like "file, line 7"."""

    location: str
    values: dict[str, Any]


def read(file: Path) -> Iterator[Record]:
    """Yield the rows of a jsonl, json, csv, tsv or parquet file, gzipped or not.

    Raises:
        InputError: the file or a row doesn't have the format that the file's name claims.
    """
    if not file.is_file():
        raise InputError(f"{file} doesn't exist: check the path")
    try:
        yield from _rows(file)
    except UnicodeDecodeError as error:
        raise not_utf8(file, error) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{file} isn't a complete gzip file ({error}): fetch it again") from error


def not_utf8(file: Path, error: UnicodeDecodeError) -> InputError:
    """Return the error for a file in another encoding."""
    byte = error.object[error.start]
    return InputError(f"{file} isn't UTF-8 (byte {byte:#04x}): convert it, for instance with iconv -f cp1252 -t utf-8")


def _rows(file: Path) -> Iterator[Record]:
    kind = file.name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind == "parquet":
        yield from _parquet(file)
    elif kind == "jsonl":
        yield from _jsonl(file)
    elif kind == "json":
        yield from _json(file)
    elif kind in ("csv", "tsv"):
        yield from _separated(file, "," if kind == "csv" else "\t")
    else:
        raise InputError(f"{file} is of an unknown kind: expected one of {', '.join(SUFFIXES)}")


def find(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the first glob pattern in `names` that matches any, sorted; empty when none does."""
    for name in names:
        if files := sorted(file for file in folder.glob(name) if file.is_file()):
            return files
    return []


def digests(files: Sequence[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path relative to `root`."""
    return {str(file.relative_to(root) if file.is_relative_to(root) else file): sha256(file) for file in files}


def text_of(record: Record, key: str) -> str:
    """Return the non-empty string under `key`.

    Raises:
        InputError: it is missing, not a string, or blank.
    """
    if key not in record.values:
        columns = ", ".join(record.values) or "nothing"
        raise InputError(f"{record.location}: '{key}' is missing (the row has {columns}): add it or rename the column")
    value = record.values[key]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{record.location}: '{key}' is {value!r}, expected a string: fill it in or remove the row")
    return value


def _open(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")  # spreadsheets write a byte-order mark


def _jsonl(file: Path) -> Iterator[Record]:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            location = f"{file}, line {number}"
            if line.strip():
                yield _record(location, _parse(location, line))


def _json(file: Path) -> Iterator[Record]:
    with _open(file) as stream:
        rows = _parse(str(file), stream.read())
    if not isinstance(rows, list):
        raise InputError(
            f"{file} holds {type(rows).__name__}, expected a list of objects: wrap it in [ ] or use .jsonl"
        )
    for number, row in enumerate(rows, 1):
        yield _record(f"{file}, item {number}", row)


def _separated(file: Path, separator: str) -> Iterator[Record]:
    with _open(file) as stream:
        # Tab-separated qrels quote nothing: ids may contain quotation marks.
        rows = csv.DictReader(stream, dialect=_Quoted if separator == "," else _Bare)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{file}, line {rows.line_num + 1}: {error}: fix the row") from error
            location = f"{file}, line {rows.line_num}"
            if None in row or None in row.values():
                expected = len(rows.fieldnames or [])
                raise InputError(f"{location}: the row doesn't have the {expected} columns of the header: fix the row")
            yield Record(location, row)


def _parquet(file: Path) -> Iterator[Record]:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except Exception as error:
        raise InputError(f"{file} isn't a readable parquet file ({error}): fetch or write it again") from error
    number = 0
    for batch in table.iter_batches(batch_size=2048):
        for row in batch.to_pylist():
            number += 1
            yield Record(f"{file}, row {number}", row)


def _parse(location: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{location}: not valid JSON ({error.msg} at column {error.colno}): fix the row") from error


def _record(location: str, row: Any) -> Record:
    if not isinstance(row, dict):
        raise InputError(f"{location}: holds {type(row).__name__}, expected an object with named fields: fix the row")
    return Record(location, row)
