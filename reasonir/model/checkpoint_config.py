"""How many tokens a backbone can really read: the bound of every configured length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from reasonir.errors import InputError

OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "mpnet", "xmod", "longformer")
"""Model types that count positions from padding_idx + 1."""
UNBOUNDED = 10**9
"""Longer than any text: a length that cuts nothing."""


def usable_positions(config: Any, tokenizer: Any) -> int:
    """The longest sequence that a transformers model with this config and tokenizer reads, in tokens.

    RoBERTa-like models count positions from padding_idx + 1, so their table is that much longer than what is usable.
    The tokenizer's own maximum only counts where the model has no table: it is a habit of the checkpoint (PyLate saves
    the length it truncated to last), not a bound.
    """
    table: int | None = getattr(config, "max_position_embeddings", None)
    if not table:
        return tokenizer.model_max_length or UNBOUNDED
    if getattr(config, "model_type", "") in OFFSET_FAMILIES:
        table -= (getattr(config, "pad_token_id", None) or 0) + 1
    return table


Length = Annotated[int, Ge(4)]
"""Tokens of a text: fewer leave no room beside the special tokens."""


def check_length(name: str, value: int, positions: int) -> None:
    """Refuse a length that the backbone can't read.

    Raises:
        InputError: naming the key, its value and the longest possible value.
    """
    if value > positions:
        raise InputError(f"model.head.{name}={value} is more than this model can read: set it to {positions} or less")


def stated_options(folder: Path | None, name: str) -> dict[str, Any]:
    """The values of a checkpoint's JSON file, none where there is no such file."""
    file = folder / name if folder else None
    return dict(json.loads(file.read_text())) if file and file.is_file() else {}


def architecture_of(folder: Path) -> str:
    """The transformers class that a checkpoint names first; empty where it names none."""
    return (stated_options(folder, "config.json").get("architectures") or [""])[0]  # type: ignore[no-any-return]


def gives_vectors(folder: Path) -> bool:
    """The checkpoint is a retriever of sentence-transformers or PyLate, whatever class its backbone was saved as."""
    lengths = stated_options(folder, "config_sentence_transformers.json")
    return "query_length" in lengths or bool(module_options(folder, "Pooling"))


def module_options(folder: Path | None, kind: str) -> dict[str, Any]:
    """The values of the last sentence-transformers module of a kind (Dense, Pooling), none where there is no such."""
    file = folder / "modules.json" if folder else None
    modules = json.loads(file.read_text()) if file and file.is_file() else []
    paths = [module["path"] for module in modules if module["type"].endswith(kind)]
    return stated_options(folder, f"{paths[-1]}/config.json") if paths else {}
