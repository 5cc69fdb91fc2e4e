"""The published context-relevance schema (OpenProvence's data sets): a query and passages whose sentences are judged.

A row holds id, query, texts, context_spans (character ranges of each text's sentences), context_spans_relevance (which
of them help: a mask, or their numbers), labels (of the texts) and any number of teacher_scores.<name>. Whether a text
is labelled relevant and whether one of its sentences helps are judged apart in the published sets, by mining and by a
language model, so they may differ. What a row says of one thing twice may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from reasonir.data.base import content_id, content_key
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import SUFFIXES, Record, find, read, text_of
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text

TEACHER = "teacher_scores."


def read_examples(
    path: str,
    split: str,
    *,
    subset: str | None = None,
    revision: str | None = None,
    teacher_column: str | None = None,
    key: str = "data",
) -> Iterator[Example]:
    """The rows of a set as examples, texts that a row repeats once.

    Raises:
        InputError: naming file, row, field, value and remedy.
    """
    for file in files_of(path, split, subset, revision, key):
        for record in _records(file):
            yield _example(record, teacher_column)


def task_of(name: str, rows: Iterable[Example], protocol: Mapping[str, str]) -> Task:
    """The task of ordering the texts of each row.

    Raises:
        InputError: a row without a relevant text, or an id that is there twice.
    """
    texts: dict[str, str] = {}
    queries: dict[str, Text] = {}
    qrels, candidates = {}, {}
    for row in rows:
        if row.query_id in queries:
            raise InputError(f"task {name}: the id {row.query_id!r} is there twice: give every row its own")
        queries[row.query_id] = Text(row.query)
        qrels[row.query_id] = {document.doc_id: int(document.label > 0) for document in row.documents}
        candidates[row.query_id] = [document.doc_id for document in row.documents]
        texts |= {document.doc_id: document.text for document in row.documents}
    stamped = {**protocol, "queries": str(len(queries)), "candidates": "the row's own texts"}
    corpus = Corpus(list(texts), list(texts.values()))
    return Task(name, queries, corpus, qrels, protocol=stamped, candidates=candidates)


def files_of(path: str, split: str, subset: str | None, revision: str | None, key: str) -> list[Path]:
    """The files of a split, or the folder that `datasets` saved it to as its Arrow files."""
    local = local_data(path, revision=revision, key=f"{key}.path")
    if local.is_file():
        return [local]
    folder = local / subset if subset and (local / subset).is_dir() else local
    # datasets puts the set that it calls default into data/
    within = f"{subset}/" if subset not in (None, "default") and folder == local else ""
    saved = find(folder, [f"{split}/data-*.arrow", *(["data-*.arrow"] if (folder / "state.json").is_file() else [])])
    patterns = [f"{place}{within}{split}{rest}" for place in ("", "data/", "default/") for rest in (".*", "-*.parquet")]
    found = saved or [file for file in find(folder, patterns) if file.name.endswith(SUFFIXES)]
    if not found:
        there = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        of = f" of {key}.subset={subset}" if subset else ""
        raise InputError(f"{key}.split={split}{of}: {folder} has no such file (it holds {there}): name one it has")
    return found


def _records(file: Path) -> Iterator[Record]:
    if file.suffix != ".arrow":
        yield from read(file)
        return
    from datasets import Dataset

    for number, row in enumerate(Dataset.from_file(str(file)), 1):
        yield Record(f"{file}, row {number}", row)


def _example(record: Record, teacher_column: str | None) -> Example:
    values = record.values
    query_id, query = str(values.get("id") or text_of(record, "id")), text_of(record, "query")
    texts = _list(record, "texts", None)
    if not texts:
        raise InputError(f"{record.place}: 'texts' is empty: give at least one, or remove the row")
    given = {key: _list(record, key, len(texts)) for key in ("labels", "context_spans", "context_spans_relevance")}
    columns = [name for name in values if name.startswith(TEACHER)]
    if teacher_column is not None and teacher_column not in columns:
        raise InputError(
            f"{record.place}: data.teacher_column={teacher_column} isn't there; of teachers the row has "
            f"{', '.join(columns) or 'none'}: choose one of them, or null"
        )
    teachers = {
        name.removeprefix(TEACHER): _list(record, name, len(texts))
        for name in (columns if teacher_column is None else [teacher_column])
    }
    documents: dict[int, Document] = {}
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{record.place}: 'texts', item {place}, is {text!r}: give a text, or remove it")
        key = content_key(text)
        spans = _spans(record, place, given["context_spans"][place], text)
        found = Document(
            content_id(text),
            text,
            label=_number(record, "labels", place, given["labels"][place]),
            teachers={name: _number(record, TEACHER + name, place, scores[place]) for name, scores in teachers.items()},
            spans=spans,
            span_labels=_relevance(record, place, given["context_spans_relevance"][place], len(spans)),
        )
        known = documents.setdefault(key, found)
        if (known.label, known.span_labels) != (found.label, found.span_labels):
            raise InputError(
                f"{record.place}: 'texts', item {place}, is there twice and judged differently: keep one of them"
            )
    return Example(query_id, query, tuple(documents.values()))


def _list(record: Record, key: str, length: int | None) -> list[Any]:
    value = record.values.get(key)
    if not isinstance(value, list):
        there = f"is {value!r}" if key in record.values else f"is missing (the row has {', '.join(record.values)})"
        raise InputError(f"{record.place}: '{key}' {there}, expected a list: fill it in or rename the column")
    if length is not None and len(value) != length:
        raise InputError(f"{record.place}: '{key}' has {len(value)} items and 'texts' {length}: give one for each")
    return value


def _number(record: Record, key: str, place: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
        raise InputError(f"{record.place}: '{key}', item {place}, is {value!r}, expected a number: fill it in")
    return float(value)


def _spans(record: Record, place: int, spans: Any, text: str) -> tuple[tuple[int, int], ...]:
    """The spans of a text, which lie in it and one behind the other."""
    found: list[tuple[int, int]] = []
    for span in spans if isinstance(spans, list) else [spans]:
        if not isinstance(span, list | tuple) or len(span) != 2 or not all(type(edge) is int for edge in span):
            what = "expected [start, end]"
        elif not 0 <= span[0] < span[1] <= len(text):
            what = f"which isn't within its text of {len(text)} characters"
        elif found and span[0] < found[-1][1]:
            what = f"which begins before {list(found[-1])} ends"
        else:
            found.append((span[0], span[1]))
            continue
        raise InputError(f"{record.place}: 'context_spans', item {place}, has {span!r}, {what}: mend the row")
    return tuple(found)


def _relevance(record: Record, place: int, given: Any, spans: int) -> tuple[float, ...]:
    """Whether each span helps, by a mask (as many values of 0 and 1 as there are spans) or the numbers of those."""
    whole = isinstance(given, list) and all(type(value) in (int, bool) for value in given)
    if whole and len(given) == spans and set(given) <= {0, 1}:
        return tuple(float(value) for value in given)
    if whole and len(set(given)) == len(given) and all(0 <= value < spans for value in given):
        return tuple(float(number in given) for number in range(spans))
    raise InputError(
        f"{record.place}: 'context_spans_relevance', item {place}, is {given!r} for {spans} spans: give a 0 or 1 for "
        "each, or the numbers of those that help, counted from 0"
    )
