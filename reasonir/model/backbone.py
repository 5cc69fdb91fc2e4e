"""Model by hub id or folder: located, measured and loaded, with frozen layers, adapters or recomputation.

`Model` is what every YAML of the group builds. Building it reads nothing, so a composition can be checked and planned
before any weight is loaded; `load` returns the encoder, its weights in float32 (the optimiser's master weights).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reasonir.errors import HOW_TO_TRUST, InputError, NotHereError
from reasonir.hardware import Attention
from reasonir.model import varlen
from reasonir.model.checkpoint_config import known_class, usable_positions
from reasonir.model.download import Packaged, locate
from reasonir.model.encoder import Encoder
from reasonir.model.head.base import HeadLoader
from reasonir.model.lora import LoRA
from reasonir.model.prompts import Prompts
from reasonir.model.remote_code import opening_errors
from reasonir.model.replay import REPLAY
from reasonir.model.shape import Shape, mistakes
from reasonir.types import Side
from reasonir.utils.ranges import LearningRate, NonNegative, Validated

log = logging.getLogger(__name__)
_LAYER_LISTS = ("encoder.layer", "encoder.layers", "layers", "model.layers", "transformer.layer", "h")


@dataclass(frozen=True, slots=True)
class Model(Validated):
    """A backbone with a head, by hub id or folder.

    Attributes:
        path: hub id or folder of the checkpoint.
        head: loads backbone and head from the checkpoint.
        hub_id: the published model that `packaged` and `config` belong to; another `path` doesn't use them.
        revision: branch, tag or commit of a hub id.
        packaged: weights in a Python package, used if the hub is unreachable.
        config: the contents of its config.json, for planning without it.
        attention: attention implementation of transformers (sdpa, eager, flash_attention_2), or varlen: SDPA without
            padding where possible (`reasonir.model.varlen`).
        prompts: prefixes of texts.
        lora: train low-rank adapters instead of the backbone.
        learn_temperature: train the temperature of a retriever's scores; see `RetrieverHead.learn_temperature`.
        freeze_embeddings: freeze the token embeddings.
        freeze_layers: number of first layers to freeze (with the embeddings), counted from the input.
        activation_checkpointing: recompute each layer in the backward pass, for texts that don't fit otherwise.
        trust_remote_code: run Python code in the checkpoint.
        lr: peak learning rate for this backbone; `optim.lr` reads it.
        head_lr: learning rate of the head's new parameters, often higher; None is `lr`.
    """

    path: str
    head: HeadLoader
    hub_id: str | None = None
    revision: str | None = None
    packaged: Packaged | None = None
    config: Mapping[str, Any] | None = None
    attention: Attention = varlen.NAME
    prompts: Prompts = field(default_factory=Prompts)
    lora: LoRA = field(default_factory=LoRA)
    learn_temperature: bool = False
    freeze_embeddings: bool = False
    freeze_layers: NonNegative = 0
    activation_checkpointing: bool = False
    trust_remote_code: bool = False
    lr: LearningRate = 2e-5
    head_lr: LearningRate | None = None

    def problems(self) -> Iterable[str]:
        """Yield values of `config` that no transformer can have, and a temperature that isn't there."""
        yield from mistakes(self.config, "config.") if isinstance(self.config, Mapping) else ()
        if self.learn_temperature and "temperature" not in signature(self._head.load).parameters:
            yield f"learn_temperature=true: {self._head.__name__} has no temperature: set it to false"

    def locate(self, *, weights: bool = True) -> Path:
        """Return the checkpoint's local folder (see `download.locate` for errors)."""
        packaged = self.packaged if self.path == self.hub_id else None
        return locate(
            self.path,
            revision=self.revision,
            packaged=packaged,
            weights=weights,
            trust_remote_code=self.trust_remote_code,
        )

    def unusable(self, *, weights: bool = True) -> str | None:
        """Return why the located checkpoint can't be trained as configured, by its JSON files; None if it can.

        Raises:
            InputError: see `locate`.
        """
        folder = self.locate(weights=weights)
        if reason := self._unreadable(folder):
            return reason
        if self.attention == "flex_attention" and Shape.read(folder).attention_dropout:
            return "model.attention=flex_attention: it has no dropout, and this model has: choose varlen or sdpa"
        return _no_recomputation(known_class(folder)) if self.activation_checkpointing else None

    def _unreadable(self, folder: Path) -> str | None:
        """Reason why the head can't read a checkpoint, or the attention isn't available; None without one."""
        if "/" in self.attention and not self.trust_remote_code:
            return (
                f"model.attention={self.attention} is a kernel of the hub, which is code: choose sdpa, eager or "
                f"flash_attention_2, or if you trust it, give {HOW_TO_TRUST}"
            )
        if self.attention.startswith("flash_attention") and not _has_flash(self.attention):
            return (
                f"model.attention={self.attention} needs a GPU and its package (pip install flash-attn): choose "
                "varlen, which runs FlashAttention without it, or sdpa"
            )
        reason: str | None = self._head.unusable(folder, self.head_options)
        return reason

    def measure(self) -> Shape:
        """Return the backbone's dimensions from the checkpoint, or else those in the YAML.

        Raises:
            InputError: neither is available.
        """
        try:
            return Shape.read(self.locate(weights=False))
        except NotHereError:
            if not self.config or self.path != self.hub_id:
                raise
            return Shape.of(self.config)

    def limits(self, folder: Path | None) -> dict[Side, int]:
        """Return the maximum tokens per text of each side, from the YAML and, if `folder` is given, the checkpoint."""
        return self._head.limits(folder, self.head_options)  # type: ignore[no-any-return]

    def read_tokenizer(self, folder: Path) -> tuple[Any, int]:
        """Return the head's tokenizer and the number of positions of the model; needs no weights."""
        from transformers import AutoConfig, AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
        with opening_errors(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, verbose=False, **options)
            positions = usable_positions(AutoConfig.from_pretrained(folder, **options), tokenizer)
        head_tokenizer = self._head.read_tokenizer(
            folder, self.head_options, tokenizer=tokenizer, prompts=self.prompts, positions=positions
        )
        return head_tokenizer, positions

    def length_options(self, lengths: Mapping[Side, int]) -> dict[str, int]:
        """Return the head's unset length options for these lengths."""
        options = self._head.length_options(lengths)
        return {name: length for name, length in options.items() if self.head_options.get(name) is None}

    def vector_size(self, folder: Path | None, hidden: int) -> int:
        """Return the size of a vector, for a backbone of hidden size `hidden`."""
        return int(self._head.vector_size(folder, self.head_options, hidden))

    @property
    def reads_pairs(self) -> bool:
        """True if the head reads query and document together."""
        return bool(self._head.reads_pairs)

    @property
    def single_vector(self) -> bool:
        """True if the representation of a text, or of a pair, is a single vector."""
        return bool(self._head.single_vector)

    @property
    def head_options(self) -> Mapping[str, Any]:
        """The head's options in the YAML."""
        loader: Any = self.head  # a partial of a head's classmethod `load`
        return loader.keywords  # type: ignore[no-any-return]

    @property
    def _head(self) -> Any:
        loader: Any = self.head
        return loader.func.__self__

    def load(self, *, seed: int = 0, precision: str = "32-true", weights: bool = True) -> Encoder:
        """Return the encoder in training mode, on the CPU.

        Args:
            seed: initialises new parameters (a projection, adapters).
            precision: of inference, as in `Hardware.precision`; the weights are float32.
            weights: False where transformers reads none (`reasonir.planning.hollow`).

        Raises:
            InputError: the checkpoint is unreachable or doesn't match the configuration.
        """
        folder = self.locate(weights=weights)
        if reason := self._unreadable(folder):
            raise InputError(reason)
        torch.manual_seed(seed)
        kwargs: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": self.trust_remote_code}
        sdpa = self.attention in ("sdpa", varlen.NAME)
        if not sdpa:  # implementations within transformers
            kwargs["attn_implementation"] = self.attention
        with opening_errors(folder):
            backbone, head = self.head(folder, prompts=self.prompts, model_kwargs=kwargs)
        _refuse_batch_norm(backbone, self.path)
        if self.learn_temperature:
            head.learn_temperature()  # type: ignore[attr-defined]  # a retriever's, see `problems`
        for parameter in _pooler(backbone):  # unused by heads, and DDP would wait for its gradients
            parameter.requires_grad_(False)
        self._freeze(backbone)
        packs = sdpa and varlen.install(backbone) and self.attention == varlen.NAME
        backbone = self.lora.apply(backbone)
        if self.activation_checkpointing:
            if reason := _no_recomputation(backbone):
                raise InputError(reason)
            backbone.gradient_checkpointing_enable(REPLAY)  # type: ignore[operator]
        encoder = Encoder(backbone, head, packs=packs, trust_remote_code=self.trust_remote_code)
        encoder.precision = precision
        return encoder.train()

    def _freeze(self, backbone: nn.Module) -> None:
        if self.freeze_layers or self.freeze_embeddings:
            backbone.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
        if not self.freeze_layers:
            return
        layers = _layers(backbone)
        if self.freeze_layers > len(layers):
            raise InputError(
                f"model.freeze_layers={self.freeze_layers}: this model has {len(layers)} layers: reduce it"
            )
        for layer in layers[: self.freeze_layers]:
            layer.requires_grad_(False)
        embeddings = getattr(backbone, "embeddings", None)
        if embeddings is not None:
            embeddings.requires_grad_(False)


