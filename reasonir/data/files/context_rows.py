"""Published context-relevance schema (OpenProvence's data sets): a query and passages with labelled sentences.

A row has id, query, texts, context_spans (character ranges of each text's sentences), context_spans_relevance (which
of them help: a mask, or their numbers), labels (of the texts) and any number of teacher_scores.<name>. In the published
sets, texts are labelled by mining and sentences by a language model, so the two may disagree; labels of equal texts
within a row may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reasonir.data.base import content_id, content_key
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, find, id_of, read, text_of, value_of
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.values import check_number, check_text, shorten

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
    """Yield the rows of a set as examples, with each distinct text once.

    Raises:
        InputError: a row can't be used, or has another row's id; names file, row, field, value and remedy.
    """
    ids: set[str] = set()
    for file in files_of(path, split, subset, revision, key):
        for record in read(file):
            example = _example(record, teacher_column)
            if example.query_id in ids:
                raise InputError(f"{record.location}: duplicate id {example.query_id!r}: ids must be unique")
            ids.add(example.query_id)
            yield example


def task_of(name: str, rows: Iterable[Example], protocol: Mapping[str, str]) -> Task:
    """Return the task of ranking the texts of each row."""
    texts: dict[str, str] = {}
    queries: dict[str, Text] = {}
    qrels, candidates = {}, {}
    for row in rows:
        queries[row.query_id] = Text(row.query)
        qrels[row.query_id] = {document.doc_id: int(document.label > 0) for document in row.documents}
        candidates[row.query_id] = [document.doc_id for document in row.documents]
        texts |= {document.doc_id: document.text for document in row.documents}
    protocol = {**protocol, "queries": str(len(queries)), "candidates": "the row's own texts"}
    corpus = Corpus(list(texts), list(texts.values()))
    return Task(name, queries, corpus, qrels, protocol=protocol, candidates=candidates)


def files_of(path: str, split: str, subset: str | None, revision: str | None, key: str) -> list[Path]:
    """Return the files of a split, which may be the Arrow files of a folder saved by `datasets`."""
    local = local_data(path, revision=revision, key=f"{key}.path")
    if local.is_file():
        return [local]
    folder = local / subset if subset and (local / subset).is_dir() else local
    # datasets puts the set that it calls default into data/
    within = f"{subset}/" if subset not in (None, "default") and folder == local else ""
    saved = find(folder, [f"{split}/data-*.arrow", *(["data-*.arrow"] if (folder / "state.json").is_file() else [])])
    patterns = [f"{root}{within}{split}{rest}" for root in ("", "data/", "default/") for rest in (".*", "-*.parquet")]
    files = saved or find(folder, patterns, tables=True)
    if not files:
        names = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
        of = f" of {key}.subset={subset}" if subset else ""
        raise InputError(f"{key}.split={split}{of}: {folder} has no such file (it has {names}): choose one of these")
    return files


def _example(record: Record, teacher_column: str | None) -> Example:
    query_id, query = id_of(record), text_of(record, "query")
    texts = _list(record, "texts", None)
    if not texts:
        raise InputError(f"{record.location}: 'texts' is empty: give at least one, or remove the row")
    lists = {key: _list(record, key, len(texts)) for key in ("labels", "context_spans", "context_spans_relevance")}
    columns = [name for name in record.values if name.startswith(TEACHER)]
    if teacher_column is not None and teacher_column not in columns:
        raise InputError(
            f"{record.location}: data.teacher_column={teacher_column} doesn't exist, the row's teacher columns are "
            f"{', '.join(columns) or 'none'}: choose one of them, or null"
        )
    teachers = {
        name.removeprefix(TEACHER): _list(record, name, len(texts))
        for name in (columns if teacher_column is None else [teacher_column])
    }
    documents: dict[int, Document] = {}
    for index, text in enumerate(texts):
        check_text(text, f"{record.location}: 'texts', item {index},", remedy="give a text, or remove it")
        spans = _spans(record, index, lists["context_spans"][index], text)
        document = Document(
            content_id(text),
            text,
            label=_number(record, "labels", index, lists["labels"][index]),
            teachers={name: _number(record, TEACHER + name, index, scores[index]) for name, scores in teachers.items()},
            spans=spans,
            span_labels=_relevance(record, index, lists["context_spans_relevance"][index], len(spans)),
        )
        first = documents.setdefault(content_key(text), document)
        if (first.label, first.span_labels) != (document.label, document.span_labels):
            raise InputError(
                f"{record.location}: 'texts', item {index}, is a duplicate with other labels: keep one of the two"
            )
    return Example(query_id, query, tuple(documents.values()))


def _list(record: Record, key: str, length: int | None) -> list[Any]:
    value = value_of(record, key)
    if not isinstance(value, list):
        state = (
            f"is {shorten(value)}" if key in record.values else f"is missing (the row has {', '.join(record.values)})"
        )
        raise InputError(f"{record.location}: '{key}' {state}, expected a list: fill it in or rename the column")
    if length is not None and len(value) != length:
        raise InputError(f"{record.location}: '{key}' has {len(value)} items and 'texts' {length}: give one for each")
    return value


def _number(record: Record, key: str, index: int, value: Any) -> float:
    return check_number(value, f"{record.location}: '{key}', item {index},", remedy="fill it in")


def _spans(record: Record, index: int, spans: Any, text: str) -> tuple[tuple[int, int], ...]:
    """Return the spans of a text, checked to be within it, ascending and disjoint."""
    checked: list[tuple[int, int]] = []
    for span in spans if isinstance(spans, list) else [spans]:
        if not isinstance(span, list | tuple) or len(span) != 2 or not all(type(edge) is int for edge in span):
            fault = "expected [start, end]"
        elif not 0 <= span[0] < span[1] <= len(text):
            fault = f"which isn't within its text of {len(text)} characters"
        elif checked and span[0] < checked[-1][1]:
            fault = f"which begins before {list(checked[-1])} ends"
        else:
            checked.append((span[0], span[1]))
            continue
        raise InputError(f"{record.location}: 'context_spans', item {index}, has {shorten(span)}, {fault}: fix the row")
    return tuple(checked)


def _relevance(record: Record, index: int, values: Any, spans: int) -> tuple[float, ...]:
    """Return 1 per span that helps, else 0, from a mask (one 0 or 1 per span) or the numbers of spans that help."""
    if isinstance(values, list) and len(values) == spans and all(value in (0, 1) for value in values):
        return tuple(float(value) for value in values)
    numbers = isinstance(values, list) and all(type(value) is int and 0 <= value < spans for value in values)
    if numbers and len(set(values)) == len(values):
        return tuple(float(number in values) for number in range(spans))
    raise InputError(
        f"{record.location}: 'context_spans_relevance', item {index}, is {shorten(values)} for {spans} spans: give "
        "a 0 or 1 for each, or the numbers of those that help, counted from 0"
    )
