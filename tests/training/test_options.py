import pytest

from reasonir.errors import InputError
from reasonir.training.options import TrainerOptions


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_steps": 0}, "max_steps=0: give 1 or more, or -1"),
        ({"max_epochs": 0}, "max_epochs=0: give 1 or more, or null, or -1"),
        ({"max_epochs": -1}, "max_epochs=-1: training has no end"),
        ({"max_epochs": None}, "max_epochs=None: training has no end"),
        ({"max_time": "00:00:00:00"}, "max_time=00:00:00:00: give days:hours:minutes:seconds"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0: give 1 or more"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val=-1.0: give 0 or more"),
        ({"log_every_n_steps": 0}, "log_every_n_steps=0: give 1 or more"),
        ({"profiler": "advancd"}, "profiler=advancd: choose simple, advanced, pytorch or null"),
    ],
)
def test_what_trains_nothing_or_means_nothing_is_refused(options, problem):
    with pytest.raises(InputError) as refused:
        TrainerOptions(**options)
    assert f"  - {problem}" in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"max_epochs": -1, "max_steps": 3}, {"gradient_clip_val": 0}, {"max_time": "00:12:00:00"}]
)
def test_what_means_something_is_accepted(options):
    assert TrainerOptions(**options)
