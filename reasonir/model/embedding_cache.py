"""Disk cache of embeddings, block by block, so that an interrupted encoding resumes.

A file holds the embeddings of one block of texts and is named by everything that determines them: the weights, the
settings of head and tokenizer, the prompts, the side, the micro-batch size, and the texts. Another checkpoint or prompt
never reads it, and a cached block equals a computed one bit for bit. A damaged file is detected by its checksum and
rewritten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.model.encoder import Encoder
from reasonir.types import Side, Text
from reasonir.utils.files import add_strings
from reasonir.utils.tensor_files import read_tensors, write_tensors

log = logging.getLogger(__name__)
DType = Literal["float32", "float16"]
_FORMAT = 2
_AGAIN = "these texts are encoded again"


@dataclass(frozen=True, slots=True)
class Block:
    """Embeddings of some texts.

    Attributes:
        representation: the embeddings.
        tokens_N: tokens read per text.
        lost_N: tokens cut off per text.
    """

    representation: Representation
    tokens_N: Tensor
    lost_N: Tensor


class Store(Protocol):
    """Cache of blocks."""

    def load(self, key: str) -> Block | None:
        """Return the block of a key, None if it is missing or damaged."""

    def save(self, key: str, block: Block) -> None:
        """Store a block."""


class NoStore:
    """Cache that stores nothing."""

    def load(self, key: str) -> Block | None:
        """Return None."""

    def save(self, key: str, block: Block) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Folder of one model's blocks, stored as `dtype`."""

    folder: Path
    dtype: str = "float32"

    def load(self, key: str) -> Block | None:
        """See `Store`; logs a warning for a damaged file."""
        file = self._file(key)
        if not file.is_file():
            return None
        try:
            tensors = read_tensors(file, remedy=_AGAIN).tensors
            values_TD, lengths_N, tokens_N, lost_N = (tensors[name] for name in ("values", "lengths", "tokens", "lost"))
            embedded = Representation(values_TD.float(), lengths_N, tensors.get("terms"))
        except InputError as error:
            log.warning("%s", error)
            return None
        except KeyError as error:
            log.warning("%s has no tensor %s: %s", file, error, _AGAIN)
            return None
        return Block(embedded, tokens_N, lost_N)

    def save(self, key: str, block: Block) -> None:
        """See `Store`."""
        tensors = {
            "values": block.representation.values_TD.to(getattr(torch, self.dtype)),
            "lengths": block.representation.lengths_N,
            "tokens": block.tokens_N,
            "lost": block.lost_N,
        }
        if block.representation.terms_T is not None:
            tensors["terms"] = block.representation.terms_T
        write_tensors(self._file(key), tensors)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def key_of(texts: Sequence[Text], side: Side, budget: int) -> str:
    """Return the key of a block of texts, unique within one model."""
    digest = hashlib.sha256(f"{side} {budget}".encode())
    for text in texts:
        add_strings(digest, (text.instruction, text.text))
    return digest.hexdigest()[:32]


def identity_of(encoder: Encoder) -> str:
    """Return a hash of a model: all its weights, and every setting of backbone, head and tokenizer."""
    head = encoder.head
    backbone: Any = encoder.backbone
    settings = {
        "format": _FORMAT,
        "torch": torch.__version__,
        "device": encoder.device.type,
        "precision": encoder.precision,
        "modules": str(encoder),
        "backbone": {key: value for key, value in backbone.config.to_dict().items() if key != "_name_or_path"},
        "attention": getattr(backbone.config, "_attn_implementation", None),
        "adapters": {key: value.to_dict() for key, value in getattr(backbone, "peft_config", {}).items()},
        "head": {key: value for key, value in vars(head).items() if key[0] != "_" and key != "training"},
        "tokenizer": _settings(head.tokenizer),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_settings).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _settings(value: Any) -> Any:
    """Return an object's settings as plain values."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if getattr(value, "is_fast", False):  # of transformers; the last call's truncation isn't a setting
        tokenizer = json.loads(value.backend_tokenizer.to_str())
        return {key: part for key, part in tokenizer.items() if key not in ("truncation", "padding")}
    return str(value)


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()
