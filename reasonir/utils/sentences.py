"""Sentence boundaries by Wikimedia's sentencex, and word counts, for plain text in any language.

Spans exclude the white space between sentences, as in the published data sets.
"""

from __future__ import annotations

import re

from reasonir.utils.scripts import UNSPACED

_KANA = re.compile("[぀-ヿ]")
_LINE = re.compile(r"[^\n]+")
_PARAGRAPH = re.compile(r"(?:[^\n]|\n(?![^\S\n]*\n))+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
Span = tuple[int, int]


def sentences(text: str, language: str = "auto", *, wrapped: bool = False) -> tuple[Span, ...]:
    """Return the character range [start, end) of each sentence.

    >>> text = "Dr. Kay met J. Li et al. in Rome. Why? 雨が降る。"
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. Kay met J. Li et al. in Rome.', 'Why?', '雨が降る。']

    Args:
        text: any text.
        language: code (en, ja, ...); "auto" is ja for text with kana, otherwise en.
        wrapped: sentences continue across line breaks and end at blank lines; otherwise every line ends a sentence, so
            that headings and list items are separate sentences.
    """
    from sentencex import get_sentence_boundaries

    code = ("ja" if _KANA.search(text) else "en") if language == "auto" else language
    spans = []
    for block in (_PARAGRAPH if wrapped else _LINE).finditer(text):
        for boundary in get_sentence_boundaries(code, block.group()):
            sentence = boundary["text"]
            start = block.start() + boundary["start_index"] + len(sentence) - len(sentence.lstrip())
            if sentence.strip():
                spans.append((start, start + len(sentence.strip())))
    return tuple(spans)


def count_words(text: str) -> int:
    """Return the number of words; two characters of a script without spaces (Chinese, Thai, ...) count as one.

    >>> count_words("two words"), count_words("雨が降る")
    (2, 2)
    """
    return len(_UNSPACED.sub(" ", text).split()) + (len(_UNSPACED.findall(text)) + 1) // 2
