"""Tests of the ranges of characters."""

import re
import unicodedata

import pytest

from reasonir.utils.scripts import UNSPACED, marks


@pytest.mark.parametrize("text", ["水の々ー", "ｶﾅ", "ไทย", "ລາວ", "བོད", "မြန်မာ", "ខ្មែរ", "ꦗꦮ", "ꆈꌠ", "𠮷"])
def test_scripts_without_spaces_are_covered(text):
    assert re.fullmatch(f"[{UNSPACED}]+", text)


@pytest.mark.parametrize("text", ["plain", "é", "Привет", "한국어", "हिन्दी", "عربي", "עברית", "Việt", "。", "😀"])
def test_scripts_with_spaces_are_not(text):
    assert not re.search(f"[{UNSPACED}]", text)


def test_marks_are_those_of_unicode():
    pattern = re.compile(f"[{marks()}]")
    for code in range(0x20000):
        assert bool(pattern.match(chr(code))) == unicodedata.category(chr(code)).startswith("M"), hex(code)
