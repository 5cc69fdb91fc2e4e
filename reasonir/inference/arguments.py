"""Arguments of the Python API: one text or many, read by the rules of `reasonir.utils.values`, and values in a range.

Many texts are a list, tuple, generator, NumPy array or pandas Series of strings; a lone string is one text, not its
letters. Queries may be `Text`, with an instruction. Whatever else is given is refused by one InputError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.types import Text
from reasonir.utils.ranges import out_of_range
from reasonir.utils.values import check_id, check_text, shorten

Strings = str | Iterable[str]
Queries = str | Text | Iterable[str | Text]
_TEXT = "give a text, or leave it out"


def one_query(query: object) -> Text:
    """Return a query as a `Text`; a string has no instruction.

    Raises:
        InputError: it is neither.
    """
    return _query(query, "query", "give one string or Text, several queries one by one")


def many_queries(queries: object, name: str = "queries") -> list[Text]:
    """Return one query or several as a list.

    Raises:
        InputError: naming the one that is neither a string nor a `Text`.
    """
    return [_query(query, f"{name}[{index}]", _TEXT) for index, query in enumerate(_many(queries, name))]


def many_strings(texts: object, name: str = "texts", *, blank: bool = False) -> list[str]:
    """Return one text or several as a list of strings.

    Raises:
        InputError: naming the one that isn't a text; with `blank`, texts may be empty.
    """
    values = _many(texts, name)
    return [check_text(value, f"{name}[{index}]", remedy=_TEXT, blank=blank) for index, value in enumerate(values)]


def many_ids(ids: object, texts: int) -> list[str]:
    """Return the ids of `texts` texts.

    Raises:
        InputError: naming the one that is neither a text nor a whole number, or there are more or fewer of them.
    """
    values = _many([ids] if isinstance(ids, Integral) else ids, "ids")
    if len(values) != texts:
        raise InputError(f"{len(values)} ids for {texts} texts: give one id per text, or none")
    return [check_id(value, f"ids[{index}]", remedy="give every text an id") for index, value in enumerate(values)]


def check_path(path: object) -> str:
    """Return a path or a model's name as a string.

    Raises:
        InputError: it is neither, or the file system can't look it up.
    """
    if isinstance(path, str | Path) and str(path).strip():
        try:
            Path(path).expanduser().stat()
            return str(path)
        except (FileNotFoundError, NotADirectoryError):  # a hub id, or a folder to be written
            return str(path)
        except (OSError, ValueError, RuntimeError) as error:  # too long, not encodable, or an unknown user's home
            why = str(error).partition(":")[0]
    else:
        why = "expected a path"
    raise InputError(f"path is {shorten(path)} ({why}): give a folder, or of a model also a run's or hub id")


def check_range(name: str, value: object, hint: Any) -> None:
    """Refuse a value outside the range that an annotation declares (`reasonir.utils.ranges`).

    Raises:
        InputError: naming the argument, its value and the range.
    """
    for problem in out_of_range(name, value, hint):
        raise InputError(problem)


def _query(query: object, what: str, remedy: str) -> Text:
    text = query if isinstance(query, Text) else Text(check_text(query, what, remedy=remedy))
    check_text(text.text, what, remedy=remedy)
    check_text(text.instruction, f"the instruction of {what}", remedy="give a string, '' for none", blank=True)
    return text


def _many(values: object, name: str) -> list[Any]:
    if isinstance(values, str | Text):
        return [values]
    single = isinstance(values, bytes | bytearray | Mapping | set | frozenset) or getattr(values, "ndim", 1) != 1
    if single or not isinstance(values, Iterable):
        raise InputError(f"{name} is {shorten(values)} ({type(values).__name__}): give a string, or a list of strings")
    return list(values.tolist() if hasattr(values, "tolist") else values)  # NumPy's strings and numbers as Python's
