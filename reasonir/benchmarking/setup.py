"""Set-up of a benchmark: an exported model, its texts, and the device with its token budget."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch

from reasonir.benchmarking.base import Peer, Workload, batch_of
from reasonir.benchmarking.peer_process import missing
from reasonir.benchmarking.reasonir_engine import objective_of
from reasonir.cli.startup import require
from reasonir.commands.compose import Command
from reasonir.config import CONF
from reasonir.data.batch import Batch, PairBatch
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.model.export import export
from reasonir.model.head.base import Head
from reasonir.planning.plan import Step, fit_step
from reasonir.planning.trace import TextShapes
from reasonir.training.optim import Optim
from reasonir.types import Side


class WorkloadTexts(Protocol):
    """Source of a step's texts: one YAML each in conf/workload."""

    @property
    def name(self) -> str:
        """Name of the workload."""

    def columns(self, tokenizer: Any, count: int, negatives: int) -> list[list[str]]:
        """Return aligned, distinct texts: `count` queries, their positives, and columns of negatives.

        Args:
            tokenizer: tokenizer of the model's checkpoint.
            count: number of queries.
            negatives: number of columns of negatives.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchParts(Command):
    """Components and options of a benchmark.

    Attributes:
        model: backbone and head.
        hardware: the hardware profile.
        texts: texts of the step.
        peers: peers by name.
        mode: compare, max_batch, scaling, evaluation or proof.
        batch_size: queries per step; the first trial of max_batch.
        negatives: hard negatives per query, if the data has any.
        repeats: timed steps of each peer.
        memory_cap_gib: maximum GPU memory of a peer in GiB; None for all of it.
        peak_tflops: dense 10^12 operations per second; None for the GPU's data sheet, or measured on a CPU.
        max_queries: the largest trial of max_batch; None searches until out of memory.
        batch_sizes: batch sizes of scaling's points.
        lengths: document lengths of scaling's points, in tokens.
        max_tokens: maximum tokens of scaling's points; larger ones are left out.
        peers_python: interpreter of the peers that a proof compares with.
        proof_parts: parts of the proof to run; None runs all.
        proof_folder: folder of the proof's report.
    """

    model: Model
    hardware: Hardware
    texts: WorkloadTexts
    peers: Mapping[str, Peer]
    mode: str
    batch_size: int
    negatives: int
    repeats: int
    memory_cap_gib: float | None
    peak_tflops: float | None
    max_queries: int | None
    batch_sizes: Sequence[int]
    lengths: Sequence[int]
    max_tokens: int
    peers_python: str
    proof_parts: Sequence[str] | None
    proof_folder: str


@dataclass(frozen=True, slots=True)
class Setting:
    """Exported model on a device, for steps of any size.

    Attributes:
        folder: temporary folder with the export.
        model: the configured model.
        exported: the model that loads the export.
        tokenizer: tokenizer of the head.
        temperature: temperature of retrievers' scores.
        hardware: the resolved hardware.
        memory_cap_gib: see `Workload`.
    """

    folder: Path
    model: Model
    exported: Model
    tokenizer: Any
    temperature: float
    hardware: Hardware
    memory_cap_gib: float | None

    def workload(self, texts: WorkloadTexts, count: int, negatives: int) -> tuple[Workload, Batch | PairBatch]:
        """Return a step of `count` queries, and its batch for this package's engine."""
        columns = texts.columns(plain_tokenizer(self.model), count, negatives)
        if self.model.reads_pairs:
            columns = with_negatives(columns)
        sides: tuple[Side, Side] = ("query", "document")
        limits = {side: self.tokenizer.limit(side) for side in sides}
        batch = batch_of(columns, self.tokenizer)
        workload = Workload(
            self.exported,
            columns,
            self.temperature,
            limits,
            self.hardware.torch_device,
            self._budget(batch, max(limits.values())),
            self.hardware.precision,
            self.memory_cap_gib,
        )
        return workload, batch

    def _budget(self, batch: Batch | PairBatch, width: int) -> Budget:
        """Return the budget that `reasonir.train` plans for such a step."""
        queries = len(batch.queries) if isinstance(batch, Batch) else 0
        texts = TextShapes(batch.tokens.lengths_N, queries)
        documents = (len(batch.tokens) - queries) // len(batch)
        step = Step(self.exported, objective_of(self.exported, self.temperature), Optim(), texts, documents, width)
        return fit_step(step.trace(self.hardware), self.hardware, step).budget


@contextmanager
def open_setting(parts: BenchParts, peers: Mapping[str, Peer], model: Model) -> Iterator[Setting]:
    """Export the model for some peers; the export is deleted with the block.

    Raises:
        InputError: the model, the hardware or a peer's environment isn't available, or a peer can't train this
            head.
    """
    hardware = parts.hardware
    errors = {missing(peer) for peer in peers.values()} - {None}
    require(hardware.missing, model.locate, *(partial(str, error) for error in errors))
    cap = parts.memory_cap_gib
    hardware = hardware.resolve()
    if cap:
        hardware = replace(hardware, memory_gib=min(cap, hardware.memory_gib or cap))
    encoder = model.load(seed=parts.seed).to(hardware.torch_device)  # where the export is checked soonest
    _refuse_unfit(peers, type(encoder.head))
    with TemporaryDirectory() as folder:
        path = Path(folder)
        export(encoder, path / "model")
        temperature = 1.0 if model.reads_pairs else encoder.head.temperature
        exported = Model(str(path / "model"), head=plain_head(model), attention=model.attention)
        tokenizer = encoder.head.tokenizer
        del encoder
        gc.collect()
        if hardware.accelerator == "cuda":
            torch.cuda.empty_cache()
        yield Setting(path, model, exported, tokenizer, temperature, hardware, cap)


def plain_head(model: Model, **options: Any) -> partial[Any]:
    """Return the loader of a model's head with further options, free of Hydra, which peers' environments may lack."""
    loader: Any = model.head
    return partial(loader.func, **{**loader.keywords, **options})


def with_negatives(columns: list[list[str]]) -> list[list[str]]:
    """Return the columns, with the next query's positive as negative if they have none."""
    queries, positives, *negatives = columns
    return [queries, positives, *(negatives or [[*positives[1:], positives[0]]])]


def plain_tokenizer(model: Model) -> Any:
    """Return the tokenizer of a model's checkpoint."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model.locate(weights=False), local_files_only=True, trust_remote_code=model.trust_remote_code, verbose=False
    )


def _refuse_unfit(peers: Mapping[str, Peer], head: type[Head]) -> None:
    unfit = [name for name, peer in peers.items() if head.name not in peer.heads]
    if unfit:
        has_peers = (CONF / "peers" / f"{head.name}.yaml").is_file()
        remedy = f"set peers={head.name} or another" if has_peers else "none can, set another"
        raise InputError(f"peers {', '.join(unfit)} can't train a {head.__name__}: {remedy} model/head")
