import pytest

from reasonir.data.passages import passages
from reasonir.utils.sentences import count_words


@pytest.mark.parametrize(("size", "expected"), [(100, [60]), (30, [30, 30]), (25, [20, 20, 20]), (5, [10] * 6)])
def test_passages_are_even_and_end_with_sentences(size, expected):
    text = " ".join(f"This is sentence number {n} of a text of six." for n in range(6))
    found = list(passages(text, size))
    assert [count_words(passage) for passage in found] == expected
    assert " ".join(found) == text
    assert all(passage.endswith("six.") for passage in found)
