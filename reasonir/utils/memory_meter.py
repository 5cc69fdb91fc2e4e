"""Peak memory above what was in use when the meter started.

On CUDA this is torch's allocations, elsewhere the process's resident memory, whose high-water mark Linux can reset;
where it can't be reset, an earlier peak is included.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

from reasonir.utils.devices import kind_of

GIB = 2**30

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class Meter:
    """Memory meter that measures from its creation on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if kind_of(device) == "cuda":
            module = torch.get_device_module(device)
            module.reset_peak_memory_stats(device)
            self.before = float(module.memory_allocated(device)) / GIB
            return
        import psutil

        if _STATUS.is_file():
            with contextlib.suppress(OSError):  # where a sandbox forbids it, the peak is that of the whole process
                _CLEAR.write_text(_RESET_PEAK)
        self.before = float(psutil.Process().memory_info().rss) / GIB

    @property
    def peak_gib(self) -> float:
        """Peak memory above the start, in GiB."""
        return max(0.0, peak_memory_gib(self.device) - self.before)


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory of the device, or on a CPU of this process, since the last reset, in GiB."""
    if kind_of(device) == "cuda":
        return float(torch.get_device_module(device).max_memory_allocated(device)) / GIB
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
