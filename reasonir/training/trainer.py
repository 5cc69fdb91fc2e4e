"""Lightning's Trainer for a hardware profile, without its own checkpoints and progress bars."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lightning import Trainer
from lightning.pytorch.plugins.precision import FSDPPrecision, MixedPrecision, Precision
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy
from torch.amp.grad_scaler import GradScaler

from reasonir.hardware import Hardware
from reasonir.invented.accelerator import InventedAccelerator
from reasonir.training.options import TrainerOptions


class ShardedPrecision(FSDPPrecision):
    """FSDP precision plugin that leaves batches as they are."""

    def convert_input(self, data: Any) -> Any:
        """Return the batch: token ids and labels have no precision, and Lightning can't convert frozen dataclasses."""
        return data


def precision_plugin(hardware: Hardware) -> Precision | None:
    """Return the precision plugin of a profile for which Lightning would choose a wrong one, else None.

    On a CPU Lightning replaces float16 by bfloat16; torch supports both, and loss scaling. It takes an unknown device
    for CUDA.
    """
    if isinstance(hardware.strategy, FSDPStrategy):
        return ShardedPrecision(hardware.precision)  # type: ignore[arg-type]
    if hardware.precision == "16-mixed" and hardware.accelerator == "cpu":
        return MixedPrecision("16-mixed", "cpu", GradScaler("cpu"))
    if hardware.traced and hardware.precision != "32-true":
        return MixedPrecision(hardware.precision, hardware.torch_device)  # type: ignore[arg-type]
    return None


def build_trainer(
    chosen: TrainerOptions, hardware: Hardware, *, plugins: tuple[Any, ...] = (), **options: Any
) -> Trainer:
    """Build Lightning's Trainer on a resolved hardware profile.

    Args:
        chosen: the run's options.
        hardware: the resolved profile.
        plugins: in addition to the precision plugin.
        options: further options of the Trainer.
    """
    precision = precision_plugin(hardware)
    return Trainer(
        **asdict(chosen),
        **options,
        accelerator=InventedAccelerator() if hardware.traced else hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=SingleDeviceStrategy(hardware.torch_device) if hardware.traced else hardware.strategy,
        precision=None if precision else hardware.precision,  # type: ignore[arg-type]
        plugins=[*plugins, *([precision] if precision else [])],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
