"""Every number that a configuration gives has a range, and check names those outside of it by their path."""

import inspect
import re
import typing
from typing import Annotated

import pytest
import yaml
from hydra.utils import get_object

from reasonir.cli.check import _KEYS, problems
from reasonir.config import CONF, flatten
from reasonir.utils.ranges import hints_of

ANY_NUMBER = {
    "HardNegatives.max_score": "scores of a searcher have no bounds",
    "Sum.weights": "a term may count against the others",
    "Graded.scale": "whatever its raters were given",
    "Graded.threshold": "on that scale, which `problems` checks",
    "Graded.bins": "on that scale",
    "ContextRelevanceBenchmark.reference": "figures as published",
}


def targets(node):
    for child in node.values() if isinstance(node, dict) else ():
        yield from targets(child)
    if isinstance(node, dict) and str(node.get("_target_", "")).startswith("reasonir."):
        yield node["_target_"]


def unbounded(hint):
    """Return True if an annotation has a number without a constraint."""
    if isinstance(hint, str):  # of a class that names what is imported for type checkers only
        return re.search(r"\b(int|float)\b", hint) is not None
    if typing.get_origin(hint) is Annotated:
        base, *_ = typing.get_args(hint)
        return base not in (int, float) and unbounded(base)
    if typing.get_origin(hint) is typing.Literal:
        return False
    return hint in (int, float) or any(unbounded(each) for each in typing.get_args(hint))


YAML = {file: yaml.safe_load(file.read_text()) or {} for file in CONF.rglob("*.yaml")}
TARGETS = sorted({target for values in YAML.values() for target in targets(values)})


@pytest.mark.parametrize("target", TARGETS)
def test_every_numeric_argument_of_a_component_has_a_range(target):
    function = get_object(target)
    hints = hints_of(function) or function.__annotations__
    name = target.removesuffix(".load").rsplit(".", 1)[1]
    bare = {f"{name}.{key}" for key in inspect.signature(function).parameters if unbounded(hints[key])}
    assert bare - ANY_NUMBER.keys() == set()


def test_every_number_of_a_commands_own_has_a_range():
    numbers = {
        path
        for file, values in YAML.items()
        if file.parent == CONF or file.parent == CONF / "base"
        if "_target_" not in values
        for path, value in flatten(values).items()
        if isinstance(value, int | float | list) and not path.startswith(("hydra.", "defaults"))
        if not any("_target_" in values[part] for part in path.split(".")[:1] if isinstance(values[part], dict))
    }
    assert numbers - _KEYS.keys() == set()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["model.head.query_length=0"], ["model.head.query_length=0: give 4 or more, or null"]),
        (["model.lora.rank=-1", "seed=-1"], ["model.lora.rank=-1: give 0 or more", "seed=-1: give 0 or more"]),
        (["trainer.max_epochs=one"], ["trainer.max_epochs='one': expected a whole number or null"]),
        (["index=plaid", "index.bits=3"], ["index.bits=3: choose 1, 2, 4 or 8"]),
        (["index.pooling.kind=fist"], ["index.pooling.kind=fist: choose hierarchical, first or random"]),
        (["data=demo", "data.variants=true"], ["data.variants=True: expected a whole number"]),
        (["evaluation.bm25.b=2"], ["evaluation.bm25.b=2: give 0 or more, at most 1"]),
        (["evaluation.baselines=[bm52]"], ["evaluation.baselines[0]=bm52: choose random, bm25 or untrained"]),
        (["model.lr=2"], ["model.lr=2: give a number above 0, below 1"]),
        (["optim.betas=[0.9]"], ["optim.betas=[0.9]: give 2 values"]),
        (
            ["+data@data.sources.a=demo", "data=mixture", "data.weights={a: 1, b: 1}"],
            ["data.weights.b: sources has no 'b'"],
        ),
        (["mining=bm25", "mining.range_min=100"], ["mining.range_max=100: give more than range_min=100"]),
    ],
)
def test_a_mistake_is_named_by_its_path(composed, arguments, expected):
    faults = problems(composed("train", *arguments))
    assert [fault for fault in faults if not any(fault.startswith(sentence) for sentence in expected)] == []
    assert len(faults) == len(expected)
