"""Ranges of options, declared in their annotations and checked alike by commands and constructors.

`batch_size: Annotated[int, Ge(2)]` and `kind: Literal["first", "random"]` are read by `reasonir.cli.check` for every
`_target_` of a configuration, and by dataclasses that derive from `Validated` when they are made. Numbers are finite,
truth values are no numbers, and None is valid where the annotation has it. Other types accept everything.
"""

from __future__ import annotations

import inspect
import math
import operator
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, MultipleOf

from reasonir.errors import did_you_mean, raise_errors

Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]
LearningRate = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, slots=True)
class Rule(BaseMetadata):
    """A constraint that the library has no word for: `holds` of a value, or `remedy` says what to give."""

    holds: Callable[[Any], bool]
    remedy: str


Ascending = Rule(lambda values: list(values) == sorted(values), "values in ascending order")

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}
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
    """Base of dataclasses that refuse values outside the ranges that their annotations declare.

    Rules on several fields belong in `problems`.

    Raises:
        InputError: on construction, listing every mistake.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def problems(self) -> Iterable[str]:
        """Contradictions between fields that are all in range: sentences that begin with a field's name."""
        return ()

    def __post_init__(self) -> None:
        hints = hints_of(type(self))  # type: ignore[arg-type]  # mypy takes its hash for an instance's
        given = [each.name for each in fields(self) if each.init]
        faults = [fault for name in given for fault in out_of_range(name, getattr(self, name), hints.get(name, Any))]
        raise_errors(faults or [*self.problems()], f"mistake in {type(self).__name__}", type(self))


@cache
def hints_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a callable's parameters, ranges included; none where they are for type checkers only."""
    if inspect.isclass(target) and not is_dataclass(target):
        target = target.__init__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # they name what isn't imported when the code runs, or it isn't written in Python
        return {}


def out_of_range(path: str, value: Any, hint: Any) -> Iterator[str]:
    """Check a value, and yield a sentence for each mistake in it.

    Args:
        path: the name that the sentences begin with; parts of the value are `path.key` and `path[number]`.
        value: plain, or a partial, whose arguments are checked.
        hint: an annotation.
    """
    members = list(_members(hint))
    if isinstance(value, partial):
        hints = hints_of(value.func)
        for key, argument in value.keywords.items():
            yield from out_of_range(f"{path}.{key}", argument, hints.get(key, Any))
    elif isinstance(value, Mapping | list | tuple) and (parts := [each for each in members if _holds(each[0], value)]):
        base, bounds = parts[0]
        faults = [*(_in_mapping(path, value, base) if isinstance(value, Mapping) else _in_list(path, value, base))]
        yield from faults
        if not faults and not all(_satisfies(value, bound) for bound in bounds):
            yield f"{path}={value if isinstance(value, Mapping) else list(value)}: give {_range(base, bounds)}"
    elif not any(_fits(value, base, bounds) for base, bounds in members):
        yield f"{path}={_remedy(value, members)}"


def _members(hint: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The types of a union, each with its constraints."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    elif typing.get_origin(hint) is Annotated:
        base, *metadata = typing.get_args(hint)
        bounds = [each for item in metadata for each in (item if isinstance(item, GroupedMetadata) else [item])]
        for inner, own in _members(base):
            yield inner, [*own, *bounds]
    else:
        yield hint, []


def _holds(base: Any, value: Any) -> bool:
    """Whether a type is that of the list or mapping that a value is."""
    kind = Mapping if isinstance(value, Mapping) else Collection
    return _is_container(base, kind) and _is_container(base, Mapping) == (kind is Mapping)


def _is_container(base: Any, kind: type = Collection) -> bool:
    origin = typing.get_origin(base)
    return inspect.isclass(origin) and issubclass(origin, kind)


def _in_mapping(path: str, value: Mapping[Any, Any], base: Any) -> Iterator[str]:
    keys, values = typing.get_args(base)
    choices = typing.get_args(keys) if typing.get_origin(keys) is Literal else value
    for key, each in value.items():
        if key in choices:
            yield from out_of_range(f"{path}.{key}", each, values)
        else:
            yield f"{path}.{key} is unknown{did_you_mean(str(key), choices)}: {_choose([*choices])}"


def _in_list(path: str, value: Sequence[Any], base: Any) -> Iterator[str]:
    hints = typing.get_args(base)
    if typing.get_origin(base) is not tuple or Ellipsis in hints:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        yield f"{path}={list(value)}: give {len(hints)} values"
        return
    for number, (each, hint) in enumerate(zip(value, hints, strict=True)):
        yield from out_of_range(f"{path}[{number}]", each, hint)


def _fits(value: Any, base: Any, bounds: list[Any]) -> bool:
    if typing.get_origin(base) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in typing.get_args(base))
    if base in _KINDS:
        return _of_kind(value, base) and _finite(value) and all(_satisfies(value, bound) for bound in bounds)
    return not (_is_container(base) and isinstance(value, int | float | str | list | tuple | Mapping | types.NoneType))


def _of_kind(value: Any, base: Any) -> bool:
    return isinstance(value, _KINDS[base]) and (base is bool or not isinstance(value, bool))


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _satisfies(value: Any, bound: Any) -> bool:
    """Whether a value keeps within one constraint; metadata of other libraries constrains nothing."""
    if isinstance(bound, Rule):
        return bound.holds(value)
    return type(bound) not in _BOUNDS or bool(_BOUNDS[type(bound)][0](value, _limit(bound)))


def _limit(bound: Any) -> Any:
    return getattr(bound, type(bound).__match_args__[0])


def _remedy(value: Any, members: list[tuple[Any, list[Any]]]) -> str:
    """`value: what to give instead`."""
    choices = [choice for base, _ in members if typing.get_origin(base) is Literal for choice in typing.get_args(base)]
    others = [(base, bounds) for base, bounds in members if typing.get_origin(base) is not Literal]
    bare = [base for base, _ in others]
    if not _finite(value) and any(base in (int, float) for base in bare):
        return f"{value}: give a finite number"
    if choices and not [base for base in bare if base is not types.NoneType]:
        hint = did_you_mean(str(value), list(map(str, choices)))
        return f"{value}: {_choose([*choices, *(['null'] if bare else [])])}{hint}"
    if any(base in _KINDS and _of_kind(value, base) for base in bare):
        return f"{value}: give {', or '.join([*(_range(*each) for each in others), *map(str, choices)])}"
    words = [_WORDS.get(base, "a list" if _holds(base, []) else "named values") for base in bare]
    return f"{value!r}: expected {' or '.join([*words, *map(str, choices)])}"


def _choose(choices: Sequence[Any]) -> str:
    *first, last = map(str, choices)
    return f"choose {', '.join(first)} or {last}" if first else f"give {last}"


def _range(base: Any, bounds: list[Any]) -> str:
    """A type and its constraints in words."""
    words = [
        bound.remedy if isinstance(bound, Rule) else _BOUNDS[type(bound)][1].format(_limit(bound))
        for bound in bounds
        if isinstance(bound, Rule) or type(bound) in _BOUNDS
    ]
    return ", ".join(words) or _WORDS.get(base, "values")
