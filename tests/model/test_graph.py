"""Graphs for other runtimes give every head's outputs, for any batch and length, and open as libraries expect them."""

import json
import shutil

import pytest
import torch

from reasonir.model import graph
from reasonir.model.graph import (
    GraphEncoder,
    graph_inputs,
    open_onnx,
    open_openvino,
    quantise_onnx,
    write_onnx,
    write_openvino,
)
from reasonir.types import Pair, Text
from tests.helpers import HEADS, SENTENCES, load
from tests.model.test_export import decoder as checkpoint

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
OUTPUTS = {
    "splade": ["logits"],
    "cross_encoder": ["logits"],
    "yes_no": ["logits"],
    "provence": ["logits", "token_logits"],
}


def outputs(encoder, texts):
    """The head's outputs of texts as documents, or of pairs with the first one."""
    if encoder.head.reads_pairs:
        tokens, _ = encoder.head.tokenizer([Pair(texts[0], text) for text in texts])
    else:
        tokens = encoder.head.tokenizer(texts, "document")
    return torch.cat([output.flatten() for output in encoder.head.outputs(encoder.represent(tokens))])


@pytest.fixture(scope="module", params=list(HEADS))
def graphed(request, bert, decoder, tmp_path_factory):
    """A head's model and its graph."""
    checkpoint = decoder if request.param == "yes_no" else bert
    encoder = load(checkpoint, request.param, model={"attention": "eager"}).eval()
    file = tmp_path_factory.mktemp(request.param) / "model.onnx"
    write_onnx(encoder, file)
    return request.param, encoder, file


def test_both_runtimes_give_the_models_outputs_for_any_batch_and_length(graphed, tmp_path):
    name, encoder, file = graphed
    write_openvino(file, tmp_path / "model.xml")
    long = Text(" ".join(SENTENCES * 3))
    for texts in ([Text("bees")], [Text(text) for text in SENTENCES], [long, Text("bees")]):
        expected = outputs(encoder, texts)
        for runtime in (open_onnx(file), open_openvino(tmp_path / "model.xml")):
            torch.testing.assert_close(outputs(GraphEncoder(encoder, runtime), texts), expected, atol=1e-5, rtol=1e-5)
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    assert [output.name for output in session.get_outputs()] == OUTPUTS.get(name, ["last_hidden_state"])
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert all(isinstance(size, str) for each in session.get_inputs() for size in each.shape)


def test_int8_is_smaller_and_near(graphed, tmp_path):
    _, encoder, file = graphed
    quantise_onnx(file, tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.8 * file.stat().st_size
    write_openvino(tmp_path / "int8.onnx", tmp_path / "int8.xml")
    texts = [Text(text) for text in SENTENCES]
    expected = outputs(encoder, texts)
    for runtime in (open_onnx(tmp_path / "int8.onnx"), open_openvino(tmp_path / "int8.xml")):
        difference = float((outputs(GraphEncoder(encoder, runtime), texts) - expected).abs().max())
        assert 0 < difference < 0.1


def test_large_weights_lie_in_a_file_of_their_own(bert, tmp_path, monkeypatch):
    """As those of a model above 2 GiB have to."""
    monkeypatch.setattr(graph, "_LARGE", 1000)
    encoder = load(bert, "biencoder", model={"attention": "eager"}).eval()
    write_onnx(encoder, tmp_path / "model.onnx")
    quantise_onnx(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    write_openvino(tmp_path / "model.onnx", tmp_path / "model.xml")
    assert {"model.onnx.data", "int8.onnx.data"} <= {file.name for file in tmp_path.iterdir()}
    texts = [Text(text) for text in SENTENCES]
    expected = outputs(encoder, texts)
    for runtime, atol in (
        (open_onnx(tmp_path / "model.onnx"), 1e-5),
        (open_openvino(tmp_path / "model.xml"), 1e-5),
        (open_onnx(tmp_path / "int8.onnx"), 0.1),
    ):
        torch.testing.assert_close(outputs(GraphEncoder(encoder, runtime), texts), expected, atol=atol, rtol=1e-4)


def test_pairs_of_two_types_are_told_apart(bert, tmp_path):
    """As BERT's own tokenizer marks the second text."""
    folder = shutil.copytree(bert, tmp_path / "bert")
    stated = json.loads((folder / "tokenizer_config.json").read_text())
    stated["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    encoder = load(folder, "cross_encoder", model={"attention": "eager"}).eval()
    texts = [Text(text) for text in SENTENCES]
    write_onnx(encoder, tmp_path / "model.onnx")
    run, seen = open_onnx(tmp_path / "model.onnx"), []
    by_graph = GraphEncoder(encoder, lambda inputs: seen.append(inputs) or run(inputs))
    torch.testing.assert_close(outputs(by_graph, texts), outputs(encoder, texts), atol=1e-5, rtol=1e-5)
    assert {name for inputs in seen for name in inputs} == {"input_ids", "attention_mask", "token_type_ids"}
    assert seen[0]["token_type_ids"].any()


def test_a_classifiers_graph_takes_padding_on_either_side(graphed):
    """As transformers' tokenizers of decoders pad on the left."""
    name, encoder, file = graphed
    if name != "yes_no":
        return
    tokens, _ = encoder.head.tokenizer([Pair(Text("bees"), Text(text)) for text in ("dance", SENTENCES[6])])
    inputs = graph_inputs(encoder, tokens.pad(torch.arange(2)))
    missing = int((inputs["attention_mask"][0] == 0).sum())
    left = {key: value.clone() for key, value in inputs.items()}
    for value in left.values():
        value[0] = value[0].roll(missing)
    run = open_onnx(file)
    right, moved = (run({key: value.numpy() for key, value in each.items()})["logits"] for each in (inputs, left))
    assert missing
    assert moved.shape == (2, 1)
    assert moved[:, 0].tolist() == pytest.approx(right[:, 0].tolist(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gemma3_text", {"sliding_window": 16}),
        ("gemma3_text", {"sliding_window": 16, "use_bidirectional_attention": True}),
        ("modernbert", {"local_attention": 16, "global_attn_every_n_layers": 2, "pad_token_id": 0}),
        ("roberta", {"pad_token_id": 0}),
        ("mpnet", {"pad_token_id": 0}),
    ],
)
def test_backbones_of_other_families_become_graphs(family, options, tmp_path):
    encoder = load(checkpoint(tmp_path / family, family, **options), "biencoder", model={"attention": "eager"}).eval()
    write_onnx(encoder, tmp_path / "model.onnx")
    by_graph = GraphEncoder(encoder, open_onnx(tmp_path / "model.onnx"))
    texts = [Text("bees"), *map(Text, SENTENCES), Text(" ".join(SENTENCES))]
    torch.testing.assert_close(outputs(by_graph, texts), outputs(encoder, texts), atol=1e-5, rtol=1e-4)
