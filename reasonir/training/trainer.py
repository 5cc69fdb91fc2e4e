"""Lightning's Trainer for a hardware profile; what reasonir does itself (checkpoints, bars) is switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning import Trainer
from lightning.pytorch.plugins.precision import FSDPPrecision, MixedPrecision, Precision
from lightning.pytorch.strategies import FSDPStrategy
from torch.amp.grad_scaler import GradScaler

from reasonir.hardware import Hardware


class ShardedPrecision(FSDPPrecision):
    """Lightning's, but a batch holds token ids and labels only, which no number format changes."""

    def __init__(self, precision: Any) -> None:
        super().__init__(precision)

    def convert_input(self, data: Any) -> Any:
        """The batch as it is: Lightning's way through it stops at frozen dataclasses."""
        return data


def precision_plugin(hardware: Hardware) -> Precision | None:
    """The precision plugin of a profile where Lightning would choose another one, else None.

    On a CPU Lightning computes in bfloat16 when float16 is asked for; torch has both, and a loss scale for it.
    """
    if isinstance(hardware.strategy, FSDPStrategy):
        return ShardedPrecision(hardware.precision)
    if hardware.precision == "16-mixed" and hardware.accelerator == "cpu":
        return MixedPrecision("16-mixed", "cpu", GradScaler("cpu"))
    return None


def build_trainer(
    given: Mapping[str, Any], hardware: Hardware, *, plugins: tuple[Any, ...] = (), **options: Any
) -> Trainer:
    """Lightning's Trainer on a resolved hardware profile.

    Args:
        given: options of the Trainer that the user gives.
        hardware: resolved.
        plugins: besides the precision's.
        options: of the Trainer, in place of the user's.
    """
    precision = precision_plugin(hardware)
    everything: dict[str, Any] = {**given, **options}
    return Trainer(
        **everything,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=hardware.strategy,
        precision=None if precision else hardware.precision,  # type: ignore[arg-type]
        plugins=[*plugins, *([precision] if precision else [])],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
