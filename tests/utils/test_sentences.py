# ruff: noqa: RUF001 -- the full-width marks are meant
import time
from itertools import pairwise

import pytest

from reasonir.utils.sentences import count_words, sentences


def split(text):
    return [text[start:end] for start, end in sentences(text, wrapped=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 m, cf. Fig. 2 of Li et al. 2019. Next.", ["It is 3.5 m, cf. Fig. 2 of Li et al. 2019.", "Next."]),
        (
            "E.g. this, i.e. that, by J. Smith. (A note.) End.",
            ["E.g. this, i.e. that, by J. Smith.", "(A note.) End."],
        ),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Well... perhaps. Yes.", ["Well... perhaps.", "Yes."]),
        ("A wrapped\nline ends. Here\n\nA heading\n\nText.", ["A wrapped\nline ends.", "Here", "A heading", "Text."]),
        ("雨が降る。風も吹く！本当？ええ", ["雨が降る。", "風も吹く！", "本当？", "ええ"]),
        ("「行く。」と言った。「帰る。」「はい。」", ["「行く。」", "と言った。", "「帰る。」", "「はい。」"]),
        ("PCRは3.5倍。 It works. そう。", ["PCRは3.5倍。", "It works.", "そう。"]),
        ("今天下雨。风很大！真的吗？是", ["今天下雨。", "风很大！", "真的吗？", "是"]),
        ("A 🐝 dances. So it does.", ["A 🐝 dances.", "So it does."]),
        ("  \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert split(text) == expected


def test_nothing_but_white_space_stands_between_sentences():
    text = "One two.  Three\n\nfour? 五六。七八！\nNine. \r\n \r\n ten"
    covered = sentences(text, wrapped=True)
    gaps = [text[end:start] for (_, end), (start, _) in pairwise(covered)]
    assert "".join(gaps).strip() == ""
    assert "".join("".join(split(text)).split()) == "".join(text.split())


def test_two_unspaced_characters_count_as_a_word():
    assert [count_words(text) for text in ("", "one", "one, two", "雨が降る", "雨", "DNAの量")] == [0, 1, 2, 2, 1, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith found 3.5 mg. It works! Does it?", ["Dr. Smith found 3.5 mg.", "It works!", "Does it?"]),
        ("Heading\n\n- one item\n- another. Done.", ["Heading", "- one item", "- another.", "Done."]),
        ("梅雨は雨季の一種。東アジアで見られる！本当？", ["梅雨は雨季の一種。", "東アジアで見られる！", "本当？"]),
        ("A 🐝 dances. So it does.", ["A 🐝 dances.", "So it does."]),
        (" \n ", []),
        ("", []),
    ],
)
def test_every_line_ends_a_sentence_unless_lines_are_wrapped(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_blank_lines_take_no_time_that_grows_with_their_square():
    started = time.monotonic()
    assert len(sentences("One." + "\n" * 200_000 + "Two.\n \n", wrapped=True)) == 2
    assert time.monotonic() - started < 5
