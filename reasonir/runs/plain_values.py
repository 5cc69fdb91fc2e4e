"""Configuration as plain values, for what is saved, tracked and reported: without those of environment variables."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from reasonir.runs.secrets import remember


def register() -> None:
    """Let `${oc.env:NAME}` remember the values that `mask` replaces; may be called again."""
    OmegaConf.register_new_resolver("oc.env", _value, replace=True)


def _value(name: str, *default: Any) -> Any:
    if name in os.environ:
        remember(name, os.environ[name])
    return oc.env(name, *default)


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as built-in types, resolved but for environment variables: texts keep their names.

    Numbers, true and false that a variable gives are no secrets and are kept. `home` is kept as well.
    """
    resolved = OmegaConf.to_container(config, resolve=True)
    OmegaConf.register_new_resolver("oc.env", _named, replace=True)
    try:
        named = OmegaConf.to_container(config, resolve=True)
    except Exception:  # a resolver that takes no name in place of the value
        named = OmegaConf.to_container(config, resolve=False)
    finally:
        register()
    assert isinstance(resolved, dict)
    values = {str(key): value for key, value in _without_texts(resolved, named).items()}
    return {**values, "home": resolved["home"]} if "home" in values else values


def _named(name: str, *default: Any) -> Any:
    return f"${{oc.env:{name}}}" if name in os.environ else oc.env(name, *default)


def _without_texts(resolved: Any, named: Any) -> Any:
    """Return resolved values, with the texts of `named`."""
    if isinstance(resolved, dict) and isinstance(named, dict):
        return {key: _without_texts(value, named.get(key)) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(named, list) and len(resolved) == len(named):
        return [_without_texts(*pair) for pair in zip(resolved, named, strict=True)]
    return named if isinstance(resolved, str | dict | list) else resolved
