"""What goes wrong because of what a user gave, told apart from our own bugs.

Commands print an `InputError` as one readable block and exit with status 2; anything else keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

HOW_TO_TRUST = "trust_remote_code=true (in Python trust_remote_code=True, served REASONIR_TRUST_REMOTE_CODE=1)"
"""The remedy of messages that refuse to run code from a checkpoint or a run's folder."""


class InputError(ValueError):
    """Something a user gave cannot be used: the message names it, its value and the remedy.

    Attributes:
        problems: the sentences of a message that lists several.
        owner: the class whose constructor refused its arguments.
    """

    problems: Sequence[str] = ()
    owner: type | None = None


class NotHereError(InputError):
    """Something that has a name elsewhere, on a hub, isn't on this machine."""


def raise_errors(problems: Sequence[str], title: str, owner: type | None = None) -> None:
    """Raise one InputError that lists every problem, or return when there is none.

    Args:
        problems: one sentence each, naming the place, the value and the remedy.
        title: what is wrong, as a noun in the singular ("mistake in the configuration").
        owner: the class whose constructor refused its arguments.

    Raises:
        InputError: when `problems` isn't empty.
    """
    if problems:
        count = f"1 {title}" if len(problems) == 1 else f"{len(problems)} {title.replace(' ', 's ', 1)}"
        error = InputError("\n".join([f"{count}:", *(f"  - {problem}" for problem in problems)]))
        error.problems, error.owner = tuple(problems), owner
        raise error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the known name that `word` is like, a space before it; nothing where it is like none."""
    close = difflib.get_close_matches(word, list(known), 1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
