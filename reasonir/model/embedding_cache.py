"""Representations on the disk, block by block, so that an encoding that was stopped goes on where it was.

A file holds what a model made of one block of texts and is named by everything that decides it: the weights, what the
head and the tokenizer are set to, the prompts, the side, the cut into micro-batches, and the texts. So another
checkpoint or prompt never meets it, and a file that is met gives the same numbers bit for bit. A damaged one is noticed
by its checksum and written again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.model.encoder import Encoder
from reasonir.types import Side, Text
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)
DType = Literal["float32", "float16"]
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Block:
    """What a model made of some texts, with how many tokens it read of each and how many were cut off."""

    representation: Representation
    tokens_N: Tensor
    lost_N: Tensor


class Store(Protocol):
    """Keeps blocks."""

    def load(self, key: str) -> Block | None:
        """The block under a key, if it is there and whole."""

    def save(self, key: str, block: Block) -> None:
        """Keep a block."""


class NoStore:
    """Keeps nothing."""

    def load(self, key: str) -> Block | None:
        """Nothing."""

    def save(self, key: str, block: Block) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder of one model's blocks, in the type `dtype`."""

    folder: Path
    dtype: str = "float32"

    def load(self, key: str) -> Block | None:
        """See `Store`; a damaged file is said and passed over."""
        from safetensors import SafetensorError, safe_open

        file = self._file(key)
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as stream:
                checksum = stream.metadata()["checksum"]
                found = {name: stream.get_tensor(name) for name in ("values", "lengths", "tokens", "lost")}
            if _checksum(found["values"]) != checksum:
                raise ValueError("its contents don't have the checksum they were written with")
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("%s is damaged (%s): these texts are encoded again", file, error)
            return None
        return Block(Representation(found["values"].float(), found["lengths"]), found["tokens"], found["lost"])

    def save(self, key: str, block: Block) -> None:
        """See `Store`."""
        from safetensors.torch import save_file

        values_TD = block.representation.values_TD.to(getattr(torch, self.dtype)).contiguous()
        tensors = {
            "values": values_TD,
            "lengths": block.representation.lengths_N.contiguous(),
            "tokens": block.tokens_N.contiguous(),
            "lost": block.lost_N.contiguous(),
        }
        with atomic_path(self._file(key)) as partial:
            save_file(tensors, partial, {"checksum": _checksum(values_TD)})

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def key_of(texts: Sequence[Text], side: Side, budget: int) -> str:
    """What names a block of texts among those of one model."""
    digest = hashlib.sha256(f"{side} {budget}".encode())
    for text in texts:
        for part in (text.instruction.encode(), text.text.encode()):
            digest.update(len(part).to_bytes(8))
            digest.update(part)
    return digest.hexdigest()[:32]


def identity_of(encoder: Encoder) -> str:
    """What names a model: all its weights, and every setting of backbone, head and tokenizer."""
    head = encoder.head
    backbone: Any = encoder.backbone
    settings = {
        "format": _FORMAT,
        "torch": torch.__version__,
        "device": encoder.device.type,
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
    """What of an object decides what it does, as plain values."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if getattr(value, "is_fast", False):  # a tokenizer of transformers; its last call's truncation isn't a setting
        tokenizer = json.loads(value.backend_tokenizer.to_str())
        return {key: part for key, part in tokenizer.items() if key not in ("truncation", "padding")}
    return str(value)


def _checksum(tensor: Tensor) -> str:
    return f"{zlib.crc32(_bytes(tensor)):08x}"


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()
