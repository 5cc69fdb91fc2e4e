# ruff: noqa: RUF001 -- the full-width marks are meant
from itertools import pairwise

import pytest

from reasonir.data.passages import passage_sentences, passages, words


def split(text):
    return [text[start:end] for start, end in passage_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 m, cf. Fig. 2 of Li et al. 2019. Next.", ["It is 3.5 m, cf. Fig. 2 of Li et al. 2019.", "Next."]),
        (
            "E.g. this, i.e. that, by J. Smith. (A note.) End.",
            ["E.g. this, i.e. that, by J. Smith.", "(A note.)", "End."],
        ),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Well... perhaps. Yes.", ["Well... perhaps.", "Yes."]),
        ("A wrapped\nline ends. Here\n\nA heading\n\nText.", ["A wrapped\nline ends.", "Here", "A heading", "Text."]),
        ("雨が降る。風も吹く！本当？ええ", ["雨が降る。", "風も吹く！", "本当？", "ええ"]),
        ("「行く。」と言った。「帰る。」「はい。」", ["「行く。」と言った。", "「帰る。」", "「はい。」"]),
        ("PCRは3.5倍。 It works. そう。", ["PCRは3.5倍。", "It works.", "そう。"]),
        ("  \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert split(text) == expected


def test_nothing_but_white_space_stands_between_sentences():
    text = "One two.  Three\n\nfour? 五六。七八！\nNine. \r\n \r\n ten"
    covered = passage_sentences(text)
    gaps = [text[end:start] for (_, end), (start, _) in pairwise(covered)]
    assert "".join(gaps).strip() == ""
    assert "".join("".join(split(text)).split()) == "".join(text.split())


def test_two_unspaced_characters_count_as_a_word():
    assert [words(text) for text in ("", "one", "one, two", "雨が降る", "雨", "DNAの量")] == [0, 1, 2, 2, 1, 2]


@pytest.mark.parametrize(("size", "expected"), [(100, [60]), (30, [30, 30]), (25, [20, 20, 20]), (5, [10] * 6)])
def test_passages_are_even_and_end_with_sentences(size, expected):
    text = " ".join(f"This is sentence number {n} of a text of six." for n in range(6))
    found = list(passages(text, size))
    assert [words(passage) for passage in found] == expected
    assert " ".join(found) == text
    assert all(passage.endswith("six.") for passage in found)
