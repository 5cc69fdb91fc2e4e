"""Throughput of an evaluation on a device: encoding, and exact search; its scores are held against the CPU's.

Both are in float32, as `reasonir.evaluate` computes. The CPU pads its texts, so that packing is checked too.

Shape letters: Q queries, N documents.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from reasonir.benchmarking.setup import BenchParts, plain_tokenizer
from reasonir.cli.startup import require
from reasonir.errors import InputError
from reasonir.inference.retriever import Retriever
from reasonir.model.encoder import Encoder
from reasonir.report.console import show
from reasonir.types import PlainTexts
from reasonir.utils.table import TEXT, Table

TOLERANCE = 1e-3
"""Largest difference of a score, relative to the largest score."""
_COMPARED_QUERIES, _COMPARED_DOCUMENTS, _TOP_K = 4, 16, 10


def evaluation(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the content of bench.json, and metrics for MLflow.

    Raises:
        InputError: the model or the hardware isn't available, the model is no retriever, or the device's scores differ
            from the CPU's.
    """
    require(parts.hardware.missing, parts.model.locate)
    if parts.model.reads_pairs:
        raise InputError("mode=evaluation measures retrievers: set model/head=colbert or model/head=biencoder")
    hardware = parts.hardware.resolve()
    queries, *columns = parts.texts.columns(plain_tokenizer(parts.model), parts.batch_size, parts.negatives)
    documents = [text for column in columns for text in column]
    encoder = parts.model.load(seed=parts.seed).to(hardware.torch_device)
    difference = score_difference(encoder, queries[:_COMPARED_QUERIES], documents[:_COMPARED_DOCUMENTS])
    if not difference <= TOLERANCE:  # NaN fails too
        raise InputError(
            f"scores of device {hardware.torch_device} differ from the CPU's by {difference:.2g} of the largest one; "
            f"at most {TOLERANCE:g} is expected: its speed isn't worth measuring"
        )
    figures = {"score_difference": difference, **_figures(encoder, queries, documents, parts.repeats)}
    document = {parts.texts.name: {"head": encoder.head.name, **figures}}
    show(table(document))
    return {"evaluation": document}, {f"bench/{key}": value for key, value in figures.items()}


def score_difference(encoder: Encoder, queries: list[str], documents: list[str]) -> float:
    """Return the largest difference of scores_QN between the encoder and a copy on the CPU that pads.

    It is relative to the largest score.
    """
    scores_QN = Retriever(encoder).score(queries, documents)
    plain = copy.deepcopy(encoder).cpu()
    plain.may_pack = False
    expected_QN = Retriever(plain).score(queries, documents)
    return float((scores_QN - expected_QN).abs().max() / expected_QN.abs().max())


def _figures(encoder: Encoder, queries: list[str], documents: list[str], repeats: int) -> dict[str, float]:
    """Return rates of encoding the documents, and of searching them with the queries' encoding included."""
    texts = PlainTexts(documents)
    tokens = int(encoder.head.tokenizer(list(texts), "document").lengths_N.sum())
    retriever = Retriever(encoder)
    retriever.add_documents(documents)  # untimed, the device's first time
    encoding = _seconds(lambda: encoder.encode(texts, "document").values_TD, repeats)
    retriever.search(queries, _TOP_K)
    searching = _seconds(lambda: retriever.search(queries, _TOP_K), repeats)
    return {
        "queries": len(queries),
        "documents": len(documents),
        "tokens": tokens,
        "documents_per_s": len(documents) / encoding,
        "tokens_per_s": tokens / encoding,
        "queries_per_s": len(queries) / searching,
        "scores_per_s": len(queries) * len(documents) / searching,
    }


def _seconds(work: Callable[[], Tensor | object], repeats: int) -> float:
    """Return the median seconds of some work, until a GPU has done it."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def table(document: dict[str, Any]) -> Table:
    """Return the table of the content of bench.json under `evaluation`."""
    columns = {
        "texts": TEXT,
        "head": TEXT,
        "documents": "{:,.0f}",
        "documents/s": "{:,.1f}",
        "tokens/s": "{:,.0f}",
        "queries/s": "{:,.1f}",
        "scores/s": "{:,.0f}",
        "differs from the CPU": "{:.1e}",
    }
    keys = ("documents", "documents_per_s", "tokens_per_s", "queries_per_s", "scores_per_s", "score_difference")
    rows = [[name, each["head"], *(each[key] for key in keys)] for name, each in document.items()]
    return Table("Evaluation: encoding, and exact search of all documents", columns, rows)
