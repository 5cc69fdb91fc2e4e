"""Timing one training step of several contenders: a process each, steps in turns, medians and ratios.

The model is exported once and everybody loads that export, dropout off; loss and gradient norm have to agree before
any time counts. Peak memory is what the process reached above the loaded model. Tokens are the real ones, without
padding, so tokens a second compare across contenders. Tokenisation isn't timed.
"""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor, nn

from reasonir.config import build
from reasonir.contender.base import Contender, Workload
from reasonir.data.lengths import LengthOptions
from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.training.datamodule import LoaderOptions, RetrievalData
from reasonir.training.display import show
from reasonir.training.hardware import Hardware
from reasonir.training.lengths import measure
from reasonir.training.meter import Meter
from reasonir.training.plan import plan_run
from reasonir.training.run import quiet_libraries, require

log = logging.getLogger(__name__)
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 2e-3, 3e-2
_TIMED = {"ColBERT": "colbert", "BiEncoder": "biencoder", "CrossEncoder": "reranker"}


@dataclass(frozen=True, slots=True)
class Timed:
    """What a contender did: its loss and gradient norm, seconds of every step, peak GiB above the model."""

    loss: float
    gradient: float
    seconds: tuple[float, ...]
    peak_gib: float


def race(config: DictConfig, folder: Path) -> None:
    """Time the contenders and write bench.json to `folder`.

    Raises:
        InputError: the model or data can't be used, a contender can't train this head, or losses disagree.
    """
    quiet_libraries()
    if config.repeats < 1:
        raise InputError(f"repeats={config.repeats}: give 1 or more timed steps")
    contenders: dict[str, Contender] = {name: build(node) for name, node in config.contenders.items()}
    model: Model = build(config.model)
    hardware: Hardware = build(config.hardware)
    require(hardware.missing, model.locate)
    hardware = hardware.resolve()
    options = LoaderOptions(batch_size=config.batch_size, negatives=config.negatives)
    data = RetrievalData(build(config.data), options, home=Path(config.home), seed=config.seed)
    data.setup()
    columns = _columns(data, config.batch_size, config.negatives)
    if model.kind != "retriever":
        columns = _with_negatives(columns)
    encoder = model.load(seed=config.seed)
    _refuse_unfit(contenders, type(encoder.head).__name__)
    plan = plan_run(model, hardware, data, measure(model, data, rows=LengthOptions().sample))
    with tempfile.TemporaryDirectory() as place:
        encoder.save(Path(place))
        workload = Workload(
            Model(place, head=model.head, attention=model.attention),
            columns,
            encoder.head.temperature if model.kind == "retriever" else 1.0,
            hardware.torch_device,
            (plan.budget.micro_batch, plan.budget.kept),
        )
        tokens = workload.batch(encoder.head).token_count
        del encoder
        gc.collect()
        timed = _in_turns(contenders, workload, config.repeats)
    _refuse_disagreement(timed)
    name = f"{data.source.name}-{len(columns[0])}x{len(columns) - 1}"
    found = report(name, timed, tokens)
    (folder / "bench.json").write_text(json.dumps(found, indent=2))
    show(_table(found["workloads"][name]["contenders"], title=f"One training step: {name}, {tokens:,} tokens"))
    log.info("Everything is in %s", folder)


def _columns(data: RetrievalData, count: int, negatives: int) -> list[list[str]]:
    """Aligned texts, none of which stands twice: queries, positives, and negatives where every row has enough."""
    wanted = negatives if data.has_negatives else 0
    seen: set[str] = set()
    rows: list[list[str]] = []
    for row in data.rows.select(range(len(data.rows))):
        texts = [row["query"], row["pos"][0][1], *(text for _, text in row["neg"][:wanted])]
        if len(texts) == 2 + wanted and len({*texts}) == len(texts) and not seen & {*texts}:
            rows.append(texts)
            seen.update(texts)
        if len(rows) == count:
            break
    if len(rows) < 2:
        raise InputError("the data has fewer than two rows without a text in common: bench on other data")
    if len(rows) < count:
        log.warning("Only %d rows have no text in common: the step takes those", len(rows))
    return [list(column) for column in zip(*rows, strict=True)]


def _with_negatives(columns: list[list[str]]) -> list[list[str]]:
    """The columns, where they have no negatives with the next query's positive as one."""
    queries, positives, *negatives = columns
    return [queries, positives, *(negatives or [[*positives[1:], positives[0]]])]


def _refuse_unfit(contenders: Mapping[str, Contender], head: str) -> None:
    unfit = [name for name, contender in contenders.items() if head not in contender.kind]
    if unfit:
        remedy = f"set contenders={_TIMED[head]} or another" if head in _TIMED else "none can, set another"
        raise InputError(f"contenders {', '.join(unfit)} can't train a {head}: {remedy} model/head")


