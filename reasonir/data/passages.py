"""Sentences, words and passages of plain text, English or Japanese, by rules that need no model.

Latin sentences end with a stop before a space, unless a lower-case word follows or the stop belongs to an abbreviation;
Japanese ones at 。！？, unless a quotation goes on. A blank line ends any sentence, a single line break none: text may
be wrapped. Japanese isn't spaced, so two of its characters count as a word.
"""
# ruff: noqa: RUF001 -- the full-width marks are meant

from __future__ import annotations

import re
from collections.abc import Iterator

_END = re.compile(
    r"(?P<stop>[.!?])[.!?]*[\"'”’)\]]*(?=\s)"
    r"|[。！？]+(?![。！？」』）】])"
    r"|[。！？]+[」』）】]+(?=\s|[「『（【])"
    r"|\n[ \t\r]*(?=\n)"
)
_ABBREVIATIONS = frozenset(
    ["al", "approx", "ca", "cf", "dr", "eq", "eqs", "fig", "figs", "mr", "mrs", "ms", "prof", "resp", "sec", "st", "vs"]
)
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
Span = tuple[int, int]


def passage_sentences(text: str) -> list[Span]:
    """Where each sentence starts and ends, without the white space between them.

    >>> text = "Dr. Kay met J. Li et al. in Rome. Why? 雨が降る。"
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. Kay met J. Li et al. in Rome.', 'Why?', '雨が降る。']
    """
    found = []
    start = 0
    for end in [*_ends(text), len(text)]:
        part = text[start:end]
        if part.strip():
            first = start + len(part) - len(part.lstrip())
            found.append((first, first + len(part.strip())))
        start = end
    return found


def words(text: str) -> int:
    """How many words, two characters of an unspaced script counting as one.

    >>> words("two words"), words("雨が降る")
    (2, 2)
    """
    return len(_UNSPACED.sub(" ", text).split()) + (len(_UNSPACED.findall(text)) + 1) // 2


def passages(text: str, size: int) -> Iterator[str]:
    """The text cut at ends of sentences into passages of about equal length, of `size` words or a little more."""
    spans = passage_sentences(text)
    counts = [words(text[start:end]) for start, end in spans]
    share = sum(counts) / max(1, -(-sum(counts) // size))
    start, seen, cut = 0, 0, 1
    for number, (count, (_, end)) in enumerate(zip(counts, spans, strict=True)):
        seen += count
        if number == len(spans) - 1 or seen >= share * cut - 1e-9:
            yield text[start:end].strip()
            start, cut = end, int(seen / share + 1e-9) + 1


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match["stop"] is None or _closes(text, match.start(), match.end(), match["stop"]):
            yield match.end()


def _closes(text: str, at: int, end: int, stop: str) -> bool:
    """Whether a Latin stop at `at`, whose closing marks end at `end`, is the end of a sentence."""
    following = text[end : end + 20].lstrip().lstrip("\"'“‘([")
    if following[:1].islower():
        return False
    before = text[max(0, at - 20) : at].split()
    word = before[-1].lstrip("\"'“‘([") if before else ""
    return stop != "." or not (word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or "." in word)