def _has_flash(attention: str) -> bool:
    """Return whether transformers finds the package of a FlashAttention, and a device that it runs on."""
    from transformers import utils

    if attention == "flash_attention_2":
        return bool(utils.is_flash_attn_2_available())
    return bool(utils.is_flash_attn_3_available())


def _no_recomputation(backbone: Any) -> str | None:
    """Reason why a backbone, or its class, can't recompute its layers; None if it can, or for no known class."""
    if backbone is None or getattr(backbone, "supports_gradient_checkpointing", False):
        return None
    name = backbone.__name__ if isinstance(backbone, type) else type(backbone).__name__
    return (
        f"model.activation_checkpointing=true: transformers' {name} can't recompute its layers: set it to false, and "
        "lower hardware.micro_batch_tokens if a text doesn't fit"
    )


def _layers(backbone: nn.Module) -> nn.ModuleList:
    for name in _LAYER_LISTS:
        try:
            layers = backbone.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(layers, nn.ModuleList):
            return layers
    raise InputError(f"model.freeze_layers: {type(backbone).__name__} has no known list of layers: set it to 0")


def _pooler(backbone: nn.Module) -> Iterator[nn.Parameter]:
    pooler = getattr(backbone, "pooler", None)
    return pooler.parameters() if isinstance(pooler, nn.Module) else iter(())


def _refuse_batch_norm(backbone: nn.Module, path: str) -> None:
    """Refuse batch normalisation, whose statistics depend on the micro-batches of a step."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(f"model.path={path} has batch normalisation ({name}): choose a model with layer norms")
