"""Tensors in a safetensors file with a checksum of all of them and of the file's metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reasonir.errors import InputError
from reasonir.utils.files import atomic_path

_SUM, _TIED = "sha256", "tied"


class TensorFile(NamedTuple):
    """Content of a file.

    Attributes:
        tensors: by name, on the CPU.
        metadata: strings by name.
        digest: the checksum; empty in a file of an earlier version.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str


def write_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write tensors and metadata with their checksum, and return it; the file is complete or absent.

    Tensors that are the same memory (tied weights) are written once.

    Raises:
        OSError: the file can't be written.
    """
    from safetensors.torch import save_file

    first: dict[Any, str] = {}
    named = {name: first.setdefault(_memory(tensor) or name, name) for name, tensor in tensors.items()}
    tied = {name: other for name, other in named.items() if name != other}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if name not in tied}
    stated = {**(metadata or {}), **({_TIED: json.dumps(tied)} if tied else {})}
    digest = _digest(whole, stated)
    with atomic_path(file) as partial:
        save_file(whole, partial, {**stated, _SUM: digest})
    return digest


def _memory(tensor: Tensor) -> tuple[Any, ...] | None:
    """Return what two tensors have in common that are the same memory; None for a tensor without any."""
    return (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else None


def read_tensors(file: Path, *, remedy: str) -> TensorFile:
    """Read a file that `write_tensors` wrote, and verify its checksum.

    Args:
        file: to read.
        remedy: what to do about a damaged file, for the message.

    Raises:
        InputError: it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise InputError(f"{file} is missing: {remedy}")
    try:
        with safe_open(file, "pt") as stream:
            metadata = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{file} is damaged and can't be read ({error}): {remedy}") from error
    stated = metadata.pop(_SUM, "")
    if stated and stated != _digest(tensors, metadata):
        raise InputError(f"{file} is damaged (its checksum differs): {remedy}")
    tensors |= {name: tensors[other] for name, other in json.loads(metadata.pop(_TIED, "{}")).items()}
    return TensorFile(tensors, metadata, stated)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
