"""Passages of about equal length, cut from long documents at the ends of sentences."""

from __future__ import annotations

from collections.abc import Iterator

from reasonir.utils.sentences import count_words, sentences


def passages(text: str, size: int) -> Iterator[str]:
    """Yield passages of about equal length, `size` words or a little more, that end with sentences."""
    spans = sentences(text, wrapped=True)
    counts = [count_words(text[start:end]) for start, end in spans]
    share = sum(counts) / max(1, -(-sum(counts) // size))
    start, seen, cut = 0, 0, 1
    for number, (count, (_, end)) in enumerate(zip(counts, spans, strict=True)):
        seen += count
        if number == len(spans) - 1 or seen >= share * cut - 1e-9:
            yield text[start:end].strip()
            start, cut = end, int(seen / share + 1e-9) + 1
