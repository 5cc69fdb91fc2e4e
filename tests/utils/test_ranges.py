import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen, MultipleOf

from reasonir.errors import InputError
from reasonir.utils.ranges import (
    Ascending,
    NotBlank,
    Positive,
    PositiveFloat,
    Rule,
    Seed,
    ShareOrCount,
    Validated,
    hints_of,
    out_of_range,
)

if TYPE_CHECKING:
    from elsewhere import Unknown

Kind = Literal["hierarchical", "first", "random"]
Even = Rule(lambda value: value % 2 == 0, "an even number")


@pytest.mark.parametrize(
    ("hint", "value", "problem"),
    [
        (int, "4", "x='4': expected a whole number"),
        (int, 2.0, "x=2.0: expected a whole number"),
        (int, True, "x=True: expected a whole number"),
        (float | None, "a", "x='a': expected a number or null"),
        (float, math.nan, "x=nan: give a finite number"),
        (int | None, math.inf, "x=inf: give a finite number"),
        (bool, 1, "x=1: expected true or false"),
        (str, None, "x=None: expected a string"),
        (Annotated[int, Ge(2)], 1, "x=1: give 2 or more"),
        (Positive | None, 0, "x=0: give 1 or more, or null"),
        (Positive | Literal[-1], 0, "x=0: give 1 or more, or -1"),
        (Annotated[float, Gt(0), Lt(1)], 1.0, "x=1.0: give a number above 0, below 1"),
        (Annotated[float, Interval(ge=0, le=1)], -0.1, "x=-0.1: give 0 or more, at most 1"),
        (Annotated[float, Le(3)], 4, "x=4: give at most 3"),
        (Annotated[int, MultipleOf(32)], 48, "x=48: give a multiple of 32"),
        (Annotated[int, Even], 3, "x=3: give an even number"),
        (Kind, "hierarchic", "x=hierarchic: choose hierarchical, first or random (did you mean 'hierarchical'?)"),
        (Kind | None, 3, "x=3: choose hierarchical, first, random or null"),
        (Literal[1, 2], True, "x=True: choose 1 or 2"),
        (PositiveFloat, 1e30, "x=1e+30: give a number above 0, at most 1000000, below 2^63"),
        (Positive, 10**20, f"x={10**20}: give 1 or more, below 2^63"),
        (Seed, 2**32, f"x={2**32}: give 0 or more, below {2**32}"),
        (NotBlank, " ", "x= : give a text that isn't blank"),
        (str | None, 2026, "x=2026: expected a string or null, in quotes"),
        (ShareOrCount, 1.5, "x=1.5: give a share below 1, or a whole number"),
        (ShareOrCount, -1, "x=-1: give a share below 1, or a whole number"),
        (Validated, 3, "x=3: expected named values with a _target_"),
        (Validated | None, "a", "x='a': expected named values with a _target_ or null"),
        (Callable[..., int], [], "x=[]: expected named values with a _target_"),
        (Annotated[Any, Even], 3, "x=3: give an even number"),
        (Sequence[Positive], [1, 0], "x[1]=0: give 1 or more"),
        (Sequence[Positive], 3, "x=3: expected a list"),
        (Sequence[Positive], {"a": 1}, "x={'a': 1}: expected a list"),
        (Mapping[str, int] | None, [1], "x=[1]: expected named values or null"),
        (tuple[float, float], [0.5], "x=[0.5]: give 2 values"),
        (Annotated[Sequence[int], MinLen(1)], [], "x=[]: give 1 or more values"),
        (Annotated[Sequence[int], Ascending], [2, 1], "x=[2, 1]: give values in ascending order"),
        (Mapping[str, Positive], {"a": 0}, "x.a=0: give 1 or more"),
        (
            Mapping[Kind, int],
            {"frst": 1},
            "x.frst is unknown (did you mean 'first'?): choose hierarchical, first or random",
        ),
    ],
)
def test_one_message_names_the_value_and_the_remedy(hint, value, problem):
    assert list(out_of_range("x", value, hint)) == [problem]


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, 3),
        (Positive, np.int64(3)),
        (float, np.float32(0.5)),
        (Positive | None, None),
        (Positive | Literal[-1], -1),
        (Annotated[float, Gt(0), Le(1)], 1),
        (Sequence[str] | str, "a"),
        (Sequence[str] | str, ["a", "b"]),
        (Annotated[Sequence[int], Ascending], (1, 1, 2)),
        (Annotated[int, "a note of another library"], 3),
        (tuple[int, ...], [1, 2, 3]),
        (Sequence[int], np.arange(3)),
        (Validated, object()),
        (ShareOrCount, 0.05),
        (ShareOrCount, 500),
        (Annotated[Any, Even], 4),
    ],
)
def test_what_is_in_range_or_of_another_type_is_accepted(hint, value):
    assert list(out_of_range("x", value, hint)) == []


def component(size: Positive, *, kind: Kind = "first") -> None:
    """Factory that a configuration names."""


@dataclass(frozen=True, slots=True)
class Window(Validated):
    first: Positive = 1
    last: Positive = 3
    part: object = None

    def problems(self):
        if self.first >= self.last:
            yield f"last={self.last}: give more than first={self.first}"


@dataclass(frozen=True, slots=True)
class Wider(Window):
    step: Positive = 1


def test_a_constructor_names_every_mistake():
    with pytest.raises(InputError) as refused:
        Wider(first=0, step=-1)
    assert str(refused.value) == "2 mistakes in Wider:\n  - first=0: give 1 or more\n  - step=-1: give 1 or more"
    assert refused.value.owner is Wider


def test_contradictions_are_checked_once_values_are_in_range():
    with pytest.raises(InputError, match=r"1 mistake in Window:\n  - last=3: give more than first=3"):
        Window(first=3)
    assert Window(first=2).last == 3


def test_arguments_of_partials_are_checked():
    with pytest.raises(InputError, match=r"part.size=0: give 1 or more\n  - part.kind=last: choose"):
        Window(part=partial(component, size=0, kind="last"))


def known_and_unknown(count: "Positive", other: "Unknown") -> None:
    """Component whose module imports a type for type checkers only."""


def test_a_type_that_is_unknown_at_run_time_hides_no_other():
    assert hints_of(known_and_unknown) == {"count": Positive, "return": type(None)}
