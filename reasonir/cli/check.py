"""Configuration check: all mistakes at once, before anything is loaded.

Overrides are checked against existing keys and options, every `_target_` against the signature it names, values
against its types, and parts against each other. A mistake is one sentence with the key, the value and the nearest
valid name.
"""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from reasonir.cli.configuration import build
from reasonir.errors import InputError, did_you_mean
from reasonir.eval.base import Benchmark
from reasonir.index.base import incompatibility
from reasonir.index.fusion import Fusion, partner_fault
from reasonir.loss import base as losses
from reasonir.utils.command_line import quoted
from reasonir.utils.ranges import (
    Fraction,
    NonNegative,
    NotBlank,
    Positive,
    PositiveFloat,
    Seed,
    hints_of,
    out_of_range,
)

_META = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_PART = object()
"""Stands for a node with a `_target_`, or an interpolation."""
_NAME = NotBlank | NonNegative  # a folder may be called 2026
_PASSED_ON = ("broadcast_buffers", "find_unused_parameters", "gradient_as_bucket_view", "use_orig_params")
_COMPONENT = Callable[..., Any]
_PROOF_PART = Literal[
    "gpu_tests", "agreement", "out_of_memory", "resume", "largest_batches", "speed", "mfu", "evaluation"
]
_SECTIONS = (
    *("hardware", "index", "mining", "teacher", "loss", "eval", "logger", "loader", "lengths", "optim", "trainer"),
    *("checkpoint", "dev_eval", "early_stopping", "evaluation", "workload"),
)
_KEYS: dict[str, Any] = {
    **dict.fromkeys(_SECTIONS, _COMPONENT),
    "model": _COMPONENT | None,
    "data": _COMPONENT | None,
    "callbacks": Mapping[str, _COMPONENT],
    "peers": Mapping[str, _COMPONENT],
    "home": NotBlank,
    "seed": Seed,
    "experiment_name": _NAME,
    "run_name": _NAME,
    "tags": Mapping[str, str | float | bool],
    "peers_python": NotBlank,
    "resume": _NAME | None,
    "run": _NAME | None,
    "runs": Annotated[Sequence[_NAME], MinLen(1)] | _NAME,
    "trec": _NAME | None,
    "corpus": _NAME | None,
    "query": NotBlank | float | None,
    "queries": _NAME | None,
    "reranker": _NAME | None,
    "pruner": _NAME | None,
    "metric": NotBlank,
    "to": NotBlank,
    "license": NotBlank | None,
    "measure": bool,
    "backends": Sequence[Literal["onnx", "openvino"]],
    "trust_remote_code": bool,
    "dry_run": bool,
    "probe": bool,
    "mode": Literal["compare", "max_batch", "scaling", "evaluation", "proof"],
    "batch_size": Annotated[int, Ge(2)],
    "negatives": NonNegative,
    "repeats": Positive,
    "memory_cap_gib": PositiveFloat | None,
    "peak_tflops": PositiveFloat | None,
    "max_batch.max_queries": Annotated[int, Ge(2)] | None,
    "max_batch": Mapping[str, Any],
    "scaling": Mapping[str, Any],
    "scaling.batch_sizes": Annotated[Sequence[Annotated[int, Ge(2)]], MinLen(1)],
    "scaling.lengths": Annotated[Sequence[Positive], MinLen(1)],
    "scaling.max_tokens": Positive,
    "proof": Mapping[str, Any],
    "proof.parts": Annotated[Sequence[_PROOF_PART], MinLen(1)] | None,
    "proof.folder": NotBlank,
    "candidates": Positive,
    "top_k": Positive,
    "host": NotBlank,
    "port": Annotated[int, Ge(1), Le(65535)],
    "limits": Mapping[str, Any],
    "threshold": Fraction,
    "package": bool,
    "private": bool,
    **dict.fromkeys((f"hardware.strategy.{key}" for key in _PASSED_ON), bool),
    "hardware.strategy.state_dict_type": Literal["full", "sharded"],
    "hardware.strategy.auto_wrap_policy": _COMPONENT,
    "hardware.strategy.auto_wrap_policy.min_num_params": Positive,
}
"""Types of the commands' own keys, and of those that a library's constructor doesn't declare; those of other components
are declared by their `_target_`.
"""


def problems(config: DictConfig) -> list[str]:
    """Return all mistakes of a composed configuration."""
    invalid = [*_invalid_keys(config), *_invalid_targets(config)]
    own = [error for error in invalid if not _is_interpolated(config, error, invalid)]
    errors = [*_missing(config), *own, *_not_finite(config)]
    if not errors:  # each check assumes that the ones before found nothing
        errors = [*_incompatible(config)] or [*_unresolved(config)] or [*_contradictory(config)]
    return list(dict.fromkeys(errors))  # a number that isn't finite may be out of its range as well


