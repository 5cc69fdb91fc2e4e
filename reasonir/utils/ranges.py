"""Ranges of options, declared in annotations and checked by commands and constructors.

`batch_size: Annotated[int, Ge(2)]` and `kind: Literal["first", "random"]` are read by `reasonir.cli.check` for every
`_target_` of a configuration, and by dataclasses that derive from `Validated` on construction. Numbers must be finite
and below 2^63, booleans aren't numbers, and None is valid where the annotation has it. A class that is none of these
stands for a part built from a `_target_`: no plain value replaces it. `Any` accepts everything.
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, MultipleOf

from reasonir.errors import did_you_mean, raise_errors

Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Le(10**6)]
NonNegativeFloat = Annotated[float, Ge(0), Le(10**6)]
Share = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]
LearningRate = Annotated[float, Gt(0), Lt(1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]


@dataclass(frozen=True, slots=True)
class Rule(BaseMetadata):
    """Constraint that annotated-types lacks: a predicate, and the remedy that is shown where it fails."""

    holds: Callable[[Any], bool]
    remedy: str


NotBlank = Annotated[str, Rule(lambda text: bool(text.strip()), "a text that isn't blank")]
ShareOrCount = Annotated[
    float,
    Rule(lambda value: value >= 0 and (value < 1 or isinstance(value, Integral)), "a share below 1, or a whole number"),
]
Ascending = Rule(lambda values: list(values) == sorted(values), "values in ascending order")

_LARGEST: Any = 2**63
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", types.NoneType: "null"}
_KINDS: dict[Any, type] = {int: Integral, float: Real, bool: bool, str: str, types.NoneType: types.NoneType}
_BOUNDS: dict[type, tuple[Callable[[Any, Any], bool], str]] = {
    Ge: (operator.ge, "{} or more"),
    Gt: (operator.gt, "a number above {}"),
    Le: (operator.le, "at most {}"),
    Lt: (operator.lt, "below {}"),
    MultipleOf: (lambda value, factor: value % factor == 0, "a multiple of {}"),
    MinLen: (lambda value, least: len(value) >= least, "{} or more values"),
    MaxLen: (lambda value, most: len(value) <= most, "at most {} values"),
}


class Validated:
    """Base of dataclasses that reject values outside the ranges declared in their annotations.

    Rules across fields belong in `problems`.

    Raises:
        InputError: on construction, listing every mistake.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def problems(self) -> Iterable[str]:
        """Messages about contradictions between fields that are in range, each starting with a field's name."""
        return ()

    def __post_init__(self) -> None:
        hints = hints_of(type(self))  # type: ignore[arg-type]  # mypy takes its hash for an instance's
        names = [field.name for field in fields(self) if field.init]
        faults = [fault for name in names for fault in out_of_range(name, getattr(self, name), hints.get(name, Any))]
        raise_errors(faults or [*self.problems()], f"mistake in {type(self).__name__}", type(self))


