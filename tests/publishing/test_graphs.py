"""ONNX and OpenVINO files of a run: where sentence-transformers looks for them, with the model's scores."""

import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

import reasonir
from reasonir.errors import InputError
from reasonir.inference.retriever import Retriever
from reasonir.model import graph
from reasonir.model.graph import GraphEncoder, open_onnx
from reasonir.publishing import graphs
from reasonir.publishing.graphs import check_backends
from reasonir.publishing.hub import save
from tests.running import run

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
SMALL = ("data=demo", "data.variants=1", "eval=demo", "hardware=cpu", "logger=csv", "loader.workers=0")
STEPS = ("loader.batch_size=4", "trainer.max_steps=1", "evaluation.baselines=[]", "evaluation.rerank_depth=5")
HEADS = {"biencoder": ("model=tiny", "model/head=biencoder"), "yes_no": ("model=tiny_reranker", "loss=bce")}
FILES = {
    "onnx/model.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "openvino/openvino_model_qint8_quantized.bin",
    "openvino/openvino_model_qint8_quantized.xml",
}
QUERY, TEXTS = "why does it rain", ["Warm air rises.", "Copper conducts.", "Bees dance."]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def runs(home):
    """A finished run of a head, trained when it is first asked for."""
    done = {}

    def of(head):
        if head not in done:
            done[head] = run("train", *HEADS[head], *SMALL, *STEPS, home=home)
        assert done[head].status == 0, done[head].err
        return done[head].folder

    return of


def rows_of(card):
    """The card's table of files: name -> difference."""
    found = re.findall(r"^\| (\S+(?:onnx|xml)) +\| (float32|int8) +\| +[\d.]+ \| +(\S+) \|$", card, re.MULTILINE)
    return {name: (numbers, float(difference)) for name, numbers, difference in found}


def test_the_command_writes_both_with_what_they_change(runs, home):
    done = run("push", f"run={runs('biencoder')}", "to=me/rain", "dry_run=true", "backends=[onnx,openvino]", home=home)
    assert done.status == 0, done.err
    folder = done.folder / "rain"
    plain = {file.name for file in (runs("biencoder") / "model").iterdir()}
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {name for name in found if name.startswith(("onnx", "openvino"))} == FILES
    assert {file.name for file in folder.iterdir()} == plain | {"README.md", "onnx", "openvino"}
    card = (folder / "README.md").read_text()
    rows = rows_of(card)
    assert list(rows) == [*(name for name in sorted(FILES) if name.endswith("onnx")), *sorted(FILES)[3::2]]
    for numbers, difference in rows.values():
        assert difference < 1e-5 if numbers == "float32" else 1e-5 < difference < 0.1
    assert "scores of 8 queries and 32 documents" in card
    assert 'SentenceTransformer("me/rain", backend="onnx")' in card
    assert ModelCard(card).data.library_name == "sentence-transformers"
    opened = reasonir.load(folder)
    expected = reasonir.load(runs("biencoder")).encode(TEXTS).values_TD
    torch.testing.assert_close(opened.encode(TEXTS).values_TD, expected)
    by_graph = GraphEncoder(opened.encoder, open_onnx(folder / "onnx" / "model.onnx"))
    torch.testing.assert_close(Retriever(by_graph).encode(TEXTS).values_TD, expected, atol=1e-5, rtol=1e-4)


def test_sentence_transformers_finds_the_graph(runs, tmp_path, monkeypatch):
    """Its own lookup and pooling, with a stand-in for the class of optimum that opens the file."""

    class Opened:
        def __init__(self, path, config, file_name="model.onnx", subfolder="", **_):
            self.config, self._run = config, open_onnx(tmp_path / "saved" / subfolder / file_name)
            self._save_pretrained = None

        @classmethod
        def from_pretrained(cls, path, config, export, **options):
            assert not export
            return cls(path, config, **options)

        def forward(self, input_ids, attention_mask, return_dict=True):
            outputs = self._run({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
            return (torch.from_numpy(outputs["last_hidden_state"]),)

        __call__ = forward

    module = ModuleType("optimum.onnxruntime")
    module.ONNX_WEIGHTS_NAME = "model.onnx"
    for name in ("ORTModelForFeatureExtraction", "ORTModelForMaskedLM", "ORTModelForSequenceClassification"):
        setattr(module, name, Opened)
    monkeypatch.setitem(sys.modules, "optimum", ModuleType("optimum"))
    monkeypatch.setitem(sys.modules, "optimum.onnxruntime", module)
    save(runs("biencoder"), tmp_path / "saved", name="me/rain", backends=["onnx"])
    expected = reasonir.load(runs("biencoder")).encode(TEXTS, to_numpy=True)
    theirs = SentenceTransformer(str(tmp_path / "saved"), backend="onnx", device="cpu")
    np.testing.assert_allclose(theirs.encode_document(TEXTS), expected, atol=1e-5)


def test_a_language_models_graph_is_that_of_its_classifier(runs, tmp_path):
    save(runs("yes_no"), tmp_path / "saved", name="me/rain", backends=["openvino"])
    found = {file.relative_to(tmp_path / "saved").as_posix() for file in (tmp_path / "saved").rglob("*.xml")}
    assert found == {f"cross_encoder/{name}" for name in FILES if name.endswith(".xml")}
    assert not list((tmp_path / "saved").rglob("*.onnx"))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert rows_of(card).keys() == found
    assert "scores of 1 queries and 3 documents" in card


def test_a_graph_of_another_model_is_not_published(runs, tmp_path, monkeypatch):
    def other(encoder, file):
        weight = encoder.backbone.embeddings.word_embeddings.weight.data
        before = weight.clone()
        weight.mul_(torch.linspace(0, 2, len(weight))[:, None])
        graph.write_onnx(encoder, file)
        weight.copy_(before)

    monkeypatch.setattr(graphs, "write_onnx", other)
    with pytest.raises(InputError, match=r"onnx/model\.onnx isn't the trained model: its scores differ by"):
        save(runs("biencoder"), tmp_path / "saved", name="me/rain", backends=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_before_the_work(runs, home, monkeypatch):
    words = (f"run={runs('biencoder')}", "to=me/rain", "dry_run=true")
    for given, message in (("tensorrt", "choose onnx or openvino"), ("", "backends")):
        refused = run("push", *words, f"backends=[{given or '1'}]", home=home)
        assert refused.status == 2
        assert message in refused.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    for backend in ("onnx", "openvino"):
        with pytest.raises(InputError, match=rf"onnxscript isn't installed: pip install 'reasonir\[{backend}\]'"):
            check_backends([backend])
