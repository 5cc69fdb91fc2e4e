from itertools import chain

import numpy as np
import pytest
from torch.utils.data import Dataset

from reasonir.data.batches.loader import Order, Quota, StepLoader
from reasonir.errors import InputError


class Plans(Dataset):
    """Returns the plan it is indexed with."""

    def __getitem__(self, plan):
        return plan.step, plan.items.tolist()


def loader(workers=0, **options):
    return StepLoader(Plans(), Order(**{"items": 11, "batch_size": 4, "seed": 7, **options}), workers=workers)


def epochs(loader, count):
    return [batch for _ in range(count) for batch in loader]


def test_an_epoch_takes_every_item_once_and_the_next_in_another_order():
    first, second = (dict(epochs(loader(), 2)[i : i + 3]) for i in (0, 3))
    assert list(first) == [0, 1, 2]
    assert list(second) == [3, 4, 5]
    assert sorted(chain(*first.values())) == sorted(chain(*second.values())) == list(range(11))
    assert list(first.values()) != list(second.values())
    assert [len(items) for items in first.values()] == [4, 4, 3]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", range(7))
def test_a_resumed_loader_continues_the_order(workers, stop):
    whole = epochs(loader(), 3)
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
def test_a_last_batch_too_small_for_negatives_or_ranks_is_dropped(items, batch_size, ranks, batches):
    assert len(Order(items, batch_size, 0, 0, ranks)) == batches


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 1}, "1 training pair"),
        ({"batch_size": 1}, "loader.batch_size=1"),
        ({"batch_size": 4, "ranks": 3}, "set it to 6 or more"),
    ],
)
def test_too_few_items_for_in_batch_negatives_are_refused(options, message):
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


QUOTAS = (Quota(0, 7, 7), Quota(7, 3, 6), Quota(10, 8, 4))


def source_of(item):
    return next(n for n, quota in enumerate(QUOTAS) if quota.first <= item < quota.first + quota.items)


@pytest.mark.parametrize(("homogeneous", "batch_size", "batches"), [(False, 5, 4), (True, 4, 5)])
def test_an_epoch_takes_each_sources_quota(homogeneous, batch_size, batches):
    order = Order(18, batch_size, 7, quotas=QUOTAS, homogeneous=homogeneous)
    for epoch in range(4):
        steps = range(epoch * len(order), (epoch + 1) * len(order))
        items = list(chain(*(order.plan(step).items.tolist() for step in steps)))
        assert [sum(source_of(item) == n for item in items) for n in range(3)] == [7, 6, 4]
        assert sorted(items)[:13] == [*range(7), 7, 7, 8, 8, 9, 9]
    assert len(order) == batches


def test_every_item_of_a_source_is_taken_equally_often_over_the_epochs():
    order = Order(18, 4, 7, quotas=QUOTAS, homogeneous=True)
    plans = [order.plan(step) for step in range(2 * len(order))]
    taken = [(item, turn) for plan in plans for item, turn in zip(plan.items, plan.turn_I, strict=True)]
    assert len(taken) == len(set(taken)) == 2 * 17
    assert sorted(item for item, _ in taken if item >= 10) == list(range(10, 18))
    assert sorted(turn for item, turn in taken if item == 8) == [0, 1, 2, 3]


def test_homogeneous_batches_hold_one_source_in_a_new_order_each_epoch():
    order = Order(18, 4, 7, quotas=QUOTAS, homogeneous=True)
    sources = [[source_of(item) for item in order.plan(step).items] for step in range(2 * len(order))]
    assert all(len(set(each)) == 1 for each in sources)
    orders = {tuple(each[0] for each in sources[i : i + 5]) for i in (0, 5)}
    assert len(orders) == 2


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("homogeneous", [False, True])
def test_ranks_share_mixed_batches_out(ranks, homogeneous):
    def plans(**given):
        return [
            Order(18, 6, 7, quotas=QUOTAS, homogeneous=homogeneous, **given).plan(step).items.tolist()
            for step in range(7)
        ]

    parts = [plans(rank=rank, ranks=ranks) for rank in range(ranks)]
    joined = [list(chain(*part)) for part in zip(*parts, strict=True)]
    assert all(item for part in parts for item in part)
    if ranks == 2 or not homogeneous:  # with three, a rest of two items can't be shared out
        assert joined == plans()


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_a_mixture_is_resumed_exactly(stop):
    options = {"items": 18, "quotas": QUOTAS, "homogeneous": True}
    whole = epochs(loader(**options), 3)
    after = loader(**options)
    after.load_state_dict({**after.state_dict(), "consumed": stop})
    rest = list(chain(*(list(after) for _ in range(3))))
    assert rest[: len(whole) - stop] == whole[stop:]
    with pytest.raises(InputError, match="made with quotas="):
        loader(items=18, homogeneous=True).load_state_dict(after.state_dict())


def test_a_source_with_too_little_for_a_batch_of_its_own_is_refused():
    with pytest.raises(InputError, match=r"1 training pair.* of one of 2 sources"):
        Order(9, 4, 7, quotas=(Quota(0, 8, 8), Quota(8, 1, 1)), homogeneous=True)


def test_other_numbers_of_ranks_resume_unless_their_epochs_end_elsewhere():
    begun = loader(items=40, batch_size=8).state_dict()
    loader(items=40, batch_size=8, rank=1, ranks=4).load_state_dict(begun)
    uneven = loader(items=42, batch_size=8).state_dict()  # the last two pairs can't be shared by four
    with pytest.raises(InputError, match=r"6 batches per epoch, 4 device\(s\) make 5"):
        loader(items=42, batch_size=8, rank=1, ranks=4).load_state_dict(uneven)
