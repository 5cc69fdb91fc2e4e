"""JSON, YAML, lines and whole files within bounds: whatever is in them, they are read or refused within seconds.

A small file may ask for anything: a compressed line of gigabytes, aliases that expand to billions of values, lists in
lists beyond Python's stack. Everything from outside is parsed here.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml

from reasonir.errors import InputError

MAX_LINE = 2**26
"""Characters of a line, or of a cell in csv."""
MAX_DEPTH = 100
"""Lists and objects in each other."""
MAX_RATIO = 200
"""Largest size of an unpacked file over that of the packed one, if it is read at once and beyond `MAX_LINE` bytes."""
_MAX_YAML, _MAX_VALUES = 2**20, 200_000
_LONGEST_NUMBER = 1000
"""Characters of a number in YAML: those with colons (1:30) take time that grows with the square of their length."""


class BoundedText(io.TextIOWrapper):
    """Text stream of a file whose lines have at most `MAX_LINE` characters.

    Iterating raises InputError at a longer one, after reading no more of it.
    """

    number = 0

    def __next__(self) -> str:  # type: ignore[override]
        """Return the next line."""
        line = self.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            raise InputError(
                f"{self.name}, line {self.number} has more than {MAX_LINE:,} characters: split it, or check that the "
                "file holds text"
            )
        return line


def read_whole(stream: IO[bytes] | gzip.GzipFile, file: Path) -> bytes:
    """Return all bytes of a stream that may unpack `file`.

    Raises:
        InputError: the file unpacks to more than `MAX_RATIO` times its size.
    """
    parts: list[bytes] = []
    size, packed = 0, file.stat().st_size
    while part := stream.read(2**22):
        parts.append(part)
        size += len(part)
        if size > max(MAX_LINE, MAX_RATIO * packed):
            raise InputError(
                f"{file} unpacks to more than {MAX_RATIO} times its size: unpack it first, if it is no trap"
            )
    return b"".join(parts)


def parse_json(
    text: str | bytes, what: str, *, remedy: str, unique: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Return the value of a JSON text.

    Args:
        text: of one value.
        what: its location, such as "file, line 7".
        remedy: end of the error message.
        unique: makes an object of its pairs, in place of dict.

    Raises:
        InputError: it isn't JSON, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InputError(f"{what}: not valid JSON ({error.msg} at {line}column {error.colno}): {remedy}") from error
    except RecursionError as error:
        raise _too_deep(what, remedy) from error
    except ValueError as error:  # what `unique` refuses, bytes that aren't text, an int of more than 4,300 digits
        raise InputError(f"{what}: not usable as JSON ({error}): {remedy}") from error
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if brackets > MAX_DEPTH and _is_deep(value):
        raise _too_deep(what, remedy)
    return value


def read_json(file: Path, *, remedy: str) -> Any:
    """Return the value of a JSON file.

    Raises:
        InputError: it can't be read, isn't JSON, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        return parse_json(file.read_bytes(), str(file), remedy=remedy)
    except OSError as error:
        raise InputError(f"{file} can't be read ({error.strerror}): {remedy}") from error


def read_yaml(file: Path, *, remedy: str) -> Any:
    """Return the plain values of a YAML file.

    Raises:
        InputError: it isn't YAML, or has more than a megabyte, more values than that when its aliases are expanded, or
            more than `MAX_DEPTH` of them in each other.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            text = stream.read(_MAX_YAML + 1)
        if len(text) > _MAX_YAML:
            raise InputError(f"{file} has more than {_MAX_YAML:,} characters, too many for YAML: {remedy}")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_large(node, str(file), remedy)
        return loader.construct_document(node)
    except RecursionError as error:
        raise _too_deep(str(file), remedy) from error
    except (yaml.YAMLError, ValueError, OverflowError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} can't be read as YAML ({error}): {remedy}") from error


def _refuse_large(root: Any, what: str, remedy: str) -> None:
    """Refuse a YAML document by the size and depth that it has when its aliases are expanded."""
    sizes: dict[Any, tuple[int, int]] = {}
    open_nodes: set[Any] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        children = [child for pair in pairs for child in pair] or (
            node.value if isinstance(node, yaml.SequenceNode) else []
        )
        left = [child for child in children if child not in sizes]
        if open_nodes.intersection(left):
            raise InputError(f"{what} has a value that holds itself (an alias within its anchor): {remedy}")
        if left:
            open_nodes.add(node)
            stack += left
            continue
        stack.pop()
        open_nodes.discard(node)
        if isinstance(node, yaml.ScalarNode) and len(node.value) > _LONGEST_NUMBER and not node.tag.endswith(":str"):
            raise InputError(f"{what} has a number of more than {_LONGEST_NUMBER:,} characters: {remedy}")
        size = 1 + sum(sizes[child][0] for child in children)
        depth = 1 + max((sizes[child][1] for child in children), default=0)
        if size > _MAX_VALUES:
            raise InputError(f"{what} expands to more than {_MAX_VALUES:,} values: {remedy}")
        if depth > MAX_DEPTH:
            raise _too_deep(what, remedy)
        sizes[node] = (size, depth)


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are in each other more than `MAX_DEPTH` times."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return False


def _too_deep(what: str, remedy: str) -> InputError:
    return InputError(f"{what} has more than {MAX_DEPTH} lists and objects in each other: {remedy}")
