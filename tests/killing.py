"""A loss that kills its own process, as a system short of memory would, as long as a file is there."""

import os
import signal
from pathlib import Path

import torch

from reasonir.loss.cached_contrastive import CachedContrastive

FLAG = "kill"


class Killing(CachedContrastive):
    """Kills at the third step of training in a process while REASONIR_HOME holds the file; not in a plan's trace."""

    steps = 0

    def __call__(self, outputs):
        Killing.steps += type(outputs.scores_QN) is torch.Tensor
        if Killing.steps == 3 and (Path(os.environ["REASONIR_HOME"]) / FLAG).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(outputs)
