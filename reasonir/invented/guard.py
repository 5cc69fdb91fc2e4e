"""Device guard of the invented device, which lets errors of a backward pass reach the caller.

torch asks the guard for its device type while an error unwinds the autograd engine, with that error pending; a Python
method that is called so fails, and the process ends. This guard takes the pending error away first, and
`errors_of_backward` raises it where the backward pass was called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_DEVICE_GUARD: Any = torch._C._acc.DeviceGuard
_TYPE: Any = torch._C._autograd.DeviceType.PrivateUse1
_SLOTS = tuple(ctypes.c_void_p() for _ in range(3))
"""Type, value and traceback of a pending error; made before, since nothing else may be called while there is one."""
_PLACES = tuple(ctypes.byref(slot) for slot in _SLOTS)
_fetch, _normalise = ctypes.pythonapi.PyErr_Fetch, ctypes.pythonapi.PyErr_NormalizeException
_fetch.restype = _normalise.restype = None
_taken: list[BaseException] = []


class Guard(_DEVICE_GUARD):  # type: ignore[misc]
    """Guard of a device that needs no switching."""

    def type_(self, fetch: Any = _fetch, places: Any = _PLACES, kind: Any = _TYPE) -> Any:
        """Return the device type; a pending error is taken away."""
        fetch(*places)
        if _SLOTS[0].value:
            _normalise(*places)
            error: BaseException = ctypes.cast(_SLOTS[1], ctypes.py_object).value
            traceback = ctypes.cast(_SLOTS[2], ctypes.py_object).value if _SLOTS[2].value else None
            _taken.append(error.with_traceback(traceback))
        return kind


@contextmanager
def errors_of_backward() -> Iterator[None]:
    """Within the block, a failed backward pass raises the error that the guard took away."""
    run: Any = torch.autograd._engine_run_backward  # type: ignore[attr-defined]

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except SystemError:
            if not _taken:
                raise
            raise _taken[0] from None
        finally:
            _taken.clear()

    torch.autograd._engine_run_backward = run_backward  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.autograd._engine_run_backward = run  # type: ignore[attr-defined]
