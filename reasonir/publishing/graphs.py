"""ONNX and OpenVINO files of a run's model, float32 and int8, where sentence-transformers' backends look for them.

Every file is run on texts before it is published, and its scores are compared with the model's: a float32 graph that
differs by more than rounding is refused, and what int8 changes is said in the card.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from reasonir.errors import InputError
from reasonir.inference.arguments import check_range
from reasonir.model.encoder import Encoder
from reasonir.model.export_check import TOLERANCE
from reasonir.model.graph import (
    OPENVINO,
    GraphEncoder,
    Runtime,
    open_onnx,
    open_openvino,
    quantise_onnx,
    write_onnx,
    write_openvino,
)
from reasonir.runs.folder import exported_model
from reasonir.types import Pair, Text

Backend = Literal["onnx", "openvino"]
_PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",)}
_DOCUMENTS_OF_A_QUERY = 4
"""Documents that a reranker reads with each query."""


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A graph of a model.

    Attributes:
        name: of its file in the model's folder.
        numbers: float32 or int8.
        bytes: with the file of its weights.
        difference: largest difference of a score from the model's.
        scores: the model's lowest and highest score of these texts.
    """

    name: str
    numbers: str
    bytes: int
    difference: float
    scores: tuple[float, float]


def check_backends(backends: Sequence[str]) -> None:
    """Refuse an unknown backend, and one whose packages aren't installed.

    Raises:
        InputError: naming the extra to install.
    """
    check_range("backends", list(backends), list[Backend])
    for backend in backends:
        needed = {*_PACKAGES["onnx"], *_PACKAGES[backend]}
        if missing := sorted(name for name in needed if importlib.util.find_spec(name) is None):
            raise InputError(
                f"backends=[{backend}]: {', '.join(missing)} isn't installed: pip install 'reasonir[{backend}]'"
            )


def write_graphs(
    run: Path,
    folder: Path,
    *,
    backends: Sequence[str],
    queries: Sequence[Text],
    documents: Sequence[Text],
    trust_remote_code: bool = False,
) -> list[GraphFile]:
    """Write the graphs of a run's model into the folder of its export.

    Args:
        run: the run's folder.
        folder: a copy of the run's export.
        backends: onnx, openvino or both.
        queries: texts to compare scores on.
        documents: texts to compare scores on.
        trust_remote_code: run Python code in the checkpoint.

    Raises:
        InputError: the model can't be made a graph, or the graph isn't the same model.
    """
    saved = exported_model(run, trust_remote_code=trust_remote_code)
    encoder = replace(saved, attention="eager").load().eval()
    place = folder / encoder.head.graph_folder
    files = _written(encoder, place, backends)
    expected = _scores(encoder, queries, documents)
    found = [
        _compared(file, numbers, expected, _scores(GraphEncoder(encoder, runtime), queries, documents), folder)
        for file, numbers, runtime in files
    ]
    if "onnx" not in backends:
        shutil.rmtree(place / "onnx")
    return found


def _written(encoder: Encoder, place: Path, backends: Sequence[str]) -> list[tuple[Path, str, Runtime]]:
    """Write a model's graphs, those of ONNX in any case; return each file with its numbers and the opened graph.

    Raises:
        InputError: the model can't be made a graph.
    """
    graph, quantised = place / "onnx" / "model.onnx", place / "onnx" / "model_qint8_avx512_vnni.onnx"
    graph.parent.mkdir()
    try:
        write_onnx(encoder, graph)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"backends: {type(encoder.backbone).__name__} can't be made a graph ({reason})") from error
    quantise_onnx(graph, quantised)
    files: list[tuple[Path, str, Runtime]] = []
    if "onnx" in backends:
        files += [(graph, "float32", open_onnx(graph)), (quantised, "int8", open_onnx(quantised))]
    if "openvino" in backends:
        (place / OPENVINO).mkdir()
        for source, name, numbers in ((graph, "model", "float32"), (quantised, "model_qint8_quantized", "int8")):
            file = place / OPENVINO / f"openvino_{name}.xml"
            write_openvino(source, file)
            files.append((file, numbers, open_openvino(file)))
    return files


def _scores(encoder: Encoder, queries: Sequence[Text], documents: Sequence[Text]) -> Tensor:
    """Return similarities of all queries and documents, or probabilities of pairs, a pruner's tokens included."""
    head = encoder.head
    if not head.reads_pairs:
        with torch.no_grad():
            scores_QN: Tensor = head.score(encoder.encode(queries, "query"), encoder.encode(documents, "document"))
            return scores_QN.flatten()
    pairs = [
        Pair(query, documents[(number * _DOCUMENTS_OF_A_QUERY + step) % len(documents)])
        for number, query in enumerate(queries)
        for step in range(_DOCUMENTS_OF_A_QUERY)
    ]
    outputs = head.outputs(encoder.represent(head.tokenizer(pairs)[0]))
    return torch.cat([output.flatten() for output in outputs]).sigmoid()


def _compared(file: Path, numbers: str, expected: Tensor, found: Tensor, folder: Path) -> GraphFile:
    """Return what a file's scores differ.

    Raises:
        InputError: a float32 file's differ by more than rounding.
    """
    difference, largest = float((found - expected).abs().max()), float(expected.abs().max())
    name = file.relative_to(folder).as_posix()
    if numbers == "float32" and not difference <= TOLERANCE * max(1.0, largest):
        raise InputError(
            f"{name} isn't the trained model: its scores differ by {difference:.2g}, more than rounding. It was not "
            "published; the run is as it was. This is a defect of reasonir or of a library: please report it"
        )
    size = sum(each.stat().st_size for each in file.parent.glob(f"{file.stem}.*"))
    return GraphFile(name, numbers, size, difference, (float(expected.min()), float(expected.max())))