def _missing(node: Any, path: str = "") -> Iterator[str]:
    """Yield an error for every required value that isn't given."""
    if isinstance(node, DictConfig) and not node._is_none():
        for key in map(str, node):
            child = f"{path}{key}"
            if OmegaConf.is_missing(node, key):
                yield f"{child} is missing: give {child}=..."
            elif not OmegaConf.is_interpolation(node, key):
                yield from _missing(node[key], f"{child}.")


def _unresolved(node: Any, path: str = "") -> Iterator[str]:
    """Yield an error for every interpolation of a key that doesn't exist."""
    if isinstance(node, ListConfig) and not node._is_none():
        for number, child in enumerate(node):
            yield from _unresolved(child, f"{path}[{number}]")
    if not isinstance(node, DictConfig) or node._is_none():
        return
    for key in map(str, node):
        child = f"{path}.{key}".lstrip(".")
        if OmegaConf.is_interpolation(node, key):
            if _lacks_key(node, key):
                value = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index,call-overload]
                yield f"{child}={value}: there is no such key here: give {child}=<value>, or choose another part"
        elif not OmegaConf.is_missing(node, key):
            yield from _unresolved(node[key], child)


def _not_finite(node: Any, path: str = "") -> Iterator[str]:
    """Yield an error for every number that is nan or infinite."""
    if isinstance(node, DictConfig) and not node._is_none():
        for key in map(str, node):
            if not _unresolvable(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from _not_finite(node[key], f"{path}.{key}".lstrip("."))
    elif isinstance(node, ListConfig) and not node._is_none():
        for number, child in enumerate(node):
            yield from _not_finite(child, f"{path}[{number}]")
    elif isinstance(node, float) and not math.isfinite(node):
        yield f"{path}={node}: give a finite number"


def _invalid_targets(node: Any, path: str = "") -> Iterator[str]:
    """Yield errors of all `_target_`s: unknown targets and arguments, missing arguments, wrong types."""
    if isinstance(node, ListConfig) and not node._is_none():
        for number, child in enumerate(node):
            yield from _invalid_targets(child, f"{path}[{number}]")
    if not isinstance(node, DictConfig) or node._is_none():
        return
    if "_target_" in node:
        yield from _invalid_target(node, path)
    for key in map(str, node):  # interpolated nodes are checked at their origin
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _invalid_targets(node[key], f"{path}.{key}".lstrip("."))


def _invalid_target(node: DictConfig, path: str) -> Iterator[str]:
    try:
        target = get_object(node._target_)
    except Exception as error:
        yield f"{path}._target_={node._target_} can't be imported ({str(error).splitlines()[0]}): check the name"
        return
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = hints_of(target)
    for key in map(str, node):
        if key in _META or _unresolvable(node, key):
            continue
        if key not in parameters:
            if not takes_any:
                yield f"{path}.{key}: {node._target_} takes no '{key}'{did_you_mean(key, parameters)}"
        elif key in hints and not OmegaConf.is_missing(node, key):
            yield from _invalid_value(f"{path}.{key}", node[key], hints[key])
    if not node.get("_partial_", False):
        for name, parameter in parameters.items():
            required = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if required and name not in set(node.keys()):
                yield f"{path}.{name} is missing: {node._target_} needs it"


def _invalid_value(path: str, value: Any, hint: Any) -> Iterator[str]:
    """Yield errors of a value by its annotation; nodes with a `_target_` are checked separately."""
    if isinstance(value, DictConfig | ListConfig):
        try:
            value = OmegaConf.to_container(value, resolve=True)
        except OmegaConfBaseException:  # interpolates a missing value, or one that only a running command has
            value = OmegaConf.to_container(value, resolve=False)
        value = _without_parts(value)
    if value is not _PART:
        yield from out_of_range(path, value, hint)


def _without_parts(value: Any) -> Any:
    """Return nested values without interpolations and nodes with a `_target_`; `_PART` for such a value itself."""
    if isinstance(value, dict):
        left = {key: _without_parts(child) for key, child in value.items()}
        return _PART if "_target_" in value else {key: child for key, child in left.items() if child is not _PART}
    if isinstance(value, list):
        return [child for child in map(_without_parts, value) if child is not _PART]
    return _PART if isinstance(value, str) and "${" in value else value


def _invalid_keys(config: DictConfig) -> Iterator[str]:
    """Yield errors of the commands' own keys."""
    has_data = "trec" in config and config.get("run") is not None
    if has_data and config.get("data") is not None:
        model = shlex.quote("model.path=" + quoted(f"{config.run}/model"))
        yield (
            f"data= can't be chosen for run={config.run}, which has its own: omit it, or evaluate the run's weights "
            f"as a model (model=any {model})"
        )
    if "${" in str(config.get("home", "")):
        yield f"home={config.home}: Hydra takes ${{ in a folder's name for a key of the configuration: choose another"
    for path, hint in _KEYS.items():
        if has_data and path == "data":
            continue
        section, _, key = path.rpartition(".")
        node = _node_at(config, section)
        if isinstance(node, DictConfig) and key in set(node.keys()) and not _unresolvable(node, key):
            yield from _invalid_value(path, node[key], hint)
    for name in ("model", "data") if {"loss", "peers"} & set(config) else ():  # other commands may do without
        if config.get(name) is None:
            yield f"{name}=None: choose an option of {name}"
    if "run" in config and not {"model", "trec"} & set(config) and config.run is None:  # nothing in its place
        yield "run=None: give a run's folder or MLflow id"
    if "corpus" in config and "package" in config and config.corpus is None:
        yield "corpus=None: give the documents to search"


def _is_interpolated(config: DictConfig, error: str, errors: Sequence[str]) -> bool:
    """Return True if the error's value is interpolated from a key that has an error of its own."""
    section, _, key = error.partition("=")[0].rpartition(".")
    node = _node_at(config, section)
    if not isinstance(node, DictConfig) or key not in set(node.keys()) or not OmegaConf.is_interpolation(node, key):
        return False
    source = str(node._get_node(key)._value()).strip("${}")  # type: ignore[union-attr]
    return any(other.startswith(f"{source}=") for other in errors)


def _contradictory(node: Any, path: str = "") -> Iterator[str]:
    """Yield errors that constructors raise for valid values: fields that contradict each other."""
    if not isinstance(node, DictConfig) or node._is_none():
        return
    for key in map(str, node):  # interpolated nodes are checked at their origin
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _contradictory(node[key], f"{path}.{key}".lstrip("."))
    if "_target_" not in node or node.get("_partial_", False):
        return
    target = get_object(node._target_)
    if not is_dataclass(target) and Benchmark not in getattr(target, "__mro__", ()):
        return
    try:
        build(node)
    except InputError as error:
        if error.owner is None:
            yield str(error)
        elif error.owner is target:
            yield from (f"{path}.{problem}" for problem in error.problems)
    except OmegaConfBaseException:  # interpolates a value that only a running command has
        return


def _incompatible(config: DictConfig) -> Iterator[str]:
    """Yield errors of parts that don't work together."""
    index = get_object(config.index._target_) if config.get("index") is not None else None
    if index is not None and not index.neural:
        yield f"index={config.index._target_} searches words, not the model's vectors: choose index=exact"
    if config.get("model") is None:
        return
    head = get_object(config.model.head._target_).__self__
    if index is Fusion:
        index, partner = (get_object(config.index[part]._target_) for part in ("own", "partner"))
        if fault := partner_fault(neural=partner.neural, model=config.index.partner_model is not None):
            yield f"index.{fault}"
    factor = next(
        (factor for key in ("own.", "") if (factor := OmegaConf.select(config, f"index.{key}pooling.pool_factor"))), 1
    )
    if index is not None and not head.reads_pairs and (error := incompatibility(index, head, factor)):
        yield error
    if config.get("eval") is not None and (error := get_object(config.eval._target_).incompatibility(head)):
        yield error
    if config.get("loss") is None:
        return
    objectives = [*_targets(config.loss)]
    for objective in objectives:
        if error := losses.incompatibility(objective, head):
            yield error
    if config.model.get("learn_temperature") and (error := losses.untrained_temperature(objectives)):
        yield error


def _targets(node: Any) -> Iterator[Any]:
    """Yield the targets of a node and its children."""
    if isinstance(node, DictConfig) and not node._is_none():
        if "_target_" in node:
            yield get_object(node._target_)
        for key in node:
            if not _unresolvable(node, key):
                yield from _targets(node[key])


def _node_at(config: DictConfig, path: str) -> Any:
    """Return the node at a path, the whole configuration for an empty one; None where a value is in the way."""
    try:
        return OmegaConf.select(config, path) if path else config
    except OmegaConfBaseException:
        return None


def _unresolvable(node: DictConfig, key: Any) -> bool:
    """Return True if a value interpolates one that is missing, which is reported itself."""
    try:
        node[key]
    except OmegaConfBaseException:
        return True
    return False


def _lacks_key(node: DictConfig, key: str) -> bool:
    """Return True if a value interpolates a key that doesn't exist."""
    try:
        node[key]
    except InterpolationKeyError:
        return True
    except OmegaConfBaseException:  # a resolver that needs a running command, or a missing value
        return False
    return False
