"""TREC run files: "query Q0 document rank score name" a line, read from the right because ids may hold spaces."""

from __future__ import annotations

from pathlib import Path

from reasonir.errors import InputError
from reasonir.files import completed
from reasonir.types import Run


def write_run(run: Run, file: Path, name: str) -> None:
    """Write a run, each query's documents in trec_eval's order; the file appears only when it is complete."""
    with completed(file) as partial, partial.open("w", encoding="utf-8") as stream:
        for query_id, ranking in run.items():
            ordered = sorted(ranking.items(), key=lambda item: (item[1], item[0]), reverse=True)
            for rank, (doc_id, score) in enumerate(ordered, 1):
                stream.write(f"{query_id} Q0 {doc_id} {rank} {score!r} {name.replace(' ', '_')}\n")


def read_run(file: Path) -> Run:
    """Read a run.

    Raises:
        InputError: a line isn't of the form above.
    """
    run: Run = {}
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            query_id, _, rest = line.rstrip("\n").partition(" Q0 ")
            fields = rest.rsplit(maxsplit=3)
            try:
                doc_id, _, score, _ = fields
                run.setdefault(query_id, {})[doc_id] = float(score)
            except ValueError as error:
                raise InputError(f"{file}, line {number}: expected 'query Q0 document rank score name'") from error
    return run
