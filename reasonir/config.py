"""Configuration: where conf/ lies, what YAML files may call, and the only place that builds objects from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from reasonir.errors import InputError

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Where the YAML files are: inside an installed wheel, else beside the package in a checkout."""
VERSION_BASE = "1.3"


def reasonir_home() -> str:
    """Where everything goes that commands write: REASONIR_HOME, else the working directory; absolute."""
    return str(Path(os.environ.get("REASONIR_HOME") or Path.cwd()).expanduser().absolute())


def own_conf() -> Path | None:
    """The folder of a user's own YAML files: conf/ in the working directory, unless that is ours."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != CONF.resolve() else None


def user_conf() -> list[str]:
    """Hydra's search path for a user's own YAML files."""
    own = own_conf()
    return [] if own is None else [f"file://{own}"]


def run_folder(resume: str | None, fresh: str) -> str:
    """The folder of the run to be resumed, or the path of a new one."""
    if not resume:
        return fresh
    path = Path(resume).expanduser()
    return str(path.parent.parent if path.suffix == ".ckpt" else path)


def hydra_subfolder(resume: str | None, time: str) -> str:
    """Where Hydra notes what was asked: apart from the first run's notes when a run is resumed."""
    return f".hydra/resumed_{time}" if resume else ".hydra"


def loss_of(head: str) -> str:
    """The option of the group `loss` that trains a head, by the option of the group `model/head`."""
    return {"gaussian": "gaussian", "cross_encoder": "bce", "yes_no": "bce", "provence": "provence"}.get(
        head, "cached_contrastive"
    )


def eval_of(data: str | None) -> str:
    """The option of the group `eval` that suits data, by the option of the group `data`."""
    if data in ("context_relevance", "open_provence", "open_provence_ja"):
        return "context_relevance"
    return {None: "bright", "reasonir": "bright", "demo": "demo", "graded": "graded"}.get(data, "test_split")


def overridden(group: str) -> bool:
    """Whether the command line chooses an option of a group, or changes one of its keys; inside a command only."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    keys = (override.key_or_group for override in overrides)
    return any(key == group or key.startswith((f"{group}.", f"{group}/")) for key in keys)


def register_resolvers() -> None:
    """Make the pure functions that YAML files use known to OmegaConf; may be called again."""
    for function in (reasonir_home, user_conf, run_folder, hydra_subfolder, loss_of, eval_of):
        OmegaConf.register_new_resolver(function.__name__, function, replace=True)


register_resolvers()


def build(node: Any, /, **given: Any) -> Any:
    """The object a `_target_` node describes, its children built first; plain values come back as they are.

    Args:
        node: part of a configuration.
        given: arguments that aren't in the configuration.

    Raises:
        InputError: what a constructor refused.
    """
    if not isinstance(node, DictConfig | ListConfig):
        return node
    try:
        return hydra.utils.instantiate(node, **given, _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def options(group: str) -> dict[str, Any]:
    """Every option of a group, composed by itself and built; the user's own among them.

    Inside a command only, whose search path this reads.
    """
    names = GlobalHydra.instance().config_loader().get_group_options(group, results_filter=ObjectType.CONFIG)
    return {name: build(hydra.compose(f"{group}/{name}")[group]) for name in names}


def to_container(config: DictConfig) -> dict[str, Any]:
    """The configuration as builtins, everything resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def strip_targets(values: Any) -> Any:
    """The same nested values without targets, which say nothing to a reader."""
    if isinstance(values, Mapping):
        return {key: strip_targets(value) for key, value in values.items() if key not in ("_target_", "_partial_")}
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys.

    >>> flat({"a": {"b": 1}, "c": [1, 2]})
    {'a.b': 1, 'c': [1, 2]}
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flatten(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
