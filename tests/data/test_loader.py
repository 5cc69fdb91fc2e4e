from itertools import chain

import numpy as np
import pytest
from torch.utils.data import Dataset

from reasonir.data.loader import Order, StepLoader
from reasonir.errors import InputError


class Plans(Dataset):
    """Gives back the plan it is asked for."""

    def __getitem__(self, plan):
        return plan.step, plan.items.tolist()


def loader(workers=0, **options):
    return StepLoader(Plans(), Order(**{"items": 11, "batch_size": 4, "seed": 7, **options}), workers=workers)


def passes(loader, count):
    return [batch for _ in range(count) for batch in loader]


def test_a_pass_takes_every_item_once_and_the_next_in_another_order():
    first, second = (dict(passes(loader(), 2)[i : i + 3]) for i in (0, 3))
    assert list(first) == [0, 1, 2]
    assert list(second) == [3, 4, 5]
    assert sorted(chain(*first.values())) == sorted(chain(*second.values())) == list(range(11))
    assert list(first.values()) != list(second.values())
    assert [len(items) for items in first.values()] == [4, 4, 3]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", range(7))
def test_a_resumed_loader_gives_what_would_have_come(workers, stop):
    whole = passes(loader(), 3)
    before = loader(workers)
    taken = []
    while len(taken) < stop:
        for batch in before:
            taken.append(batch)
            if len(taken) == stop:
                break
    after = loader(workers)
    after.load_state_dict(before.state_dict())
    rest = []
    while len(taken) + len(rest) < len(whole):
        rest += list(after)
    assert taken + rest[: len(whole) - len(taken)] == whole


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_each_batch_out(ranks):
    whole = [Order(11, 6, 7).plan(step).items.tolist() for step in range(4)]
    parts = [[Order(11, 6, 7, rank, ranks).plan(step).items.tolist() for rank in range(ranks)] for step in range(4)]
    assert [list(chain(*part)) for part in parts] == whole
    assert all(items for part in parts for items in part)


@pytest.mark.parametrize(
    ("items", "batch_size", "ranks", "batches"), [(9, 4, 1, 2), (10, 4, 1, 3), (9, 8, 2, 1), (10, 8, 2, 2)]
)
def test_a_last_batch_too_small_to_contrast_or_to_share_is_left_out(items, batch_size, ranks, batches):
    assert len(Order(items, batch_size, 0, 0, ranks)) == batches


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 1}, "1 training pair"),
        ({"batch_size": 1}, "loader.batch_size=1"),
        ({"batch_size": 4, "ranks": 3}, "set it to 6 or more"),
    ],
)
def test_what_leaves_nothing_to_contrast_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        loader(**options)


def test_a_checkpoint_of_other_data_is_refused():
    state = loader().state_dict()
    with pytest.raises(InputError, match="items=11, this run has items=12"):
        loader(items=12).load_state_dict(state)
    with pytest.raises(InputError, match="batch_size=4"):
        loader(batch_size=5).load_state_dict(state)


def test_orders_differ_by_seed():
    assert not np.array_equal(Order(50, 50, 1).plan(0).items, Order(50, 50, 2).plan(0).items)