@cache
def hints_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations of a callable's parameters, ranges included; empty where they can't be resolved."""
    if inspect.isclass(target) and not is_dataclass(target):
        target = target.__init__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # imported for type checkers only, or not written in Python
        scope = vars(sys.modules[target.__module__])
    hints: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        with suppress(NameError, TypeError):
            one: Any = types.SimpleNamespace(__annotations__={name: annotation})
            hints |= typing.get_type_hints(one, scope, include_extras=True)
    return hints


def out_of_range(path: str, value: Any, hint: Any) -> Iterator[str]:
    """Yield a message for each mistake in a value.

    Args:
        path: the name that the messages start with; parts of the value are `path.key` and `path[number]`.
        value: a plain value, or a partial, whose arguments are checked.
        hint: an annotation.
    """
    members = list(_members(hint))
    if isinstance(value, partial):
        hints = hints_of(value.func)
        for key, argument in value.keywords.items():
            yield from out_of_range(f"{path}.{key}", argument, hints.get(key, Any))
    elif isinstance(value, Mapping | list | tuple) and (kinds := [m for m in members if _is_container_of(m[0], value)]):
        base, bounds = kinds[0]
        faults = [*(_in_mapping(path, value, base) if isinstance(value, Mapping) else _in_list(path, value, base))]
        yield from faults
        if not faults and not all(_satisfies(value, bound) for bound in bounds):
            yield f"{path}={value if isinstance(value, Mapping) else list(value)}: give {_range(base, bounds)}"
    elif not any(_fits(value, base, bounds) for base, bounds in members):
        yield f"{path}={_remedy(value, members)}"


def _members(hint: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the types of a union, each with its constraints."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    elif typing.get_origin(hint) is Annotated:
        base, *metadata = typing.get_args(hint)
        bounds = [bound for item in metadata for bound in (item if isinstance(item, GroupedMetadata) else [item])]
        for inner, inner_bounds in _members(base):
            yield inner, [*inner_bounds, *bounds]
    else:
        yield hint, []


def _is_container_of(base: Any, value: Any) -> bool:
    """Return whether a type is a mapping for a mapping, or another container for a list."""
    kind = Mapping if isinstance(value, Mapping) else Collection
    return _is_container(base, kind) and _is_container(base, Mapping) == (kind is Mapping)


def _is_container(base: Any, kind: type = Collection) -> bool:
    origin = typing.get_origin(base)
    return inspect.isclass(origin) and issubclass(origin, kind)


def _in_mapping(path: str, value: Mapping[Any, Any], base: Any) -> Iterator[str]:
    keys, values = typing.get_args(base)
    choices = typing.get_args(keys) if typing.get_origin(keys) is Literal else value
    for key, item in value.items():
        if key in choices:
            yield from out_of_range(f"{path}.{key}", item, values)
        else:
            yield f"{path}.{key} is unknown{did_you_mean(str(key), choices)}: {_choose([*choices])}"


def _in_list(path: str, value: Sequence[Any], base: Any) -> Iterator[str]:
    hints = typing.get_args(base)
    if typing.get_origin(base) is not tuple or Ellipsis in hints:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        yield f"{path}={list(value)}: give {len(hints)} values"
        return
    for number, (item, hint) in enumerate(zip(value, hints, strict=True)):
        yield from out_of_range(f"{path}[{number}]", item, hint)


def _fits(value: Any, base: Any, bounds: list[Any]) -> bool:
    if typing.get_origin(base) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in typing.get_args(base))
    if base in _KINDS:
        return _of_kind(value, base) and _finite(value) and all(_satisfies(value, bound) for bound in bounds)
    if base in (Any, object):
        return all(_satisfies(value, bound) for bound in bounds)
    return not isinstance(value, int | float | str | list | tuple | Mapping | types.NoneType)


def _of_kind(value: Any, base: Any) -> bool:
    return isinstance(value, _KINDS[base]) and (base is bool or not isinstance(value, bool))


def _finite(value: Any) -> bool:
    return not isinstance(value, Real) or abs(value) < _LARGEST  # false for nan


def _satisfies(value: Any, bound: Any) -> bool:
    """Return whether a value meets a constraint; metadata of other libraries constrains nothing."""
    if isinstance(bound, Rule):
        return bound.holds(value)
    return type(bound) not in _BOUNDS or bool(_BOUNDS[type(bound)][0](value, _limit(bound)))


def _limit(bound: Any) -> Any:
    return getattr(bound, type(bound).__match_args__[0])


def _remedy(value: Any, members: list[tuple[Any, list[Any]]]) -> str:
    """Return "<value>: <what to give instead>"."""
    choices = [choice for base, _ in members if typing.get_origin(base) is Literal for choice in typing.get_args(base)]
    others = [(base, bounds) for base, bounds in members if typing.get_origin(base) is not Literal]
    bare = [base for base, _ in others]
    if isinstance(value, float) and not math.isfinite(value) and any(base in (int, float) for base in bare):
        return f"{value}: give a finite number"
    if choices and not [base for base in bare if base is not types.NoneType]:
        hint = did_you_mean(str(value), list(map(str, choices)))
        return f"{value}: {_choose([*choices, *(['null'] if bare else [])])}{hint}"
    if any(base in (Any, object) or (base in _KINDS and _of_kind(value, base)) for base in bare):
        ranges = ", or ".join([*(_range(*member) for member in others), *map(str, choices)])
        return f"{value}: give {ranges}{'' if _finite(value) else ', below 2^63'}"
    quote = ", in quotes" if isinstance(value, int | float) and str in bare else ""
    return f"{value!r}: expected {' or '.join([*map(_word, bare), *map(str, choices)])}{quote}"


def _word(base: Any) -> str:
    """Return a type in words."""
    if base in _WORDS or _is_container(base):
        return _WORDS.get(base, "named values" if _is_container(base, Mapping) else "a list")
    return "named values with a _target_"


def _choose(choices: Sequence[Any]) -> str:
    *first, last = map(str, choices)
    return f"choose {', '.join(first)} or {last}" if first else f"give {last}"


def _range(base: Any, bounds: list[Any]) -> str:
    """Return a type and its constraints in words."""
    words = [
        bound.remedy if isinstance(bound, Rule) else _BOUNDS[type(bound)][1].format(_limit(bound))
        for bound in bounds
        if isinstance(bound, Rule) or type(bound) in _BOUNDS
    ]
    return ", ".join(words) or _WORDS.get(base, "values")
