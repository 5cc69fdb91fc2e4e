"""Rows of the context-relevance schema, made up: one sentence in three tells why, and repeats the question's words."""

import json
from pathlib import Path

from tests.helpers import SENTENCES


def rows(count: int, *, teacher: str | None = None, others: int = 2) -> list[dict]:
    """Each row has a relevant text of three sentences, of which the second helps, and 2 to 5 others."""
    return [_row(number, teacher, others) for number in range(count)]


def write_rows(file: Path, count: int, **options) -> Path:
    """The rows as a jsonl file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in rows(count, **options)))
    return file


def _row(number: int, teacher: str | None, others: int) -> dict:
    def sentence(shift: int) -> str:
        return f"{SENTENCES[(number + shift) % len(SENTENCES)]} {number}."

    more = [[sentence(place)] for place in range(7, 6 + others)]
    texts = [[sentence(3), sentence(0), sentence(4)], [sentence(5), sentence(6)], *more]
    spans = []
    for text in texts:
        ends = [sum(map(len, text[: place + 1])) + place for place in range(len(text))]
        spans.append([[end - len(each), end] for each, end in zip(text, ends, strict=True)])
    row = {
        "id": f"r{number}",
        "query": f"why {SENTENCES[number % len(SENTENCES)]} {number}",
        "texts": [" ".join(text) for text in texts],
        "context_spans": spans,
        "context_spans_relevance": [[0, 1, 0], [0, 0], *([0] for _ in more)],
        "labels": [1, 0, *(0 for _ in more)],
    }
    return row if teacher is None else {**row, f"teacher_scores.{teacher}": [0.9, 0.2, *(0.1 for _ in more)]}
