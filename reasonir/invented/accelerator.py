"""The invented device as Lightning's Trainer takes it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.accelerators import Accelerator

from reasonir.utils.devices import INVENTED


class InventedAccelerator(Accelerator):
    """One device, within `reasonir.invented.device.Tracing`."""

    def setup_device(self, device: torch.device) -> None:
        """Do nothing: the device exists already."""

    def teardown(self) -> None:
        """Do nothing: the device ends with its block."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """Return the number of devices."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """Return the one device."""
        return [torch.device(INVENTED, 0)]

    @staticmethod
    def auto_device_count() -> int:
        """Return 1."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Return True."""
        return True

    @staticmethod
    def name() -> str:
        """Return the device's type."""
        return INVENTED

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """Return nothing: memory is counted by `Tracing`."""
        return {}
