"""The gate for values from outside: the rules for text, ids and numbers, the same for every format and call.

- A text is a string with at least one character that isn't white space, and that UTF-8 can write (it can't write half
  of a surrogate pair). Nothing is turned into text: not a number, a list, or None.
- An id is a text, or a whole number, which is read as its decimal digits. It is kept as it is, spaces included; tabs,
  line breaks and a byte-order mark at its start are refused, since no run file could carry it.
- A number is finite in single precision, in which scores and labels are kept. Formats without numbers (csv, tsv, TREC)
  write it in digits; True and False aren't numbers.
- A grade is a whole number, 1.0 included, of at most `MAX_GRADE` in absolute value: evaluation tools count from 0 to
  the largest.
"""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Integral

from reasonir.errors import InputError

MAX_GRADE = 10_000
MAX_NUMBER = (2 - 2**-23) * 2.0**127
"""Largest finite number in single precision."""
FIX = "fill it in or remove the row"
_SHOWN = 100
_MAX_BITS = 4096  # Python writes no int of more than 4,300 digits


def shorten(value: object) -> str:
    """Return a value as error messages show it: its repr, cut after a line."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an int of more than 4,300 digits, or too many lists in lists
        shown = f"a value of type {type(value).__name__} that is too long to show"
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def is_encodable(text: str) -> bool:
    """Return whether a string can be written as UTF-8: False for half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(value: object, what: str, *, remedy: str = FIX, blank: bool = False) -> str:
    """Return a value that is a text.

    Args:
        value: any value.
        what: location and name, such as "file, line 7: 'query'".
        remedy: end of the error message.
        blank: accept empty strings and white space.

    Raises:
        InputError: it isn't a text.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} is {shorten(value)}, expected a string: {remedy}")
    if not blank and not value.strip():
        raise InputError(f"{what} is {shorten(value)}, expected a string that isn't blank: {remedy}")
    if not is_encodable(value):
        raise InputError(
            f"{what} is {shorten(value)}, with half of a surrogate pair, which UTF-8 can't write: {remedy}"
        )
    return value


def check_id(value: object, what: str, *, remedy: str = FIX) -> str:
    """Return a value that is an id, as a string.

    Raises:
        InputError: it is neither a text nor a whole number, or a run file couldn't carry it.
    """
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value).bit_length() < _MAX_BITS:
        return str(int(value))
    if not isinstance(value, str):
        raise InputError(f"{what} is {shorten(value)}, expected a string or a whole number: {remedy}")
    if value.startswith("\ufeff") or any(character in value for character in "\t\n\r"):
        raise InputError(
            f"{what} is {shorten(value)}, expected an id without tabs, line breaks and a byte-order mark: rename it"
        )
    return check_text(value, what, remedy=remedy)


def check_number(
    value: object, what: str, *, low: float = -MAX_NUMBER, high: float = MAX_NUMBER, remedy: str = "fix the row"
) -> float:
    """Return a value that is a number from `low` to `high`.

    Raises:
        InputError: it isn't one.
    """
    number = number_of(value)
    if low <= number <= high:
        return number
    bounds = f" from {low:g} to {high:g}" if math.isfinite(number) or (low, high) != (-MAX_NUMBER, MAX_NUMBER) else ""
    raise InputError(f"{what} is {shorten(value)}, expected a number{bounds}: {remedy}")


def check_grade(value: object, what: str, *, remedy: str = "fix the row") -> int:
    """Return a value that is a grade of relevance.

    Raises:
        InputError: it isn't a whole number of at most `MAX_GRADE` in absolute value.
    """
    number = number_of(value)
    if number.is_integer() and abs(number) <= MAX_GRADE:
        return int(number)
    raise InputError(
        f"{what} is {shorten(value)}, expected a whole number from -{MAX_GRADE:,} to {MAX_GRADE:,}: {remedy}"
    )


def number_of(value: object) -> float:
    """Return a number, or a string that writes one, as a float; nan for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return math.nan
    if isinstance(value, str) and "_" in value:  # digits in Python's code alone
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
