"""LoRA adapters on a backbone, by peft (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reasonir.errors import InputError
from reasonir.utils.ranges import Fraction, NonNegative, PositiveFloat, Validated


@dataclass(frozen=True, slots=True)
class LoRA(Validated):
    """Trains adapters of `rank` on the linear layers named `targets`; the rest of the backbone is frozen.

    Rank 0 disables adapters. `targets` are the last parts of module names (q_proj, query, ...); "all-linear" selects
    every linear layer.
    """

    rank: NonNegative = 0
    alpha: PositiveFloat = 32.0
    dropout: Fraction = 0.05
    targets: Sequence[str] | str = "all-linear"

    def apply(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone with adapters, or unchanged for rank 0.

        Raises:
            InputError: a target names no linear layer of this model.
        """
        if not self.rank:
            return backbone
        from peft import LoraConfig, get_peft_model

        linear = sorted({name.rsplit(".", 1)[-1] for name, m in backbone.named_modules() if isinstance(m, nn.Linear)})
        targets: str | list[str] = "all-linear"
        if self.targets != "all-linear":
            targets = [self.targets] if isinstance(self.targets, str) else list(self.targets)
            if wrong := [target for target in targets if target not in linear]:
                raise InputError(
                    f"model.lora.targets names {', '.join(wrong)}, which this model doesn't have: "
                    f"its linear layers are {', '.join(linear)} (or all-linear for every one)"
                )
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets)
        return get_peft_model(backbone, config)  # type: ignore[no-any-return]


def merged(backbone: nn.Module) -> nn.Module:
    """Return the plain backbone: adapters, if any, are merged into a copy of its weights."""
    if not hasattr(backbone, "merge_and_unload"):
        return backbone
    return copy.deepcopy(backbone).merge_and_unload()  # type: ignore[no-any-return,operator]
