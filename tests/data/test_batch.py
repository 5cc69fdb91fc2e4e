import pytest
import torch

from reasonir.data.batch import Representation, Tokens, micro_batches, ragged_rows


def test_ragged_rows_follow_the_given_order():
    assert ragged_rows(torch.tensor([2, 1, 3]), torch.tensor([2, 0])).tolist() == [3, 4, 5, 0, 1]
    assert ragged_rows(torch.tensor([2, 0, 1]), torch.tensor([1, 2])).tolist() == [2]


def test_padding_keeps_ids_masks_and_last_positions():
    tokens = Tokens.pack([([5, 6], [True, True], [True, False]), ([7, 8, 9], [True, True, False], [True, True, True])])
    padded = tokens.pad(torch.tensor([1, 0]))
    assert padded.ids_NL.tolist() == [[7, 8, 9], [5, 6, 0]]
    assert padded.attend_NL.tolist() == [[True, True, False], [True, True, False]]
    assert padded.rows_T.tolist() == [0, 1, 2, 3]
    assert padded.last_N.tolist() == [2, 4]
    assert not padded.full
    assert tokens.pad(torch.tensor([0])).full


@pytest.mark.parametrize("budget", [1, 7, 20, 64, 10_000])
def test_micro_batches_take_every_text_once_within_the_padded_area(budget):
    lengths = torch.randint(1, 30, (57,), generator=torch.Generator().manual_seed(0))
    groups = list(micro_batches(lengths, budget))
    assert sorted(torch.cat(groups).tolist()) == list(range(57))
    for group in groups:
        area = int(lengths[group].max()) * len(group)
        assert area <= budget or len(group) == 1


def test_sorted_micro_batches_pad_little():
    lengths = torch.exp(torch.randn(256, generator=torch.Generator().manual_seed(1)) + 5).long().clamp(8, 2048)
    area = sum(int(lengths[group].max()) * len(group) for group in micro_batches(lengths, 8192))
    arrival = sum(int(part.max()) * len(part) for part in lengths.split(32))
    assert area / int(lengths.sum()) < 1.3 < arrival / int(lengths.sum())


def test_representations_are_taken_split_and_joined_by_text():
    representation = Representation(torch.arange(6.0)[:, None], torch.tensor([2, 1, 3]))
    assert representation.take(torch.tensor([2, 1])).values_TD.flatten().tolist() == [3, 4, 5, 2]
    first, rest = representation.split(1)
    assert first.values_TD.flatten().tolist() == [0, 1]
    assert Representation.join([rest, first]).lengths_N.tolist() == [1, 3, 2]
