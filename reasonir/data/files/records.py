"""Rows of any common file as dictionaries, each with its location for error messages, and their values as checked.

Gzipped files are recognised by their content, kinds by the suffix in upper or lower case. Names of columns and keys are
unique. Cells of csv and tsv are strings; a cell that is a JSON list is that list: read where a field may hold one,
refused where it must be a text, as in the other formats. Csv quotes as spreadsheets do, tsv quotes nothing, since ids
in qrels may contain quotation marks.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reasonir.errors import InputError
from reasonir.utils.files import sha256
from reasonir.utils.parsing import MAX_LINE, BoundedText, parse_json, read_whole
from reasonir.utils.values import check_id, check_text, is_encodable, shorten

_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
SUFFIXES = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS))
_GZIP = b"\x1f\x8b"
_STRINGS = re.compile(r"""\s*\[\s*["'].*["']\s*\]\s*""", re.DOTALL)
"""Pattern of a list of strings as Python prints it, which pandas writes into a csv cell."""
csv.field_size_limit(MAX_LINE)


class Quoted(csv.excel):
    """Dialect of csv: cells quoted as spreadsheets quote them."""

    strict = True


class Bare(csv.excel_tab):
    """Dialect of tsv: nothing is quoted."""

    strict = True
    quoting = csv.QUOTE_NONE


class Record(NamedTuple):
    """One row; `location` is like "file, line 7"; `cells` is true for csv and tsv, whose values are all strings."""

    location: str
    values: dict[str, Any]
    cells: bool = False


def is_table(file: Path) -> bool:
    """Return whether `read` knows the kind of a file, by its suffix."""
    return file.name.lower().endswith(SUFFIXES)


def read(file: Path) -> Iterator[Record]:
    """Yield the rows of a jsonl, json, csv, tsv or parquet file, gzipped or not, or of one that `datasets` saved.

    Raises:
        InputError: the file or a row doesn't have the format that the file's name claims.
    """
    kind = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind in ("parquet", "arrow"):
        yield from _arrow(file, kind)
    elif kind == "jsonl":
        yield from _jsonl(file)
    elif kind == "json":
        yield from _json(file)
    elif kind in ("csv", "tsv"):
        yield from _separated(file, Quoted if kind == "csv" else Bare)
    else:
        raise InputError(f"{file} is of an unknown kind: expected one of {', '.join(SUFFIXES)}")


@contextmanager
def open_bytes(file: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """Open a file, gzipped or not, for reading; errors of reading in the block are the user's.

    Raises:
        InputError: the file can't be read, isn't UTF-8 or isn't a complete gzip file.
    """
    if not file.is_file():
        state = "is a folder: give a file" if file.is_dir() else "doesn't exist: check the path"
        raise InputError(f"{file} {state}")
    try:
        with file.open("rb") as raw:
            yield gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(_GZIP) else raw
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{file} isn't a complete gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise InputError(f"{file} can't be read ({error}): check the file and its permissions") from error


@contextmanager
def open_text(file: Path, *, newline: str | None = None) -> Iterator[BoundedText]:
    """Open a UTF-8 file as `open_bytes` does, without the byte-order mark that spreadsheets write.

    Raises:
        InputError: as `open_bytes`, or a line is too long.
    """
    with open_bytes(file) as stream:
        yield BoundedText(stream, encoding="utf-8-sig", newline=newline)


def find(folder: Path, names: Iterable[str], *, tables: bool = False) -> list[Path]:
    """Return the files of the first glob pattern in `names` that matches any, sorted; empty when none does.

    Upper and lower case count as equal where no file matches otherwise. With `tables`, other files don't match.
    """
    names = list(names)
    for name in [*names, *map(_any_case, names)]:
        found = (file for file in folder.glob(name) if file.is_file())
        if files := sorted(file for file in found if is_table(file) or not tables):
            return files
    return []


def digests(files: Sequence[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path relative to `root`.

    Raises:
        InputError: a file can't be read.
    """
    try:
        return {str(file.relative_to(root) if file.is_relative_to(root) else file): sha256(file) for file in files}
    except OSError as error:
        raise InputError(f"{error.filename} can't be read ({error}): check the file and its permissions") from error


def text_of(record: Record, key: str, *, required: bool = True) -> str:
    """Return the text under `key`, or "" for a missing, null or blank one that isn't `required`.

    Raises:
        InputError: it is missing or isn't a text.
    """
    value = value_of(record, key)
    if not required and (value is None or (isinstance(value, str) and not value.strip())):
        return ""
    if key not in record.values:
        raise _missing(record, key)
    return check_cell(record, key, value)


def text_or_blank(record: Record, key: str = "text") -> str:
    """Return the text under `key`, or "" for a blank or null one.

    Raises:
        InputError: the row has no such column, or it holds something other than a text.
    """
    return text_of(record, key, required=key not in record.values)


def check_cell(record: Record, key: str, value: object) -> str:
    """Return a value of the column `key` that is a text.

    Raises:
        InputError: it isn't one, or it is a cell with a list in Python's form.
    """
    _check_no_list(record, key, value)
    return check_text(value, f"{record.location}: '{key}'")


def value_of(record: Record, key: str) -> Any:
    """Return the value under `key`, None if there is none; a cell that is a JSON list gives that list."""
    value = record.values.get(key)
    if record.cells and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return parse_json(value, record.location, remedy="fix the row")
        except InputError:  # a text that begins with a bracket
            return value
    return value


def id_of(record: Record, names: Sequence[str] = ("id",), *, number: int | None = None) -> str:
    """Return the id under the first of `names` that the row has, or its `number` where all are missing or empty.

    Raises:
        InputError: it isn't an id, or there is neither an id nor a number.
    """
    for name in names:
        if (value := value_of(record, name)) not in (None, ""):
            _check_no_list(record, name, value)
            return check_id(value, f"{record.location}: '{name}'")
    if number is not None:
        return str(number)
    if names[0] not in record.values:
        raise _missing(record, names[0])
    return check_id(record.values[names[0]], f"{record.location}: '{names[0]}'")


def document_text(record: Record) -> str:
    """Return a document's title and text as one string; either may be missing or empty.

    Raises:
        InputError: one isn't a string.
    """
    return f"{text_of(record, 'title', required=False)} {text_of(record, 'text', required=False)}".strip()


def _check_no_list(record: Record, key: str, value: object) -> None:
    if record.cells and isinstance(value, str) and _STRINGS.fullmatch(value):
        raise InputError(
            f"{record.location}: '{key}' is {shorten(value)}, which looks like a list, expected a string or a JSON "
            'list such as ["a", "b"]: fix the row, or use .jsonl'
        )


def _missing(record: Record, key: str) -> InputError:
    columns = ", ".join(record.values) or "nothing"
    return InputError(f"{record.location}: '{key}' is missing (the row has {columns}): add it or rename the column")


def _any_case(pattern: str) -> str:
    return "".join(f"[{char.lower()}{char.upper()}]" if char.isascii() and char.isalpha() else char for char in pattern)


def _not_utf8(file: Path, error: UnicodeDecodeError) -> InputError:
    other = "utf-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
    return InputError(
        f"{file} isn't UTF-8 (byte {error.object[error.start]:#04x}): convert it, for instance with "
        f"iconv -f {other} -t utf-8 {shlex.quote(str(file))} > utf-8{file.suffix}"
    )


def _jsonl(file: Path) -> Iterator[Record]:
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            location = f"{file}, line {number}"
            if line.strip():
                yield _record(location, _parse(location, line))


def _json(file: Path) -> Iterator[Record]:
    with open_bytes(file) as stream:
        text = read_whole(stream, file).decode("utf-8-sig")
    if text.lstrip().startswith("{") and "\n{" in text:  # JSON lines, which many sets on the hub name .json
        yield from _jsonl(file)
        return
    rows = _parse(str(file), text)
    if not isinstance(rows, list):
        raise InputError(
            f"{file} holds {type(rows).__name__}, expected a list of objects: wrap it in [ ] or use .jsonl"
        )
    for number, row in enumerate(rows, 1):
        yield _record(f"{file}, item {number}", row)


def _separated(file: Path, dialect: type[csv.Dialect]) -> Iterator[Record]:
    header: list[str] = []
    with open_text(file, newline="") as stream:
        rows = csv.reader(stream, dialect=dialect)
        while True:
            location = f"{file}, line {rows.line_num + 1}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise InputError(f"{location}: {error}: fix the row") from error
            if row is None:
                return
            if not row:
                continue
            if not header:
                header = row
                _check_names(location, [name for name in header if name])  # a column without a name isn't read
            elif len(row) == len(header):
                yield Record(location, dict(zip(header, row, strict=True)), cells=True)
            else:
                raise InputError(
                    f"{location}: the row doesn't have the {len(header)} columns of the header: fix the row"
                )


def _arrow(file: Path, kind: str) -> Iterator[Record]:
    number = 0
    for names, rows in _batches(file, kind):
        _check_names(str(file), names)
        for row in rows:
            number += 1
            yield Record(f"{file}, row {number}", row)


def _batches(file: Path, kind: str) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Yield the names of the columns and some rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_bytes(file) as stream:
        source = io.BytesIO(read_whole(stream, file)) if isinstance(stream, gzip.GzipFile) else stream
        try:
            for batch in pa.ipc.open_stream(source) if kind == "arrow" else pq.ParquetFile(source).iter_batches(2048):
                yield batch.schema.names, batch.to_pylist()
        except (pa.ArrowException, ValueError, OSError) as error:
            raise InputError(f"{file} isn't a readable {kind} file ({error}): fetch or write it again") from error


def _parse(location: str, text: str) -> Any:
    return parse_json(text, location, remedy="fix the row", unique=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"an object has a key twice among {shorten([name for name, _ in pairs])}")
    return values


def _record(location: str, row: Any) -> Record:
    if not isinstance(row, dict):
        raise InputError(f"{location}: holds {type(row).__name__}, expected an object with named fields: fix the row")
    _check_names(location, row)
    return Record(location, row)


def _check_names(location: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{location}: two columns are named {name!r}: rename or remove one")
        if not is_encodable(name):
            raise InputError(f"{location}: {name!r} has half of a surrogate pair, which UTF-8 can't write: rename it")
        seen.add(name)
