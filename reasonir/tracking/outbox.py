"""Calls to MLflow, made in order as they come, or kept in the run's folder until they can be made.

A call that fails doesn't raise. It goes to undelivered.jsonl, a JSON object per line, and is tried again at the next
call, at the end of the run and by `python -m reasonir.sync`; calls that can be made don't wait for one that can't.
Making a call twice changes nothing: metrics carry their time, by which MLflow recognises those that it has.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.tracking.database import blocked, unavailable
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)
UNDELIVERED = "undelivered.jsonl"
PATIENCE = 10.0
"""Seconds that the call waits which first finds the database locked; the calls after it don't wait."""
LAST_PATIENCE = 120.0
"""Seconds that the end of a run waits."""
OPEN = "open"
"""The call that no other can be made before."""
_SHARE = 0.1
"""The share of the time that trying again may take."""

Call = dict[str, Any]
"""Its name, under "call", and its arguments: plain values."""


class Outbox:
    """The calls of one run.

    Args:
        home: MLflow's database is under it.
        folder: of the run; undelivered.jsonl is there while calls are waiting.
        make: makes a call; returns the call that has to follow it at once, if one has.
    """

    def __init__(self, home: Path, folder: Path, make: Callable[[Call], Call | None]) -> None:
        self.file = folder / UNDELIVERED
        self.calls = _read(self.file)
        self.failure: str | None = None
        self._home = home
        self._make = make
        self._in_file = self.file.is_file()
        self._not_before = 0.0

    def open(self, call: Call) -> None:
        """Send the call that opens the run; one that is to create it comes first, and once."""
        waits = any(waiting["call"] == OPEN for waiting in self.calls)
        if call["run_id"] is not None or not self.calls:
            self.send({"call": OPEN, **call})
            return
        if not waits:
            self.calls.insert(0, {"call": OPEN, **call})
            self._save()
        self.flush(PATIENCE)

    def send(self, call: Call) -> None:
        """Make a call after those that are waiting, or keep it."""
        self.calls.append(call)
        if self._in_file:
            self._append(call)
        self.flush(PATIENCE if self.failure is None else 0.0)

    def forget(self, outdated: Callable[[Call], bool]) -> None:
        """Drop waiting calls."""
        if any(map(outdated, self.calls)):
            self.calls = [call for call in self.calls if not outdated(call)]
            self._save()

    def flush(self, patience: float) -> None:
        """Make the calls that are waiting, after up to `patience` seconds in which the database is locked."""
        if not self.calls or (not patience and time.monotonic() < self._not_before):
            return
        before, untouched, was_in_file = self.failure, list(self.calls), self._in_file
        try:
            self.failure = "interrupted"  # where a signal ends the wait: nothing is lost, and nothing waits again
            self.failure = self._blocked(patience) or self._make_all(inf if patience else PATIENCE)
        finally:
            if self.calls != untouched or not self._in_file:
                self._save()
        if self.failure is not None and before is None:
            log.warning("Calls to MLflow fail and are kept in %s: %s", self.file, self.failure)
        if self.failure is None and (was_in_file or before is not None):
            log.info("MLflow has every call that was kept in %s", self.file)

    def _save(self) -> None:
        """Let the file be what is waiting."""
        try:
            if self.calls:
                with atomic_path(self.file) as partial:
                    partial.write_text("".join(_line(call) for call in self.calls))
            elif self._in_file:
                self.file.unlink(missing_ok=True)
            self._in_file = bool(self.calls)
        except OSError as error:
            self._in_file = False
            log.warning("%s can't be written (%s): %d calls wait in memory", self.file, error, len(self.calls))

    def _append(self, call: Call) -> None:
        try:
            with self.file.open("a") as stream:
                stream.write(_line(call))
        except OSError:
            self._in_file = False  # the next attempt writes all of it

    def _blocked(self, patience: float) -> str | None:
        if patience and blocked(self._home) is not None:
            log.info("MLflow's database is locked: waiting up to %.0f s", patience)
        return blocked(self._home, patience)

    def _make_all(self, longest: float) -> str | None:
        """Make the calls that can be made, and give up after `longest` seconds of failures; why the first one fails."""
        failure, position, started = None, 0, time.monotonic()
        stop = started + longest
        while position < len(self.calls):
            call = self.calls[position]
            try:
                following = self._make(call)
            except Exception as error:  # whatever it is: tracking doesn't end a run
                failure = failure or f"{call['call']}: {_said(error)}"
                if call["call"] == OPEN or unavailable(error) or time.monotonic() > stop:
                    break
                position += 1
            else:
                self.calls[position : position + 1] = [following] if following else []
        if failure is not None:
            self._not_before = time.monotonic() + (time.monotonic() - started) / _SHARE
        return failure


def _line(call: Call) -> str:
    return json.dumps(call) + "\n"


def _read(file: Path) -> list[Call]:
    """The calls of a file, without a last line that a power cut left unfinished.

    Raises:
        InputError: another line is damaged.
    """
    calls = []
    for number, line in enumerate(file.read_text().splitlines(keepends=True) if file.is_file() else [], 1):
        try:
            if line.endswith("\n"):
                calls.append(dict(json.loads(line)))
        except ValueError as error:
            raise InputError(f"{file}, line {number} is no call to MLflow ({error}): remove the line") from error
    return calls


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
