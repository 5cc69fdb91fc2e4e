"""Start of every command: quiet libraries, and one error with all unmet requirements."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

from reasonir.distributed.launch import own_rank
from reasonir.errors import InputError, raise_errors
from reasonir.utils.progress import TerminalHandler, show_no_bars


def require(*checks: Callable[[], Any]) -> None:
    """Raise one InputError with all unmet requirements.

    Args:
        checks: each returns an unmet requirement as a string, or raises InputError.
    """
    problems = []
    for check in checks:
        try:
            problem = check()
        except InputError as error:
            problem = str(error)
        if isinstance(problem, str):
            problems.append(problem)
    raise_errors(problems, "requirement not met")


def quiet_libraries() -> None:
    """Silence progress bars and load reports of libraries."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import datasets
    import transformers

    if own_rank() != 0:  # other ranks log to their files only
        show_no_bars()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, TerminalHandler):
                handler.setLevel(logging.WARNING)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\._pytree")
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # a loss scaler skipped step 1
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "faiss.loader"):
        logging.getLogger(name).setLevel(logging.WARNING)
