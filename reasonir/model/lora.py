"""LoRA adapters on a backbone, by peft (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen
from torch import nn

from reasonir.errors import InputError
from reasonir.utils.ranges import Fraction, NonNegative, NotBlank, PositiveFloat, Validated


@dataclass(frozen=True, slots=True)
class LoRA(Validated):
    """Trains adapters of `rank` on the linear layers named `targets`; the rest of the backbone is frozen.

    Rank 0 disables adapters. `targets` are the last parts of module names (q_proj, query, ...); "all-linear" selects
    every linear layer. Layers that are frozen already get no adapters.
    """

    rank: NonNegative = 0
    alpha: PositiveFloat = 32.0
    dropout: Fraction = 0.05
    targets: Annotated[Sequence[NotBlank], MinLen(1)] | NotBlank = "all-linear"

    def apply(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone with adapters, or unchanged for rank 0.

        Raises:
            InputError: a target names no linear layer of this model, or all of them are frozen.
        """
        if not self.rank:
            return backbone
        from peft import LoraConfig, get_peft_model
        from transformers.pytorch_utils import Conv1D

        linear = {name: m for name, m in backbone.named_modules() if isinstance(m, nn.Linear | Conv1D)}
        names = sorted({_last(name) for name in linear})
        targets = [self.targets] if isinstance(self.targets, str) else list(self.targets)
        if targets == ["all-linear"]:
            targets = names
        if wrong := [target for target in targets if target not in names]:
            raise InputError(
                f"model.lora.targets names {', '.join(wrong)}, which this model doesn't have: "
                f"its linear layers are {', '.join(names)} (or all-linear for every one)"
            )
        adapted = [name for name, m in linear.items() if _last(name) in targets and m.weight.requires_grad]
        if not adapted:
            raise InputError(f"model.lora.rank={self.rank}: every layer to adapt is frozen: lower model.freeze_layers")
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=adapted)
        return get_peft_model(backbone, config)  # type: ignore[no-any-return]


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def merged(backbone: nn.Module) -> nn.Module:
    """Return the plain backbone: adapters, if any, are merged into a copy of its weights."""
    if not hasattr(backbone, "merge_and_unload"):
        return backbone
    return copy.deepcopy(backbone).merge_and_unload()  # type: ignore[no-any-return,operator]
