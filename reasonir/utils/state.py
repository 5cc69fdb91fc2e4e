"""State files: what reasonir writes to go on from later, each with a checksum, and read by one reader.

A JSON document has the SHA-256 of its other entries under "sha256"; a YAML file has that of its other lines in its
first line, so that a truncated file keeps it. Files of earlier versions have none and are read without this check.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from reasonir.errors import InputError
from reasonir.utils.files import atomic_folder, atomic_path, exclusive, sha256
from reasonir.utils.parsing import parse_json, read_yaml

log = logging.getLogger(__name__)

SUM = "sha256"
_SUMS = "checksums.json"
_HEADER = f"# {SUM}: "
_Values = TypeVar("_Values", dict[str, Any], list[Any])


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write a document of plain values with its checksum; the file is complete or absent.

    Raises:
        OSError: the file can't be written.
    """
    with atomic_path(file) as partial:
        partial.write_text(json.dumps({**document, SUM: _digest(document)}, indent=2), encoding="utf-8")


def read_json(file: Path, *, remedy: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """Return a document that `write_json` wrote.

    Args:
        file: which exists.
        remedy: what to do about a damaged file, for the message.
        keys: entries that it must have.

    Raises:
        InputError: it can't be read, isn't a complete JSON object, was changed, or lacks an entry.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} can't be read ({error}): {remedy}") from error
    document = parse_json(text, str(file), remedy=remedy) if text.strip() else None
    if not isinstance(document, dict):
        raise InputError(f"{file} holds {_kind(document)} instead of a JSON object: {remedy}")
    if (stated := document.pop(SUM, None)) is not None and stated != _digest(document):
        raise _changed(file, f'delete its entry "{SUM}"', remedy)
    if missing := [key for key in keys if key not in document]:
        raise InputError(f"{file} lacks the entry {missing[0]!r}: {remedy}")
    return document


def write_yaml(file: Path, values: Mapping[str, Any]) -> None:
    """Write plain values with their checksum; the file is complete or absent.

    Raises:
        OSError: the file can't be written.
    """
    _write_sealed(file, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def seal(file: Path) -> None:
    """Add a checksum to a YAML file that another library wrote, unless it has one.

    Raises:
        OSError: the file can't be written.
    """
    if not is_sealed(file):
        _write_sealed(file, file.read_text(encoding="utf-8"))


def is_sealed(file: Path) -> bool:
    """Return whether a YAML file exists and has a checksum."""
    return file.is_file() and file.read_bytes().startswith(_HEADER.encode())


def read_state_yaml(file: Path, kind: type[_Values], what: str, *, remedy: str) -> _Values:
    """Return the values of a file that `write_yaml` wrote or `seal` completed.

    Args:
        file: which exists.
        kind: of the values, dict or list.
        what: they are, for the message.
        remedy: what to do about a damaged file, for the message.

    Raises:
        InputError: it can't be read, isn't YAML, was changed, or holds values of another kind.
    """
    try:
        first, _, rest = file.read_bytes().partition(b"\n")
    except OSError as error:
        raise InputError(f"{file} can't be read ({error}): {remedy}") from error
    if first.startswith(_HEADER.encode()) and first != _header(rest):
        raise _changed(file, "delete its first line", remedy)
    values = read_yaml(file, remedy=remedy)
    if not isinstance(values, kind):
        raise InputError(f"{file} is no {what} (it holds {_kind(values)}): {remedy}")
    return values


def sums_of(files: Iterable[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of each file, by its path relative to `folder`."""
    return {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, SUM: sha256(file)} for file in sorted(files)
    }


def fault_of(folder: Path, sums: Mapping[str, Any]) -> str | None:
    """Return the first difference of files from their `sums_of`, None if there is none."""
    faults = ((folder / name, _fault(folder / name, expected)) for name, expected in sums.items())
    return next((f"{file} {fault}" for file, fault in faults if fault), None)


def cached_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder unless it exists with the files that were written; a warning names a damaged one.

    A folder without checksums, of an earlier version or the user's own, stays as it is.
    Commands that need the same folder wait for the first one to write it.
    """
    if _cache_fault(folder) is None:
        return
    with exclusive(folder):
        if (fault := _cache_fault(folder)) is None:
            return
        if folder.is_dir():
            log.warning("%s: the cache is written again", fault)
        with atomic_folder(folder, replaces=True) as partial:
            write(partial)
            files = [file for file in partial.rglob("*") if file.is_file()]
            write_json(partial / _SUMS, {"files": sums_of(files, partial)})


def _cache_fault(folder: Path) -> str | None:
    if not (folder / _SUMS).is_file():
        return None if folder.is_dir() else f"{folder} is missing"
    try:
        return fault_of(folder, read_json(folder / _SUMS, keys=("files",), remedy="delete the folder")["files"])
    except InputError as error:
        return str(error)


def _fault(file: Path, expected: Any) -> str | None:
    try:
        size, digest = file.stat().st_size, expected[SUM]
        if size != expected["size"]:
            return f"has {size} bytes instead of {expected['size']}"
        actual = sha256(file)
        return None if actual == digest else f"has SHA-256 {actual[:16]}... instead of {digest[:16]}..."
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read ({error})"
    except (KeyError, TypeError):
        return f"has no readable checksum ({expected!r})"


def _write_sealed(file: Path, text: str) -> None:
    raw = text.encode()
    with atomic_path(file) as partial:
        partial.write_bytes(_header(raw) + b"\n" + raw)


def _header(raw: bytes) -> bytes:
    return f"{_HEADER}{hashlib.sha256(raw).hexdigest()}".encode()


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _changed(file: Path, how: str, remedy: str) -> InputError:
    return InputError(
        f"{file} isn't as it was written (its checksum differs): {remedy}; if you changed it on purpose, {how}"
    )


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
