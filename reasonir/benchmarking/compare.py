"""Comparison of one training step across peers: one process each, steps in turns, medians and ratios.

The model is exported once and loaded by all peers, without dropout; loss and gradient norm have to agree before times
are reported. Peak memory is measured above the loaded model. Tokens exclude padding, so tokens per second compare
across peers. Tokenisation isn't timed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from reasonir.benchmarking.base import Peer, Workload
from reasonir.benchmarking.evaluation import evaluation
from reasonir.benchmarking.flops import peak_operations, useful_operations
from reasonir.benchmarking.max_batch import max_batch
from reasonir.benchmarking.peer_process import OutOfMemoryError, start_peer
from reasonir.benchmarking.plots import plot_steps
from reasonir.benchmarking.proof.run import prove
from reasonir.benchmarking.report import PeerResult, Step, refuse_disagreement, report, table
from reasonir.benchmarking.scaling import scaling
from reasonir.benchmarking.setup import BenchParts, Setting, open_setting
from reasonir.cli.startup import quiet_libraries
from reasonir.config import flatten, strip_targets
from reasonir.report.console import show
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.open import tracked
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)


def bench(parts: BenchParts) -> None:
    """Run the benchmark of `parts.mode` and write bench.json and bench.png to the parts' folder.

    Raises:
        InputError: the model or data can't be used, a peer isn't installed or can't train this head, or losses
            disagree.
    """
    quiet_libraries()
    parts.loggers.open(parts.folder)  # refused before the work
    if parts.loggers.mlflow:
        refuse_unusable(parts.home, parts.experiment_name)
    folder = parts.folder
    document, metrics = MODES[parts.mode](parts)
    with atomic_path(folder / "bench.json") as partial:
        partial.write_text(json.dumps(document, indent=2))
    with tracked(
        parts.loggers,
        parts.home,
        experiment_name=parts.experiment_name,
        name=f"bench-{parts.mode}",
        folder=folder,
        tags=parts.tags,
    ) as tracking:
        tracking.parameters(flatten(strip_targets(parts.values)))
        tracking.metrics(metrics)
        for file in sorted(folder.glob("bench.*")):
            tracking.artifact(file)
    log.info("Everything is in %s", folder)


def _compare(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """Time all peers on one step."""
    texts, model = parts.texts, parts.model
    with open_setting(parts, parts.peers, model) as setting:
        workload, batch = setting.workload(texts, parts.batch_size, parts.negatives)
        results, device = run_in_turns(parts.peers, workload, parts.repeats, setting)
    refuse_disagreement(results, workload.precision)
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
    document = report(step, results, left_out=[name for name in parts.peers if name not in results])
    figures = document["workloads"][step.name]["peers"]
    show(table(step, figures))
    plot_steps(f"One training step: {step.name}, {step.tokens:,} tokens, {device}", figures, parts.folder / "bench.png")
    return document, {
        f"bench/{name}/{key}": value
        for name, values in figures.items()
        for key, value in values.items()
        if isinstance(value, int | float)
    }


def run_in_turns(
    peers: Mapping[str, Peer], workload: Workload, repeats: int, setting: Setting
) -> tuple[dict[str, PeerResult], str]:
    """Run all peers in their processes, one step at a time in turns; return their results and the device.

    Another peer than the first is left out if it runs out of memory in its first step.
    """
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(start_peer(name, peer, setting.folder)) for name, peer in peers.items()}
        for name, peer in peers.items():
            hosts[name].load(peer, workload)
        devices = {host.receive() for host in hosts.values()}
        first_steps = {}
        for name in peers:
            try:
                first_steps[name] = hosts[name].call("check")
            except OutOfMemoryError as error:
                if not first_steps:
                    raise
                log.warning("Leaving out %s", error)
                hosts.pop(name).end()
        seconds: dict[str, list[float]] = {name: [] for name in hosts}
        for turn in range(repeats):
            for name, host in hosts.items():
                log.info("Step %d of %d: %s", turn + 1, repeats, name)
                seconds[name].append(host.call("step"))
        results = {
            name: PeerResult(first_steps[name], tuple(seconds[name]), host.call("peak_gib"))
            for name, host in hosts.items()
        }
        return results, " and ".join(devices)


MODES: dict[str, Callable[[BenchParts], tuple[dict[str, Any], dict[str, float]]]] = {
    "compare": _compare,
    "max_batch": max_batch,
    "scaling": scaling,
    "evaluation": evaluation,
    "proof": prove,
}
"""Benchmark by mode: steps of all peers, the largest batch of each, growth of time and memory of the first, encoding
and search, or a proof of the machine.
"""
