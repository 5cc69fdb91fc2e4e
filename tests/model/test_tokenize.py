import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from reasonir.model.tokenize import split_room


@pytest.mark.parametrize("room", [2, 7, 20, 21])
@pytest.mark.parametrize("document", [0, 1, 9, 10, 11, 40, 41])
@pytest.mark.parametrize("query", [0, 1, 9, 10, 11, 40, 41])
def test_with_equal_shares_pairs_are_cut_as_the_tokenizers_library_does(query, document, room):
    tokenizer = Tokenizer(models.WordLevel({"w": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(room, strategy="longest_first")
    encoding = tokenizer.encode("w " * query, "w " * document)
    expected = tuple(encoding.sequence_ids.count(side) for side in (0, 1))
    assert split_room(query, document, room, 0.5) == expected


@pytest.mark.parametrize(
    ("query", "document", "share", "expected"),
    [
        (100, 100, 0.25, (5, 15)),
        (100, 100, 0.75, (15, 5)),
        (100, 2, 0.25, (18, 2)),
        (2, 100, 0.75, (2, 18)),
        (100, 100, 0.01, (1, 19)),
        (9, 9, 0.1, (9, 9)),
    ],
)
def test_one_side_may_use_what_the_other_does_not_need(query, document, share, expected):
    assert split_room(query, document, 20, share) == expected
