"""Training run on the invented device, watched for what only a GPU shows.

During training a place where a GPU would make the host wait, or where numbers have another format than the run's
precision, is a fault, unless it is one of `ALLOWED`. Before and after training, evaluation reads its results.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import torch
from torch import Tensor

from reasonir.errors import raise_errors
from reasonir.hardware import HALF, Hardware
from reasonir.invented.device import DeviceTensor, Tracing

log = logging.getLogger(__name__)
ALLOWED: Mapping[tuple[str, str], str] = {
    ("torch/amp/grad_scaler.py", "GradScaler._maybe_opt_step"): "whether the loss scaler skips the step, once a step",
    ("reasonir/training/callbacks.py", "TrainingMonitor._log_training"): "logged numbers, every log_every_n_steps",
    ("reasonir/training/progress_bar.py", "TrainingBar.on_train_batch_end"): "shown loss, every log_every_n_steps",
    ("reasonir/training/callbacks.py", "TrainingMonitor._refuse_nonfinite"): "finite numbers, before saving",
    ("reasonir/training/callbacks.py", "TrainingMonitor._evaluate"): "development evaluation",
    ("reasonir/training/callbacks.py", "TrainingMonitor._save"): "saved weights",
    ("transformers/optimization.py", "Adafactor.step"): "Adafactor's first state, once",
    ("reasonir/model/encoder.py", "Encoder._packed_agrees"): "comparison of packed and padded texts, once",
}
"""Functions that may wait for the device during training, by file and name, and what for."""
_STEP = ("lightning/pytorch/loops/training_epoch_loop.py", "_TrainingEpochLoop.advance")
_PACKAGE, _OWN = "reasonir/", "reasonir/invented/"
_LIBRARIES = "site-packages/"


class Watched(Tracing):  # type: ignore[no-untyped-call]
    """Device that collects the faults of a training.

    Args:
        precision: of the run, as in `Hardware`.

    Attributes:
        faults: occurrences by kind and place.
        waits: occurrences of allowed waits, by reason.
    """

    def __init__(self, precision: str) -> None:
        super().__init__(hollow=False, on_read=self._read)
        self.formats = {torch.float32, getattr(torch, HALF.get(precision, "float32"))}
        self.faults: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def wrap(self, content: Tensor, device: torch.device, owners: Mapping[int, DeviceTensor] | None = None) -> Tensor:
        """Return the wrapper of a tensor, whose number format is noted if it is none of the run's."""
        if content.is_floating_point() and content.dtype not in self.formats and content.numel() > 1:
            self._note(f"numbers in {str(content.dtype).removeprefix('torch.')}")
        return super().wrap(content, device, owners)

    def _read(self, name: str) -> None:
        self._note(f"{name} waits for the device")

    def _note(self, what: str) -> None:
        stack = list(_frames())
        known = [(_short(code), code.co_qualname) for code, _ in stack]
        if _STEP not in known:
            return
        reason = next((ALLOWED[place] for place in known if place in ALLOWED), None)
        if reason is None:
            self.faults[f"{_place(stack)}: {what}"] += 1
        else:
            self.waits[reason] += 1


@contextmanager
def watched(hardware: Hardware) -> Iterator[None]:
    """Within the block the profile's device exists, if it is an invented one; then report what it showed.

    Raises:
        InputError: a GPU would wait in a training step, or compute in another number format.
    """
    if not hardware.traced:
        yield
        return
    device = Watched(hardware.precision)
    with device:
        yield
    for reason, count in device.waits.items():
        log.info("Waits for the device, allowed: %s (%d times)", reason, count)
    faults = [f"{place} ({count} times)" for place, count in device.faults.items()]
    raise_errors(faults, f"place in which {hardware.name} would wait in a step, or has other numbers")
    log.info(
        "Traced %s in %s without the card: devices, number formats and waits of training, evaluation and export are "
        "as they should be. A trace can't see kernels, speed, a GPU's rounding and its memory",
        hardware.name,
        hardware.precision,
    )


def _frames() -> Iterator[tuple[CodeType, int]]:
    """Yield code and line of the present calls, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back


def _short(code: CodeType) -> str:
    """File of a function from its library or package on."""
    name = code.co_filename
    if _LIBRARIES in name:
        return name.rpartition(_LIBRARIES)[2]
    root = str(Path(__file__).parents[2]) + "/"
    return name.removeprefix(root)


def _place(stack: list[tuple[CodeType, int]]) -> str:
    """The innermost line outside torch, with the innermost one of this package that called it."""
    lines = [(_short(code), line) for code, line in stack]
    others = [(file, line) for file, line in lines if not file.startswith(("torch/", _OWN, "<"))]
    place = "{}:{}".format(*others[0])
    if not others[0][0].startswith(_PACKAGE):
        ours = [(file, line) for file, line in others if file.startswith(_PACKAGE)]
        place += ", called by {}:{}".format(*ours[0]) if ours else ""
    return place