def _in_turns(contenders: Mapping[str, Contender], workload: Workload, repeats: int) -> dict[str, Timed]:
    """Every contender in a process of its own; while one takes a step the others wait."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for name, contender in contenders.items():
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, contender, workload), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            _answer(name, pipes[name])  # loaded, before the next one starts
        first = {name: _ask(name, pipe, "check") for name, pipe in pipes.items()}
        seconds: dict[str, list[float]] = {name: [] for name in pipes}
        for turn in range(repeats):
            for name, pipe in pipes.items():
                log.info("Step %d of %d: %s", turn + 1, repeats, name)
                seconds[name].append(_ask(name, pipe, "step"))
        timed = {}
        for name, pipe in pipes.items():
            loss, gradient = first[name]
            timed[name] = Timed(loss, gradient, tuple(seconds[name]), _ask(name, pipe, "memory"))
        return timed
    finally:
        for pipe in pipes.values():
            pipe.close()  # which a waiting contender takes as the end
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _ask(name: str, pipe: Connection, request: str) -> Any:
    pipe.send(request)
    return _answer(name, pipe)


def _answer(name: str, pipe: Connection) -> Any:
    try:
        answer = pipe.recv()
    except EOFError:
        raise InputError(f"contender {name} died (out of memory?): take a smaller batch_size") from None
    if isinstance(answer, str):
        raise InputError(f"contender {name} failed: {answer}")
    return answer


def _serve(pipe: Connection, contender: Contender, workload: Workload) -> None:
    """A contender's process: load, then do what is asked."""
    quiet_libraries()
    try:
        model, loss = contender.load(workload)
        model.train()
        _without_dropout(model)
        device = torch.device(workload.device)
        meter = Meter(device)
        pipe.send(True)
        while True:
            request = pipe.recv()
            if request == "check":
                value = _step(model, loss)
                norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
                pipe.send((value, float(torch.stack(norms).norm()) / contender.gradient_scale(workload)))
            elif request == "step":
                started = time.perf_counter()
                _step(model, loss)
                pipe.send(time.perf_counter() - started)
            else:
                pipe.send(meter.peak_gib)
    except EOFError:
        return
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise


def _step(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    model.zero_grad()
    value = loss()
    value.backward()  # type: ignore[no-untyped-call]
    return float(value.detach())  # waits for the device


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def _refuse_disagreement(timed: Mapping[str, Timed]) -> None:
    (first, expected), *others = timed.items()
    for name, other in others:
        for what, ours, theirs, tolerance in (
            ("loss", expected.loss, other.loss, LOSS_TOLERANCE),
            ("gradient norm", expected.gradient, other.gradient, GRADIENT_TOLERANCE),
        ):
            if not abs(ours - theirs) <= tolerance * abs(ours):  # neither does what isn't a number
                raise InputError(
                    f"{first} and {name} don't compute the same: {what} {ours:.6g} and {theirs:.6g}; no time counts"
                )


def report(workload: str, timed: Mapping[str, Timed], tokens: int) -> dict[str, Any]:
    """The content of bench.json: each contender's figures, and ours over each peer's."""
    contenders = {
        name: {
            "step_s": median(each.seconds),
            "tokens_per_s": tokens / median(each.seconds),
            "peak_bytes": int(each.peak_gib * 2**30),
            "loss": each.loss,
            "gradient_norm": each.gradient,
            "seconds": list(each.seconds),
        }
        for name, each in timed.items()
    }
    first = next(iter(contenders.values()))
    ratios = {
        name: {figure: first[figure] / each[figure] for figure in ("step_s", "peak_bytes")}  # type: ignore[operator]
        for name, each in list(contenders.items())[1:]
    }
    return {"workloads": {workload: {"tokens": tokens, "contenders": contenders, "ratios": ratios}}}


def _table(contenders: Mapping[str, Mapping[str, Any]], *, title: str) -> Table:
    found = Table(title=title, title_justify="left")
    for column in ("contender", "step", "tokens/s", "peak above the model", "loss", "times the first"):
        found.add_column(column, justify="left" if column == "contender" else "right")
    first = next(iter(contenders.values()))
    for name, figures in contenders.items():
        found.add_row(
            name,
            f"{figures['step_s']:.2f} s",
            f"{figures['tokens_per_s']:,.0f}",
            f"{figures['peak_bytes'] / 2**30:.2f} GiB",
            f"{figures['loss']:.5f}",
            f"{figures['step_s'] / first['step_s']:.2f}",
        )
    return found
