"""Graph of a model for ONNX Runtime and OpenVINO: tokens to what the library of its format reads.

A dense retriever's graph ends at the hidden states, since sentence-transformers pools and projects outside; those of
other heads end at logits (`Head.graph_outputs`). Batch and length are variable. `GraphEncoder` reads texts with such a
graph in the place of the backbone, so that everything that takes an encoder can be run, and compared, with it.

Shape letters: N texts, L padded length.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded
from reasonir.model.encoder import Encoder
from reasonir.types import Pair, Text

OPENVINO = "openvino"
"""Folder of OpenVINO's files in an export."""
Runtime = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Runs a graph: outputs by name, of inputs by name."""
_OPSET = 18
_LARGE = 3 << 29
"""Bytes of weights above which they lie in a file of their own: a graph's file holds at most 2 GiB."""


class Graph(nn.Module):
    """The part of a model that becomes a graph, up to the head's `graph_outputs`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.backbone, self.head = encoder.backbone, encoder.head
        self._options = {"use_cache": False} if getattr(encoder.backbone.config, "use_cache", None) is not None else {}

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the outputs of tokens input_ids (N, L), padded on the right, with their masks."""
        return tuple(self.outputs(input_ids, attention_mask, token_type_ids).values())

    def outputs(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the outputs by name."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden_NLH = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **types, **self._options)[0]
        outputs: dict[str, Tensor] = self.head.graph_outputs(hidden_NLH, input_ids, attention_mask.bool())
        return outputs


class GraphEncoder(Encoder):
    """Encoder whose tokens a runtime reads."""

    def __init__(self, encoder: Encoder, runtime: Runtime) -> None:
        super().__init__(encoder.backbone, encoder.head)
        self._runtime = runtime

    def forward(self, padded: Padded) -> Tensor:
        """See `Encoder.forward`."""
        inputs = {name: value_NL.numpy() for name, value_NL in graph_inputs(self, padded).items()}
        outputs = {name: torch.from_numpy(value) for name, value in self._runtime(inputs).items()}
        values_TD: Tensor = self.head.from_graph(outputs, padded)
        return values_TD


def graph_inputs(encoder: Encoder, padded: Padded) -> dict[str, Tensor]:
    """Return a graph's inputs for a micro-batch."""
    return {"input_ids": padded.ids_NL, "attention_mask": padded.attend_NL.long(), **encoder.head.inputs(padded)}


@torch.no_grad()
def write_onnx(encoder: Encoder, file: Path) -> None:
    """Write a model's graph as ONNX, in float32.

    Args:
        encoder: on the CPU, with attention that other runtimes can compute (eager).
        file: to write; large weights get a file next to it.
    """
    texts = (Text("why does it rain"), Text("bees"))
    reads_pairs = encoder.head.reads_pairs
    tokens = (
        encoder.head.tokenizer([Pair(text, texts[0]) for text in texts])[0]
        if reads_pairs
        else encoder.head.tokenizer(texts, "document")
    )
    inputs = graph_inputs(encoder, tokens.pad(torch.arange(len(texts))))
    graph = Graph(encoder).eval()
    names = list(graph.outputs(**inputs))
    size = sum(weight.numel() * weight.element_size() for weight in graph.parameters())
    with _quiet():
        torch.onnx.export(
            graph,
            kwargs=inputs,
            f=file,
            input_names=list(inputs),
            output_names=names,
            dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in inputs},
            opset_version=_OPSET,
            external_data=size > _LARGE,
            dynamo=True,
            verbose=False,
        )


def quantise_onnx(file: Path, quantised: Path) -> None:
    """Write a graph with int8 weights, whose activations are quantised while it runs (dynamically)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*")) > _LARGE
    with _quiet():
        quantize_dynamic(file, quantised, weight_type=QuantType.QInt8, per_channel=True, use_external_data_format=large)


def write_openvino(graph: Path, file: Path) -> None:
    """Write an ONNX graph in OpenVINO's format, with its numbers as they are."""
    import openvino

    with _quiet():
        model = openvino.Core().read_model(graph)  # openvino.convert_model reports its use over the network
        openvino.save_model(model, file, compress_to_fp16=False)


def open_onnx(file: Path) -> Runtime:
    """Open an ONNX graph with ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def open_openvino(file: Path) -> Runtime:
    """Open a graph with OpenVINO, on the CPU in float32; by default it takes bfloat16 where a CPU is faster with it."""
    import openvino

    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_any_name() for output in model.outputs]

    def run(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = model(dict(inputs))
        return {name: np.array(found[name]) for name in names}

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' warnings, which ask for packages that aren't needed, out of the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
