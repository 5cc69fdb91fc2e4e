"""Hydra configuration: resolvers, chosen options, and building objects from nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, ListConfig, OmegaConf

from reasonir.config import eval_of, hydra_subfolder, loss_of, reasonir_home, run_folder, user_conf
from reasonir.errors import InputError
from reasonir.runs import plain_values
from reasonir.runs.overrides import overrides_of, parse_overrides


def overridden(group: str) -> bool:
    """Return True if the command line chooses an option of a group or changes one of its keys; inside a command."""
    keys = (override.key_or_group for override in parse_overrides(overrides_of(HydraConfig.get())))
    return any(key == group or key.startswith((f"{group}.", f"{group}/")) for key in keys)


def register_resolvers() -> None:
    """Register the functions that YAML files use with OmegaConf; may be called again."""
    for function in (reasonir_home, user_conf, hydra_subfolder, loss_of, eval_of):
        OmegaConf.register_new_resolver(function.__name__, function, replace=True)
    plain_values.register()
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)  # one per command


register_resolvers()  # at import, since sweeps' jobs get their configuration in other processes


def output_folder() -> Path:
    """Return the folder that Hydra made for the present command's output."""
    return Path(HydraConfig.get().runtime.output_dir)


def build(node: Any) -> Any:
    """Build the object of a `_target_` node, its children first; return plain values as they are.

    Args:
        node: part of a configuration.

    Raises:
        InputError: a constructor refused its arguments.
    """
    if not isinstance(node, DictConfig | ListConfig):
        return node
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def options(group: str) -> dict[str, Any]:
    """Build every option of a group by name, including the user's own; inside a command, whose search path is used."""
    names = GlobalHydra.instance().config_loader().get_group_options(group, results_filter=ObjectType.CONFIG)
    return {name: build(hydra.compose(f"{group}/{name}")[group]) for name in names}
