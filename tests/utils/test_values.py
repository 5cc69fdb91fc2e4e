"""Tests of the gate for values from outside."""

import math
from decimal import Decimal

import pytest

from reasonir.errors import InputError
from reasonir.utils.values import MAX_GRADE, MAX_NUMBER, check_grade, check_id, check_number, check_text, is_encodable

HALF = "half \ud83d pair"


@pytest.mark.parametrize("text", ["x", " x ", "0", "None", "日本", "😀", "\x00"])
def test_a_text_is_returned_as_it_is(text):
    assert check_text(text, "'query'") == text


@pytest.mark.parametrize("value", [None, 0, 1.5, True, [], ["a"], {}, {"a": 1}, b"bytes", "", "  \n", "\u3000", HALF])
def test_what_is_no_text_is_refused_with_location_value_and_remedy(value):
    with pytest.raises(InputError, match=r"^file, line 7: 'query' is .*: fill it in or remove the row$"):
        check_text(value, "file, line 7: 'query'")


def test_a_blank_text_may_be_allowed_but_nothing_else():
    assert check_text(" ", "'title'", blank=True) == " "
    for value in (None, HALF, 0):
        with pytest.raises(InputError):
            check_text(value, "'title'", blank=True)


def test_long_values_are_shortened_in_messages():
    with pytest.raises(InputError) as error:
        check_text(["x" * 10_000] * 10_000, "'query'")
    assert len(str(error.value)) < 500
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in ([10**5000], deep):  # Python writes neither
        with pytest.raises(InputError, match="is a value of type list that is too long to show"):
            check_text(value, "'query'")


@pytest.mark.parametrize(
    ("value", "expected"), [("a b", "a b"), (0, "0"), (-3, "-3"), ("0", "0"), (10**20, str(10**20))]
)
def test_an_id_is_a_text_or_a_whole_number(value, expected):
    assert check_id(value, "'id'") == expected


@pytest.mark.parametrize(
    "value", [None, True, 1.0, math.nan, [], {}, "", " ", HALF, b"x", Decimal(1), pytest.param(10**5000, id="huge")]
)
def test_what_is_no_id_is_refused(value):
    with pytest.raises(InputError, match=r"'id' is .*: fill it in"):
        check_id(value, "'id'")


@pytest.mark.parametrize("value", ["a\tb", "a\nb", "\rb", "\ufeffid"])
def test_an_id_that_a_run_file_cant_carry_is_refused(value):
    with pytest.raises(InputError, match=r"'id' is .*, expected an id without tabs, line breaks .*: rename it"):
        check_id(value, "'id'")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("1e-3", 0.001),
        (" 2 ", 2.0),
        (-1, -1.0),
        (Decimal("0.5"), 0.5),
        (-MAX_NUMBER, -MAX_NUMBER),
    ],
)
def test_a_number_is_finite_and_may_be_written_in_digits(value, expected):
    assert check_number(value, "'label'") == expected


@pytest.mark.parametrize("value", ["1e39", -1e300, Decimal("1e50")])
def test_a_number_that_isnt_finite_in_single_precision_is_refused(value):
    with pytest.raises(InputError, match=r"'label' is .*, expected a number from -3.4\S* to 3.4\S*: fix the row"):
        check_number(value, "'label'")


@pytest.mark.parametrize(
    "value", [None, True, "x", "", "1_000", math.nan, math.inf, "nan", "-inf", [], {}, 10**400, Decimal("sNaN")]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"'label' is .*, expected a number: fix the row"):
        check_number(value, "'label'")


def test_a_number_outside_its_bounds_is_refused_with_them():
    for value in (6, "x"):
        with pytest.raises(InputError, match=rf"'label' is {value!r}, expected a number from -5 to 5"):
            check_number(value, "'label'", low=-5, high=5)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (1.0, 1), ("2", 2), ("2.0", 2), (-1, -1), (MAX_GRADE, MAX_GRADE)]
)
def test_a_grade_is_a_whole_number(value, expected):
    grade = check_grade(value, "'score'")
    assert grade == expected
    assert type(grade) is int


@pytest.mark.parametrize(
    "value", [None, True, False, 1.9, 0.5, "1.5", "x", math.nan, math.inf, 2 * 10**8, -(10**9), []]
)
def test_what_is_no_grade_is_refused_never_truncated(value):
    with pytest.raises(InputError, match=r"'score' is .*, expected a whole number"):
        check_grade(value, "'score'")


def test_surrogates_are_found_anywhere():
    assert is_encodable("plain") and is_encodable("日本 😀")
    assert not is_encodable("\udfff") and not is_encodable("日本\ud800")
