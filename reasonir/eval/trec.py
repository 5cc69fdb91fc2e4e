"""TREC files, plain or gzipped: rankings ("query Q0 document rank score name"), judgements ("query 0 document label").

Document ids may contain spaces, so lines are parsed from both ends.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reasonir.errors import InputError
from reasonir.types import Run
from reasonir.utils.files import atomic_path

_RANKED = re.compile(r"(?P<query>.+?)\s+Q0\s+(?P<document>.+?)\s+\d+\s+(?P<score>\S+)\s+\S+", re.IGNORECASE)
_JUDGED = re.compile(r"(?P<query>\S+)\s+\S+\s+(?P<document>.+?)\s+(?P<label>-?\d+)")


def write_run(run: Run, file: Path, name: str) -> None:
    """Write a run, each query's documents in trec_eval's order; the file appears only when it is complete."""
    with atomic_path(file) as partial, partial.open("w", encoding="utf-8") as stream:
        for query_id, ranking in run.items():
            for rank, (doc_id, score) in enumerate(ordered(ranking), 1):
                stream.write(f"{query_id} Q0 {doc_id} {rank} {score!r} {name.replace(' ', '_')}\n")


def ordered(ranking: dict[str, float]) -> list[tuple[str, float]]:
    """Return a query's documents in trec_eval's order: by score in single precision, ties by id, both descending."""
    return sorted(ranking.items(), key=lambda item: (_single(item[1]), item[0]), reverse=True)


def _single(score: float) -> float:
    """Round a score to single precision, as trec_eval does: scores that differ beyond seven digits are ties."""
    return float(np.float32(score))


def read_run(file: Path) -> Run:
    """Read a run; an empty file is an empty run.

    Raises:
        InputError: a line is malformed, or ranks a document twice for a query.
    """
    run: Run = {}
    for number, line in _lines(file):
        match = _RANKED.fullmatch(line)
        score = _number(match["score"]) if match else math.nan
        if match is None or math.isnan(score):
            raise InputError(
                f"{file}, line {number}: expected 'query Q0 document rank score name', found {line[:80]!r}"
            )
        ranking = run.setdefault(match["query"], {})
        if match["document"] in ranking:
            raise InputError(
                f"{file}, line {number}: {match['document']!r} is ranked twice for query {match['query']!r}: "
                "remove one of the lines"
            )
        ranking[match["document"]] = score
    return run


def read_judgements(file: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query -> document -> label.

    Raises:
        InputError: a line is malformed, or the file has none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(file):
        match = _JUDGED.fullmatch(line)
        if match is None:
            raise InputError(f"{file}, line {number}: expected 'query 0 document label', found {line[:80]!r}")
        qrels.setdefault(match["query"], {})[match["document"]] = int(match["label"])
    if not qrels:
        raise InputError(f"{file} holds no judgements: fetch it again")
    return qrels


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if not file.is_file():
        raise InputError(f"{file} doesn't exist: check the path")
    try:
        archive = file.suffix == ".gz"
        with gzip.open(file, "rt", encoding="utf-8-sig") if archive else file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.strip()
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{file} can't be read as UTF-8 text ({error}): fetch it again") from error
