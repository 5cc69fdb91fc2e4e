"""Errors that users cause, as opposed to bugs.

Commands print an `InputError` as one readable block and exit with status 2; anything else keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

HOW_TO_TRUST = "trust_remote_code=true (in Python trust_remote_code=True, served REASONIR_TRUST_REMOTE_CODE=1)"
"""Remedy in messages that refuse to run code from a checkpoint or a run's folder."""


class InputError(ValueError):
    """Unusable user input: the message names it, its value and the remedy.

    Attributes:
        problems: the single messages of an error that lists several.
        owner: the class whose constructor rejected its arguments.
    """

    problems: Sequence[str] = ()
    owner: type | None = None


class NotHereError(InputError):
    """Model or data set that may exist on a hub but isn't on this machine."""


def raise_errors(problems: Sequence[str], title: str, owner: type | None = None) -> None:
    """Raise one InputError that lists every problem, or return when there is none.

    Args:
        problems: one message each, naming the location, the value and the remedy.
        title: heading in the singular, such as "mistake in the configuration".
        owner: the class whose constructor rejected its arguments.

    Raises:
        InputError: `problems` isn't empty.
    """
    if problems:
        count = f"1 {title}" if len(problems) == 1 else f"{len(problems)} {title.replace(' ', 's ', 1)}"
        error = InputError("\n".join([f"{count}:", *(f"  - {problem}" for problem in problems)]))
        error.problems, error.owner = tuple(problems), owner
        raise error


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the choice closest to `word`, or "" if none is close."""
    close = difflib.get_close_matches(word, list(choices), 1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
