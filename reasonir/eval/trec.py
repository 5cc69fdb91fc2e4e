"""TREC files, plain or gzipped: rankings ("query Q0 document rank score name"), judgements ("query 0 document label").

Columns are separated by spaces or by tabs. Ids may contain spaces: a line of such ids is written with tabs, and read
from both ends where it isn't. The columns Q0 and rank are not used, as in trec_eval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from reasonir.data.files.records import open_text
from reasonir.errors import InputError
from reasonir.types import Run
from reasonir.utils.files import atomic_path
from reasonir.utils.values import check_grade, check_id, check_number

_SPACE = " \t\v\f"
"""White space within a line, as in C: other spaces belong to ids."""
_CELLS, _GAPS = re.compile(f"[^{_SPACE}]+"), re.compile(f"[{_SPACE}]+")
_LONGEST = 100_000
_RANK = re.compile(r"[+-]?\d+(?:\.0*)?")


def write_run(run: Run, file: Path, name: str) -> None:
    """Write a run, each query's documents in trec_eval's order; the file appears only when it is complete.

    Raises:
        InputError: an id or a score is one that `read_run` couldn't read.
    """
    name = re.sub(r"\s+", "_", name)
    with atomic_path(file) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for query_id, ranking in run.items():
            for each in (query_id, *ranking):
                check_id(each, f"{file}: an id")
            for rank, (doc_id, score) in enumerate(ordered(ranking), 1):
                separator = "\t" if _GAPS.search(query_id) or _GAPS.search(doc_id) else " "
                stream.write(separator.join((query_id, "Q0", doc_id, str(rank), repr(float(score)), name)) + "\n")


def ordered(ranking: dict[str, float]) -> list[tuple[str, float]]:
    """Return a query's documents in trec_eval's order: by score in single precision, ties by id, both descending.

    Scores that differ beyond seven digits are ties.

    Raises:
        InputError: a score isn't finite.
    """
    with np.errstate(over="ignore"):
        singles_D = np.array(list(ranking.values()), dtype=np.float64).astype(np.float32)
    if not np.isfinite(singles_D).all():
        doc_id, score = list(ranking.items())[int(np.argmin(np.isfinite(singles_D)))]
        raise InputError(f"the score of document {doc_id!r} is {score}, expected a number: check the model or run file")
    ranked = sorted(zip(singles_D.tolist(), ranking, strict=True), reverse=True)
    return [(doc_id, ranking[doc_id]) for _, doc_id in ranked]


def read_run(file: Path) -> Run:
    """Read a run; an empty file is an empty run.

    Raises:
        InputError: a line is malformed, or ranks a document twice for a query.
    """
    run: Run = {}
    checked: set[str] = set()
    for location, line in _lines(file):
        query_id, doc_id, cell = _ranked(location, line)
        checked.update(_id(location, each) for each in (query_id, doc_id) if each not in checked)
        score = check_number(cell, f"{location}: the score", remedy="fix the line")
        ranking = run.setdefault(query_id, {})
        if doc_id in ranking:
            raise InputError(f"{location}: {doc_id!r} is ranked twice for query {query_id!r}: remove one of the lines")
        ranking[doc_id] = score
    return run


def read_judgements(file: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query -> document -> label.

    Raises:
        InputError: a line is malformed, two lines contradict each other, or the file has none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for location, line in _lines(file):
        columns = line.split("\t")
        if len(columns) == 4:
            query_id, _, doc_id, label = columns
        elif len(cells := list(_CELLS.finditer(line))) > 3:
            query_id, doc_id, label = cells[0][0], _between(line, cells[2:-1]), cells[-1][0]
        else:
            raise InputError(f"{location}: expected 'query 0 document label', found {line[:80]!r}")
        grade = check_grade(label, f"{location}: the label", remedy="fix the line")
        labels = qrels.setdefault(_id(location, query_id), {})
        if labels.setdefault(_id(location, doc_id), grade) != grade:
            raise InputError(
                f"{location}: {doc_id!r} has label {grade} for query {query_id!r}, and {labels[doc_id]} before: remove "
                "one of the lines"
            )
    if not qrels:
        raise InputError(f"{file} holds no judgements: fetch it again")
    return qrels


def _ranked(location: str, line: str) -> tuple[str, str, str]:
    """Return query id, document id and score of a line."""
    columns = line.split("\t")
    if len(columns) != 6:
        columns = _CELLS.findall(line)
    if len(columns) == 6 and (columns[1].upper() == "Q0" or "Q0" not in columns):
        return columns[0], columns[2], columns[4]
    cells = list(_CELLS.finditer(line))
    inner = [cell[0].upper() for cell in cells[1:-4]]
    for second in ("Q0", "0"):  # where ids contain spaces; 0 where there is no Q0
        if second in inner:
            if inner.count(second) == 1 and _RANK.fullmatch(cells[-3][0]):
                at = inner.index(second) + 1
                return _between(line, cells[:at]), _between(line, cells[at + 1 : -3]), cells[-2][0]
            break
    raise InputError(
        f"{location}: expected 'query Q0 document rank score name', found {line[:80]!r}: fix the line, or separate the "
        "columns with tabs"
    )


def _between(line: str, cells: Sequence[re.Match[str]]) -> str:
    """Return the part of a line from the first of these cells to the last."""
    return line[cells[0].start() : cells[-1].end()]


def _id(location: str, text: str) -> str:
    return check_id(text, f"{location}: the id", remedy="fix the line")


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the location and the text of each line that isn't blank."""
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if len(line) > _LONGEST:
                raise InputError(f"{file}, line {number} has more than {_LONGEST:,} characters: fix the line")
            if line.strip():
                yield f"{file}, line {number}", line.removesuffix("\n")
