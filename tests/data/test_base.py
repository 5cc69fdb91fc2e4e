"""Tests of the keys of texts."""

import pytest

from reasonir.data.base import content_id, content_key, copy_key


@pytest.mark.parametrize("copy", ["ice melts", "Ice  melts", "ICE\nMELTS ", "icemelts", "ice\u3000melts"])
def test_copies_share_a_key(copy):
    assert copy_key(copy) == copy_key("Ice melts")
    assert copy_key("STRASSE") == copy_key("Straße")


@pytest.mark.parametrize("other", ["ice melt", "ice-melts", "icé melts", ""])
def test_other_texts_have_other_keys(other):
    assert copy_key(other) != copy_key("Ice melts")


def test_ids_and_content_distinguish_copies_and_instructions():
    assert content_key(" Ice ") == content_key("Ice") != content_key("ice")
    assert content_id("Ice") != content_id("ice")
    assert len({content_key("q"), content_key("q", "find"), content_key("q", "solve"), content_key("findq")}) == 4
    assert content_key("q", " ") == content_key("q")
    assert copy_key("Q", "find") == copy_key("q", "find") != copy_key("q")
