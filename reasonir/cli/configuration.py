"""Hydra's side of a configuration: resolvers, composition's choices, and the objects that its nodes describe."""

from __future__ import annotations

from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from reasonir.config import eval_of, hydra_subfolder, loss_of, reasonir_home, run_folder, user_conf
from reasonir.errors import InputError


def overridden(group: str) -> bool:
    """Whether the command line chooses an option of a group, or changes one of its keys; inside a command only."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    keys = (override.key_or_group for override in overrides)
    return any(key == group or key.startswith((f"{group}.", f"{group}/")) for key in keys)


def register_resolvers() -> None:
    """Make the functions that YAML files use known to OmegaConf; may be called again."""
    for function in (reasonir_home, user_conf, hydra_subfolder, loss_of, eval_of):
        OmegaConf.register_new_resolver(function.__name__, function, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)  # one per command


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
