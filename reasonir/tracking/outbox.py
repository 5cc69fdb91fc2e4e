"""Queue of calls to MLflow: made in order, or stored in the run's folder until they succeed.

A failing call doesn't raise. It is stored in undelivered.jsonl, one JSON object per line, and retried at the next call,
at the end of the run and by `python -m reasonir.sync`; later calls don't wait for a failing one. Calls are idempotent:
metrics carry their time, by which MLflow recognises duplicates.
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
"""Seconds that the first call waits for a locked database; calls after it don't wait."""
LAST_PATIENCE = 120.0
"""Seconds that the end of a run waits for a locked database."""
OPEN = "open"
"""Call that must come before all others."""
_SHARE = 0.1
"""Share of the time that retries may take."""

Call = dict[str, Any]
"""Name of the call under "call", and its arguments as plain values."""


class Outbox:
    """Calls of one run.

    Attributes:
        unsaved: the error that kept waiting calls from being stored, None if they are.

    Args:
        home: root of MLflow's database.
        folder: of the run; has undelivered.jsonl while calls are waiting.
        make: makes a call; returns a call that has to follow at once, or None.
    """

    def __init__(self, home: Path, folder: Path, make: Callable[[Call], Call | None]) -> None:
        self.file = folder / UNDELIVERED
        self.calls = _read(self.file)
        self.failure: str | None = None
        self.unsaved: OSError | None = None
        self._home = home
        self._make = make
        self._in_file = self.file.is_file()
        self._not_before = 0.0

    def open(self, call: Call) -> None:
        """Send the call that opens the run; a call that creates it goes before all others, and only once."""
        waits = any(waiting["call"] == OPEN for waiting in self.calls)
        if call["run_id"] is not None or not self.calls:
            self.send({"call": OPEN, **call})
            return
        if not waits:
            self.calls.insert(0, {"call": OPEN, **call})
            self._save()
        self.flush(PATIENCE)

    def send(self, call: Call) -> None:
        """Make a call after the waiting ones, or store it."""
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
        """Make the waiting calls, after waiting up to `patience` seconds for a locked database."""
        if not self.calls or (not patience and time.monotonic() < self._not_before):
            return
        before, untouched, was_in_file = self.failure, list(self.calls), self._in_file
        try:
            self.failure = "interrupted"  # by a signal during the wait: later calls don't wait
            self.failure = self._blocked(patience) or self._make_all(inf if patience else PATIENCE)
        finally:
            if self.calls != untouched or not self._in_file:
                self._save()
        if self.failure is not None and before is None:
            log.warning("Calls to MLflow fail and are stored in %s: %s", self.file, self.failure)
        if self.failure is None and (was_in_file or before is not None):
            log.info("All calls stored in %s were delivered to MLflow", self.file)

    def _save(self) -> None:
        """Write the waiting calls to the file, or delete it if there are none."""
        try:
            if self.calls:
                with atomic_path(self.file) as partial:
                    partial.write_text("".join(_line(call) for call in self.calls))
            elif self._in_file:
                self.file.unlink(missing_ok=True)
            self._in_file, self.unsaved = bool(self.calls), None
        except OSError as error:
            self._in_file, self.unsaved = False, error
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
        """Make the calls that succeed, for at most `longest` seconds after a failure; return the first failure."""
        failure, position, started = None, 0, time.monotonic()
        stop = started + longest
        while position < len(self.calls):
            call = self.calls[position]
            try:
                following = self._make(call)
            except Exception as error:  # tracking must not end a run
                failure = failure or f"{call['call']}: {_first_line(error)}"
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
    """Read the calls of a file, without an incomplete last line, which a power cut may leave.

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


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
