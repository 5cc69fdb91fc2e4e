"""A loss that kills its own process, as a system short of memory would, as long as a file is there."""

import os
import signal
from pathlib import Path

from reasonir.loss.cached_contrastive import CachedContrastive

FLAG = "kill"


class Killing(CachedContrastive):
    """Kills at the third step of a process while REASONIR_HOME holds the file."""

    steps = 0

    def __call__(self, *args, **kwargs):
        Killing.steps += 1
        if Killing.steps == 3 and (Path(os.environ["REASONIR_HOME"]) / FLAG).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(*args, **kwargs)
