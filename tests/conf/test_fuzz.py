"""Ten values for every key of every command: refused by name with a remedy, or accepted by declaration and built."""

import inspect
import logging
import math
import types
import typing
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from reasonir.cli.check import _KEYS, problems
from reasonir.cli.configuration import build
from reasonir.config import CONF, VERSION_BASE
from reasonir.training.options import TrainerOptions
from reasonir.utils.ranges import Rule, hints_of
from tests.conf.test_conf import OPTIONS, REQUIRED, chosen

pytestmark = pytest.mark.slow

SCALARS = (int, float, str, bool, types.NoneType)
VALUES = (None, -1, 0, 0.5, math.nan, math.inf, 1e30, "x", [], {})
COMMANDS = ("evaluate", "prepare", "mine", "bench", *REQUIRED)
SKIPPED = ("debug", "experiment", "model/prompts", "eval/instructions")
"""Groups whose keys are those of others."""
REVIEWED = {
    "-1": {
        "hardware.devices": "all that are present",
        "trainer.max_steps": "no limit",
        "query": "a question may be a number",
        "mining.max_score": "scores of a searcher have no bounds",
        "logger.lightning.tensorboard.version": "the name of a folder",
    },
    "1e+30": {},
    "[]": {
        "evaluation.baselines": "none",
        "model.head.skiplist": "no word is skipped",
        "data.ignore": "every column is read",
        "backends": "none",
        "data.bins": "one stratum",
        "model.config.architectures": "its family's",
        "teacher.model.config.architectures": "its family's",
    },
    "{}": {
        "tags": "none",
        "callbacks": "none",
        "peers": "none",
        "eval.instructions.by_split": "the default for all",
        "logger.lightning": "no further logger",
        "data.upsample_factor": "1 for all",
        "data.n_samples": "all rows",
        "data.weights": "by their sizes",
        "data.columns": "the usual names",
        "eval.reference": "no published metrics",
        "eval.revision": "the newest of every set",
        "loss.weights": "1 for all",
        "max_batch": "the defaults",
        "proof": "the defaults",
        "scaling": "the defaults",
        "limits": "the defaults",
    },
}
"""Keys that accept a value which few do, and what it means to them."""


def compositions():
    """Yield (command, overrides) of every command, and of train with every option of every group."""
    yield from ((command, REQUIRED.get(command, [])) for command in COMMANDS)
    for group, option in OPTIONS:
        if group not in SKIPPED and (group, option) != ("index", "bm25"):
            yield "train", chosen(group, option)
    yield from (("train", [f"logger={name}"]) for name in ("mlflow", "tensorboard", "wandb"))
    yield "train", ["callbacks=device_stats"]


def leaves(node, path=""):
    """Yield (path, the part that the key belongs to) of every value that isn't interpolated from another key."""
    for key in map(str, node):
        child = f"{path}.{key}".lstrip(".")
        if key.startswith("_") or key == "hydra":
            continue
        value = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(value, DictConfig) and not value._is_none() and len(value):
            yield from leaves(value, child)
        yield child, node


def declared(hint, value):
    """Return whether a declaration includes a plain value, by pydantic, which knows annotated-types but no `Rule`."""
    if inspect.isclass(hint) and typing.get_origin(hint) is None and hint not in (*SCALARS, typing.Any):
        return False  # a part with a _target_
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(declared(member, value) for member in typing.get_args(hint))
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except (ValidationError, SchemaError):  # an invalid value, or parts with a _target_
        return False
    return all(item.holds(value) for item in getattr(hint, "__metadata__", ()) if isinstance(item, Rule))


def constructed(config):
    """Build every part of a configuration, the Trainer too."""
    from lightning import Trainer

    for name in config:
        part = None if OmegaConf.is_missing(config, name) else config[name]
        built = build(part) if isinstance(part, DictConfig | ListConfig) and not part._is_none() else None
        if isinstance(built, TrainerOptions):
            Trainer(**asdict(built), accelerator="cpu", logger=False, enable_checkpointing=False)


@pytest.fixture(scope="module")
def outcomes():
    """(command, key, value, owner) -> what happened, over all compositions, every key of a class once."""
    GlobalHydra.instance().clear()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    found, tried = {}, set()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for command, overrides in compositions():
            config = compose(command, [*overrides, *(["run_name=x"] if command == "train" else [])])
            assert problems(config) == [], overrides
            for path, part in leaves(config):
                key, target = path.rpartition(".")[2], part.get("_target_")
                if (owner := (target, key) if target else (command, path)) in tried:
                    continue
                tried.add(owner)
                for value in VALUES:
                    changed = config.copy()
                    OmegaConf.update(changed, path, value, merge=False)
                    found[command, path, repr(value), owner] = outcome(changed, path, target, value)
    return found


def outcome(config, path, target, value):
    """Return "refused" or "accepted", or what is wrong with that."""
    try:
        if errors := problems(config):
            section = path.rpartition(".")[0]  # another key of it may be interpolated from this one
            named = [error for error in errors if error.startswith(section or path)]
            return "refused" if named and all(": " in error for error in errors) else f"refused as {errors}"
        constructed(config)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if not declared(hint_of(config, path, target), value):
        return "accepted, though the declaration excludes it"
    return "accepted"


def hint_of(config, path, target):
    """Return the declaration of a key: by its component, that component's mapping, or the commands' own."""
    section, _, key = path.rpartition(".")
    if path in _KEYS:
        return _KEYS[path]
    if target:
        return hints_of(get_object(target))[key]
    outer, _, name = section.rpartition(".")
    hint = hints_of(get_object(OmegaConf.select(config, outer)._target_))[name]
    mapping = next((each for each in typing.get_args(hint) if typing.get_origin(each) is Mapping), hint)
    return typing.get_args(mapping)[-1]


def test_every_value_is_refused_by_name_or_really_fine(outcomes):
    counts = Counter(outcome if outcome in ("refused", "accepted") else "wrong" for outcome in outcomes.values())
    print(len({key[:2] for key in outcomes}), "keys", dict(counts))
    assert {key: outcome for key, outcome in outcomes.items() if outcome not in ("refused", "accepted")} == {}
    assert len(outcomes) > 3000


@pytest.mark.parametrize("value", REVIEWED)
def test_few_keys_accept_what_most_cannot(outcomes, value):
    accepted = {
        path for (_, path, tried, _), outcome in outcomes.items() if tried == str(value) and outcome == "accepted"
    }
    assert accepted == REVIEWED[value].keys()


def test_no_key_accepts_what_is_no_number(outcomes):
    assert [key for key, outcome in outcomes.items() if key[2] in ("nan", "inf") and outcome != "refused"] == []
