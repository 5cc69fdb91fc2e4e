import math
import re

import pytest
import torch

from reasonir.errors import InputError
from reasonir.training.optim import Optim
from tests.helpers import load


def rates(steps=10, **options):
    optim = Optim(lr=0.1, **options)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = optim.scheduler(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_rise_and_fall_as_they_are_called():
    assert rates(schedule="constant", warmup=0) == [0.1] * 10
    assert rates(schedule="linear", warmup=0) == pytest.approx([0.1 * (1 - i / 10) for i in range(10)])
    assert rates(schedule="cosine", warmup=0) == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    )
    assert rates(schedule="constant", warmup=4)[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_warmup_is_a_share_below_one_and_a_number_of_steps_above():
    assert Optim(warmup=0.1).warmup_steps(95) == 10
    assert Optim(warmup=20).warmup_steps(95) == 20


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_optimisers_move_every_trained_weight(bert, name):
    encoder = load(bert, "colbert")
    optimizer = Optim(name=name, lr=1e-2, weight_decay=0.1).optimizer(encoder)
    before = {key: value.clone() for key, value in encoder.named_parameters() if value.requires_grad}
    for parameter in encoder.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    assert all(not torch.equal(before[key], value) for key, value in encoder.named_parameters() if key in before)


def test_the_head_has_a_rate_of_its_own_and_vectors_no_decay(bert):
    encoder = load(bert, "colbert")
    groups = Optim(lr=1e-5, head_lr=1e-3, weight_decay=0.1).optimizer(encoder).param_groups
    head = {id(parameter) for parameter in encoder.head.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == (1e-3 if id(parameter) in head else 1e-5)
            assert group["weight_decay"] == (0.1 if parameter.ndim >= 2 else 0.0)


def test_nothing_to_train_is_refused(bert):
    encoder = load(bert, "biencoder").requires_grad_(False)
    with pytest.raises(InputError, match="nothing is left to train"):
        Optim().optimizer(encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adam"}, "name=adam: choose adamw, adamw_8bit or adafactor (did you mean 'adamw'?)"),
        ({"schedule": "linaer"}, "schedule=linaer: choose linear, cosine or constant (did you mean 'linear'?)"),
        ({"lr": 0}, "lr=0: give a number above 0, below 1"),
        ({"warmup": -1}, "warmup=-1: give a share below 1, or a whole number"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Optim(**options)
