"""Timing one training step of several peers: a process each, steps in turns, medians and ratios.

The model is exported once and everybody loads that export, dropout off; loss and gradient norm have to agree before
any time counts. Peak memory is what the process reached above the loaded model. Tokens are the real ones, without
padding, so tokens a second compare across peers. Tokenisation isn't timed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from reasonir.benchmarking.base import Peer, Workload
from reasonir.benchmarking.flops import peak_operations, useful_operations
from reasonir.benchmarking.max_batch import max_batch
from reasonir.benchmarking.peer_process import hosted
from reasonir.benchmarking.plots import plot_race
from reasonir.benchmarking.report import Step, Timed, refuse_disagreement, report, table
from reasonir.benchmarking.scaling import scaling
from reasonir.benchmarking.setup import BenchParts, Setting, opened
from reasonir.cli.startup import quiet_libraries
from reasonir.config import flatten, strip_targets
from reasonir.report.console import show
from reasonir.tracking.base import open_tracking
from reasonir.tracking.database import refuse_unusable
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)


def bench(parts: BenchParts) -> None:
    """Measure by `mode` and write bench.json and bench.png to the parts' folder.

    Raises:
        InputError: the model or data can't be used, a peer isn't here or can't train this head, or losses
            disagree.
    """
    quiet_libraries()
    if parts.loggers.mlflow:
        refuse_unusable(parts.home, parts.experiment_name)
    folder = parts.folder
    found, metrics = MODES[parts.mode](parts)
    with atomic_path(folder / "bench.json") as partial:
        partial.write_text(json.dumps(found, indent=2))
    tracking = open_tracking(
        parts.loggers,
        parts.home,
        experiment_name=parts.experiment_name,
        name=f"bench-{parts.mode}",
        folder=folder,
        tags=parts.tags,
    )
    with tracking.closing():
        tracking.parameters(flatten(strip_targets(parts.values)))
        tracking.metrics(metrics)
        for file in sorted(folder.glob("bench.*")):
            tracking.artifact(file)
    log.info("Everything is in %s", folder)


def _compare(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """All peers on one step."""
    texts, model = parts.texts, parts.model
    with opened(parts, parts.peers, model) as setting:
        workload, batch = setting.workload(texts, parts.batch_size, parts.negatives)
        timed, device = in_turns(parts.peers, workload, parts.repeats, setting)
    refuse_disagreement(timed, workload.precision)
    lengths_N = batch.tokens.lengths_N
    step = Step(
        f"{texts.name}-{len(workload.columns[0])}x{len(workload.columns) - 1}",
        len(lengths_N),
        batch.token_count,
        useful_operations(model.measure(), lengths_N),
        workload.precision,
        device,
        peak_operations(device, workload.precision, parts.peak_tflops, model.measure()),
    )
    found = report(step, timed)
    figures = found["workloads"][step.name]["peers"]
    show(table(step, figures))
    plot_race(f"One training step: {step.name}, {step.tokens:,} tokens, {device}", figures, parts.folder / "bench.png")
    return found, {
        f"bench/{name}/{key}": value
        for name, each in figures.items()
        for key, value in each.items()
        if isinstance(value, int | float)
    }


def in_turns(
    peers: Mapping[str, Peer], workload: Workload, repeats: int, setting: Setting
) -> tuple[dict[str, Timed], str]:
    """What every peer did, each in a process of its own, and on what; while one takes a step the others wait."""
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(hosted(name, each, setting.place)) for name, each in peers.items()}
        devices = {hosts[name].load(peer, workload) for name, peer in peers.items()}
        checked = {name: host.ask("check") for name, host in hosts.items()}
        seconds: dict[str, list[float]] = {name: [] for name in hosts}
        for turn in range(repeats):
            for name, host in hosts.items():
                log.info("Step %d of %d: %s", turn + 1, repeats, name)
                seconds[name].append(host.ask("step"))
        timed = {name: Timed(checked[name], tuple(seconds[name]), host.ask("peak_gib")) for name, host in hosts.items()}
        return timed, " and ".join(devices)


MODES: dict[str, Callable[[BenchParts], tuple[dict[str, Any], dict[str, float]]]] = {
    "compare": _compare,
    "max_batch": max_batch,
    "scaling": scaling,
}
"""What a bench measures: all peers' steps, the largest batch that each fits, how our time and memory grow."""
