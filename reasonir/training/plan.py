"""The plan of a run: lengths, truncation and tokens of the data, and how a step fits into the device's memory.

Printed before training and by `dry_run=true`, on any machine: it needs the model's configuration (or the dimensions
its YAML states), not its weights and not the device. What it says of memory is an estimate: weights, gradients and
optimiser states exactly, activations by `Shape.graph_bytes`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.model.positions import stated_options
from reasonir.model.shape import Shape
from reasonir.training.datamodule import RetrievalData
from reasonir.training.hardware import Hardware
from reasonir.training.step import Budget
from reasonir.types import Side

GIB = 2**30
_SEGMENT_SHARE, _KEPT_SHARE = 0.25, 0.5
_SAMPLE = 500
_LARGEST_SEGMENT = {"cpu": 2048, "mps": 16384, "cuda": 65536}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one side's texts: quantiles before truncation, the limit, and what it cuts."""

    limit: int
    median: int
    p95: int
    longest: int
    truncated: float
    mean: float
    estimated: bool

    @classmethod
    def of(cls, lengths: Sequence[int], limit: int, *, estimated: bool) -> Lengths:
        """Summarise the lengths of sampled texts."""
        array = np.asarray(lengths)
        return cls(
            limit=limit,
            median=int(np.median(array)),
            p95=int(np.quantile(array, 0.95)),
            longest=int(array.max()),
            truncated=float((array > limit).mean()),
            mean=float(np.minimum(array, limit).mean()),
            estimated=estimated,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step costs on one device, in GiB and tokens."""

    hardware: str
    present: bool
    precision: str
    memory_gib: float
    parameters: int
    trained: int
    weights_gib: float
    gradients_gib: float
    optimiser_gib: float
    segment_gib: float
    kept_gib: float
    total_gib: float
    fits: bool
    micro_batch_tokens: int
    kept_tokens: int
    tokens_per_step: int
    queries: Lengths
    documents: Lengths

    @property
    def budget(self) -> Budget:
        """What the engine is told."""
        return Budget(self.micro_batch_tokens, self.kept_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for plan.json."""
        return asdict(self)


def make_plan(
    shape: Shape,
    hardware: Hardware,
    queries: Lengths,
    documents: Lengths,
    *,
    trained: int,
    texts_per_step: tuple[int, int],
    state_bytes: int = 8,
) -> Plan:
    """Fit a step into the memory of `hardware`.

    Args:
        shape: the backbone.
        hardware: resolved, or a profile of a device that isn't here.
        queries: their lengths.
        documents: theirs.
        trained: parameters that get gradients.
        texts_per_step: queries and documents of one step on one device.
        state_bytes: optimiser state of a trained parameter.
    """
    on_cpu = hardware.accelerator == "cpu"
    mixed = hardware.precision.endswith("-mixed")
    memory = (hardware.memory_gib or 0.0) * GIB
    copies = 6 if mixed else 4  # float32 weights, and their 16-bit copies while autocast needs them
    static = shape.parameters * copies + trained * (4 + state_bytes)
    width = max(queries.limit, documents.limit)
    per_token = shape.graph_bytes(width, mixed=mixed, on_cpu=on_cpu)
    free = max(0.0, 0.9 * memory - static)
    segment = hardware.micro_batch_tokens or int(
        np.clip(_SEGMENT_SHARE * free / per_token, width, _LARGEST_SEGMENT.get(hardware.accelerator, 65536))
    )
    kept = hardware.kept_tokens if hardware.kept_tokens is not None else int(_KEPT_SHARE * free / per_token)
    step = int(texts_per_step[0] * queries.mean + texts_per_step[1] * documents.mean)
    used_segment, used_kept = min(segment, step) * per_token, min(kept, step) * per_token
    total = static + (used_kept if kept >= step else used_segment + used_kept)
    return Plan(
        hardware=hardware.name,
        present=hardware.missing() is None,
        precision=hardware.precision,
        memory_gib=memory / GIB,
        parameters=shape.parameters,
        trained=trained,
        weights_gib=shape.parameters * copies / GIB,
        gradients_gib=trained * 4 / GIB,
        optimiser_gib=trained * state_bytes / GIB,
        segment_gib=used_segment / GIB,
        kept_gib=used_kept / GIB,
        total_gib=total / GIB,
        fits=total <= memory,
        micro_batch_tokens=segment,
        kept_tokens=kept,
        tokens_per_step=step,
        queries=queries,
        documents=documents,
    )


def plan_run(model: Model, hardware: Hardware, data: RetrievalData, *, state_bytes: int) -> Plan:
    """The plan of a run, from a sample of its data.

    Raises:
        InputError: the model's dimensions are neither readable nor stated.
    """
    shape = model.measure()
    queries, documents = _measure(model, data)
    share = data.options.batch_size / max(1, hardware.devices)
    per_item = 1 + (data.options.negatives if data.has_negatives else 0)
    return make_plan(
        shape,
        hardware,
        queries,
        documents,
        trained=_trained(shape, model),
        texts_per_step=(round(share), round(share * per_item)),
        state_bytes=state_bytes,
    )


def as_planned(hardware: Hardware, file: Path) -> Hardware:
    """The profile with the budget of an earlier plan, so that resuming changes no bit of what dropout draws.

    What was free on a CPU then isn't what is free now. Another profile, or memory that the earlier plan doesn't fit
    into, is planned anew.
    """
    before = json.loads(file.read_text()) if file.is_file() else {}
    same = (before.get("hardware"), before.get("precision")) == (hardware.name, hardware.precision)
    if not same or before["total_gib"] > (hardware.memory_gib or 0.0):
        return hardware
    kept = before["kept_tokens"] if hardware.kept_tokens is None else hardware.kept_tokens
    return replace(
        hardware, micro_batch_tokens=hardware.micro_batch_tokens or before["micro_batch_tokens"], kept_tokens=kept
    )


def _measure(model: Model, data: RetrievalData) -> tuple[Lengths, Lengths]:
    """Lengths of sampled queries and documents, prompts included, as the model's own tokenizer counts."""
    try:
        folder = model.locate(weights=False)
    except InputError:
        folder = None
    limits = model.limits(folder)
    tokenizer = _tokenizer(folder, trust_remote_code=model.trust_remote_code) if folder else None
    prompts = model.prompts.completed(stated_options(folder, "config_sentence_transformers.json").get("prompts", {}))
    sides: tuple[Side, Side] = ("query", "document")
    found = []
    for side, texts in zip(sides, data.sample(_SAMPLE), strict=True):
        strings = [prompts.apply(text, side) for text in texts]
        lengths = [len(ids) for ids in tokenizer(strings)["input_ids"]] if tokenizer else [len(s) // 4 for s in strings]
        found.append(Lengths.of(lengths, limits[side], estimated=tokenizer is None))
    return found[0], found[1]


def _tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=trust_remote_code, verbose=False
    )


def _trained(shape: Shape, model: Model) -> int:
    """Parameters that get gradients, by the dimensions."""
    if model.lora.rank:
        per_layer = 8 * shape.hidden + (2 if shape.kind == "encoder" else 3) * (shape.hidden + shape.intermediate)
        return model.lora.rank * shape.layers * per_layer
    layer = (4 * shape.hidden + (2 if shape.kind == "encoder" else 3) * shape.intermediate) * shape.hidden
    embeddings = max(0, shape.parameters - shape.layers * layer)
    frozen = model.freeze_layers * layer
    if model.freeze_layers or model.freeze_embeddings:
        frozen += embeddings
    return max(0, shape.parameters - frozen)
