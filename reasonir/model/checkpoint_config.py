"""Values of a checkpoint's configuration files: usable positions, architecture, module options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from reasonir.errors import InputError
from reasonir.utils.parsing import read_json

OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "mpnet", "xmod", "longformer")
"""Model types that count positions from padding_idx + 1."""
SENTENCE_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names that sentence-transformers had for its file of a transformers model, the present one first."""
ARGUMENTS = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}
"""Arguments for transformers in these files, by their names before sentence-transformers 6 and from then on."""
UNBOUNDED = 10**9
"""Length limit that truncates nothing."""


def usable_positions(config: Any, tokenizer: Any) -> int:
    """Return the longest sequence that a transformers model with this config and tokenizer reads, in tokens.

    RoBERTa-like models count positions from padding_idx + 1, so their table is that much longer than the usable length.
    The tokenizer's own maximum is used only if the model has no table: it is no bound (PyLate saves the length it last
    truncated to).
    """
    table: int | None = getattr(config, "max_position_embeddings", None)
    if not table:
        return min(tokenizer.model_max_length or UNBOUNDED, UNBOUNDED)  # 1e30 if it isn't stated
    if getattr(config, "model_type", "") in OFFSET_FAMILIES:
        table -= (getattr(config, "pad_token_id", None) or 0) + 1
    return table


Length = Annotated[int, Ge(4)]
"""Tokens per text; fewer leave no room besides the special tokens."""


def check_length(name: str, value: int, positions: int) -> None:
    """Refuse a length that exceeds the backbone's positions.

    Raises:
        InputError: naming the key, its value and the maximum.
    """
    if value > positions:
        raise InputError(f"model.head.{name}={value} is more than this model can read: set it to {positions} or less")


def stated_values(file: Path, kind: type = dict) -> Any:
    """Return the contents of a checkpoint's JSON file, empty without such a file.

    Raises:
        InputError: it isn't JSON, or of another type.
    """
    if not file.is_file():
        return kind()
    contents = read_json(file, remedy="download the checkpoint again")
    if not isinstance(contents, kind):
        raise InputError(
            f"{file} holds a {type(contents).__name__} instead of a {kind.__name__}: download the checkpoint again"
        )
    return contents


def stated_options(folder: Path | None, name: str) -> dict[str, Any]:
    """Return the values of a checkpoint's JSON file; empty without such a file."""
    options: dict[str, Any] = stated_values(folder / name) if folder else {}
    return options


def architecture_of(folder: Path) -> str:
    """Return the first transformers class in a checkpoint's configuration; empty without one."""
    return (stated_options(folder, "config.json").get("architectures") or [""])[0]  # type: ignore[no-any-return]


def known_class(folder: Path) -> type | None:
    """Return transformers' own class of a checkpoint's backbone, None for an architecture of the checkpoint's own."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name: Any = MODEL_MAPPING_NAMES.get(stated_options(folder, "config.json").get("model_type", ""), "")
    found: type | None = getattr(transformers, name if isinstance(name, str) else name[0], None)
    return found


def is_retriever(folder: Path) -> bool:
    """Return whether the checkpoint is a retriever of sentence-transformers or PyLate, with any backbone class."""
    lengths = stated_options(folder, "config_sentence_transformers.json")
    pooled = module_options(folder, "Pooling") or module_options(folder, "SpladePooling")
    return "query_length" in lengths or bool(pooled)


def module_folders(folder: Path, kind: str) -> list[Path]:
    """Return the folders of a checkpoint's sentence-transformers modules of a kind (Transformer, Dense, Pooling)."""
    modules = stated_values(folder / "modules.json", list)
    return [folder / module["path"] for module in modules if module["type"].rpartition(".")[2] == kind]


def module_options(folder: Path | None, kind: str) -> dict[str, Any]:
    """Return the values of the last sentence-transformers module of a kind; empty without one."""
    folders = module_folders(folder, kind) if folder else []
    return stated_options(folders[-1], "config.json") if folders else {}


def sentence_options(folder: Path | None) -> dict[str, Any]:
    """Return what sentence-transformers states of a transformers model: length, case, arguments; empty if nothing.

    From version 6 on, the tokenizer states the length and lowers the case, and arguments have other names.
    """
    stated = next(filter(None, (stated_options(folder, name) for name in SENTENCE_CONFIGS)), {})
    if "transformer_task" not in stated:
        return stated
    renamed = {name: stated.get(new, {}) for name, new in ARGUMENTS.items()}
    return {"max_seq_length": stated_options(folder, "tokenizer_config.json").get("model_max_length"), **renamed}
