"""Where the sentences of a text stand, by Wikimedia's sentencex; headings and list items are sentences of their own.

Spans leave out the white space between them, as the published data sets have it.
"""

from __future__ import annotations

import re

_KANA = re.compile("[぀-ヿ]")


def sentences(text: str, language: str = "auto") -> tuple[tuple[int, int], ...]:
    """The characters [start, end) of each sentence.

    Args:
        text: any text.
        language: of its sentences, as a code (en, ja, ...); "auto" is ja where there are kana, otherwise en.
    """
    from sentencex import get_sentence_boundaries

    code = ("ja" if _KANA.search(text) else "en") if language == "auto" else language
    found = []
    for line in re.finditer(r"[^\n]+", text):
        for boundary in get_sentence_boundaries(code, line.group()):
            sentence = boundary["text"]
            start = line.start() + boundary["start_index"] + len(sentence) - len(sentence.lstrip())
            if sentence.strip():
                found.append((start, start + len(sentence.strip())))
    return tuple(found)
