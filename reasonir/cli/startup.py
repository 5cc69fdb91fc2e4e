"""What every command does before its work: quiet the libraries, and say in one error all that is missing."""

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
    """Raise one InputError with everything that is missing for a run.

    Args:
        checks: each returns what is missing, or raises InputError.
    """
    problems = []
    for check in checks:
        try:
            found = check()
        except InputError as error:
            found = str(error)
        if isinstance(found, str):
            problems.append(found)
    raise_errors(problems, "thing missing here")


def quiet_libraries() -> None:
    """Keep libraries from writing progress bars and load reports between our lines."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import datasets
    import transformers

    if own_rank() != 0:  # the others say it in their own logs
        show_no_bars()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, TerminalHandler):
                handler.setLevel(logging.WARNING)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\._pytree")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "faiss.loader"):
        logging.getLogger(name).setLevel(logging.WARNING)
