"""What every step of a bench has in common: an exported model, its texts, and the device with its budget."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from reasonir.benchmarking.base import Peer, Workload, batch_of
from reasonir.benchmarking.peer_process import missing
from reasonir.cli.startup import require
from reasonir.config import CONF
from reasonir.data.batch import Batch, PairBatch
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.model.head.base import Head
from reasonir.planning.memory import TextShapes as Lengths
from reasonir.planning.memory import Training
from reasonir.planning.plan import fit_step
from reasonir.tracking.base import Loggers
from reasonir.types import Side


class WorkloadTexts(Protocol):
    """Where a step's texts come from: one YAML each in conf/workload."""

    @property
    def name(self) -> str:
        """Of the workload."""

    def columns(self, tokenizer: Any, count: int, negatives: int) -> list[list[str]]:
        """Aligned texts, none of which stands twice: `count` queries, their positives, so many columns of negatives.

        Args:
            tokenizer: that of the model's checkpoint.
            count: queries.
            negatives: columns of negatives.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchParts:
    """What a bench is made of.

    Attributes:
        home: MLflow's database is under it.
        folder: of the output.
        seed: of the model and of synthetic texts.
        loggers: destinations of the figures.
        experiment_name: the experiment in MLflow.
        tags: of the tracked run.
        values: the resolved configuration, as plain values.
        model: backbone and head.
        hardware: the profile.
        texts: of the step.
        peers: by name; ours among them.
        mode: compare, max_batch or scaling.
        batch_size: queries of the step; the first trial of max_batch.
        negatives: hard negatives per query, where the data has any.
        repeats: timed steps of each peer.
        memory_cap_gib: the most that a peer may take of a GPU; None for all of it.
        peak_tflops: dense 10^12 operations per second; None takes the GPU's, or measures a CPU's.
        max_queries: the largest trial of max_batch; None tries until memory ends.
        batch_sizes: of scaling's points.
        lengths: of scaling's documents, in tokens.
        max_tokens: of a point; larger ones are left out.
    """

    home: Path
    folder: Path
    seed: int
    loggers: Loggers
    experiment_name: str
    tags: Mapping[str, str]
    values: Mapping[str, Any]
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


@dataclass(frozen=True, slots=True)
class Setting:
    """An exported model on a device; `workload` gives it a step.

    Attributes:
        place: a temporary folder with the export.
        model: as it was composed.
        exported: the same, from its export.
        tokenizer: the head's.
        temperature: of retrievers' scores.
        hardware: resolved.
        memory_cap_gib: see `Workload`.
    """

    place: Path
    model: Model
    exported: Model
    tokenizer: Any
    temperature: float
    hardware: Hardware
    memory_cap_gib: float | None

    def workload(self, texts: WorkloadTexts, count: int, negatives: int) -> tuple[Workload, Batch | PairBatch]:
        """A step of `count` queries, and the same as our engine takes it."""
        columns = texts.columns(_plain_tokenizer(self.model), count, negatives)
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
        """What `reasonir.train` would plan for a step like this one."""
        shape = self.model.measure()
        vector = self.model.vector_size(Path(self.exported.path), shape.hidden)
        training = Training.of(self.model, shape, vector, optimiser="adamw", accumulates=False)
        queries = len(batch.queries) if isinstance(batch, Batch) else 0
        return fit_step(training, self.hardware, Lengths(batch.tokens.lengths_N, queries), width=width).budget


@contextmanager
def opened(parts: BenchParts, peers: Mapping[str, Peer], model: Model) -> Iterator[Setting]:
    """The setting of a bench of some peers on a model; its export is gone with the block.

    Raises:
        InputError: the model, the hardware or a peer's environment isn't here, or a peer can't train this
            head.
    """
    hardware = parts.hardware
    absent = {missing(peer) for peer in peers.values()} - {None}
    require(hardware.missing, model.locate, *(partial(str, each) for each in absent))
    cap = parts.memory_cap_gib
    hardware = hardware.resolve()
    if cap:
        hardware = replace(hardware, memory_gib=min(cap, hardware.memory_gib or cap))
    encoder = model.load(seed=parts.seed)
    _refuse_unfit(peers, type(encoder.head))
    with TemporaryDirectory() as folder:
        place = Path(folder)
        encoder.save(place / "model")
        temperature = 1.0 if model.reads_pairs else encoder.head.temperature
        exported = Model(str(place / "model"), head=plain_head(model), attention=model.attention)
        tokenizer = encoder.head.tokenizer
        del encoder
        gc.collect()
        yield Setting(place, model, exported, tokenizer, temperature, hardware, cap)


def plain_head(model: Model, **options: Any) -> partial[Any]:
    """What loads a model's head, with further options; free of Hydra, which not every environment has."""
    loader: Any = model.head
    return partial(loader.func, **{**loader.keywords, **options})


def with_negatives(columns: list[list[str]]) -> list[list[str]]:
    """The columns, where they have no negatives with the next query's positive as one."""
    queries, positives, *negatives = columns
    return [queries, positives, *(negatives or [[*positives[1:], positives[0]]])]


def _plain_tokenizer(model: Model) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model.locate(weights=False), local_files_only=True, trust_remote_code=model.trust_remote_code, verbose=False
    )


def _refuse_unfit(peers: Mapping[str, Peer], head: type[Head]) -> None:
    unfit = [name for name, peer in peers.items() if head.name not in peer.heads]
    if unfit:
        known = (CONF / "peers" / f"{head.name}.yaml").is_file()
        remedy = f"set peers={head.name} or another" if known else "none can, set another"
        raise InputError(f"peers {', '.join(unfit)} can't train a {head.__name__}: {remedy} model/head")
