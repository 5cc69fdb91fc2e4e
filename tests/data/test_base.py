"""Tests of the keys of texts."""

import pytest

from reasonir.data.base import content_id, content_key, copy_key


@pytest.mark.parametrize("copy", ["ice melts", "Ice  melts", "ICE\nMELTS ", "ice\u3000melts"])
def test_copies_share_a_key(copy):
    assert copy_key(copy) == copy_key("Ice melts")
    assert copy_key("STRASSE") == copy_key("Straße")


@pytest.mark.parametrize(
    ("text", "copy"), [("a, (b) 3.5 c++", "A , ( b )3 . 5 c + +"), ("水です。ice", "水 です 。 ICE"), ("", " ")]
)
def test_spaces_that_separate_no_words_make_no_difference(text, copy):
    assert copy_key(text) == copy_key(copy)


@pytest.mark.parametrize("other", ["icemelts", "ice melt", "ice-melts", "icé melts", ""])
def test_other_texts_have_other_keys(other):
    assert copy_key(other) != copy_key("Ice melts")
    assert copy_key("1 2") != copy_key("12")


def test_ids_and_content_distinguish_copies_and_instructions():
    assert content_key(" Ice ") == content_key("Ice") != content_key("ice")
    assert content_id("Ice") != content_id("ice")
    assert len({content_key("q"), content_key("q", "find"), content_key("q", "solve"), content_key("findq")}) == 4
    assert content_key("q", " ") == content_key("q")
    assert copy_key("Q", "find") == copy_key("q", "find") != copy_key("q")
