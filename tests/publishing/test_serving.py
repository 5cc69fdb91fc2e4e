"""A packaged model answers with the scores of `reasonir.load`: in this process, and over HTTP from MLflow's server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

import reasonir
from reasonir.inference.retriever import Retriever
from reasonir.model.export import export
from reasonir.tracking.base import Loggers
from reasonir.tracking.model_registry import package
from reasonir.tracking.open import open_tracking
from reasonir.types import Text
from tests.helpers import SENTENCES, load
from tests.running import run

HEADS = {"biencoder": "bert", "cross_encoder": "bert", "yes_no": "decoder", "provence": "bert"}
TEXTS = list(SENTENCES[:7])
QUERY = "why does it rain"


@pytest.fixture(scope="module")
def packaged(request, bert, decoder, tmp_path_factory):
    """Every head's export in one MLflow: its folders, and the addresses of the models."""
    folder = tmp_path_factory.mktemp("packaged")
    addresses = {}
    for head, checkpoint in HEADS.items():
        export(load({"bert": bert, "decoder": decoder}[checkpoint], head), folder / head)
        tracking = open_tracking(Loggers(mlflow=True), folder, experiment_name="p", name=head, folder=folder, tags={})
        with tracking.closing():
            addresses[head] = package(folder, tracking.run_id, folder / head, run=None)
    yield folder, addresses
    mlflow.set_tracking_uri(None)


def served(packaged, head):
    folder, addresses = packaged
    return reasonir.load(folder / head), mlflow.pyfunc.load_model(addresses[head])


def test_a_retriever_finds_among_the_documents_it_is_given(packaged):
    retriever, model = served(packaged, "biencoder")
    retriever.add_documents(TEXTS)
    (found,) = model.predict([{"query": QUERY, "documents": TEXTS}], params={"top_k": 3})
    assert found == [hit._asdict() for hit in retriever.retrieve(QUERY, 3)]
    two = model.predict([{"query": "bees", "documents": TEXTS}, {"query": "rain", "documents": TEXTS[:2]}])
    assert [len(answer) for answer in two] == [7, 2]  # nothing is remembered of the first
    (copies,) = model.predict([{"query": QUERY, "documents": ["bees", "bees", "rain"]}])
    assert sorted((hit["id"], hit["text"]) for hit in copies) == [("0", "bees"), ("1", "bees"), ("2", "rain")]


def test_requests_that_come_together_are_answered_alike(packaged):
    _, model = served(packaged, "biencoder")
    records = [{"query": "rain " * (1 + n % 7), "documents": ["word " * (1 + n), "bees"]} for n in range(40)]
    expected = [model.predict([record]) for record in records]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda record: model.predict([record]), records)) == expected


@pytest.mark.parametrize("head", ["cross_encoder", "yes_no"])
def test_a_reranker_orders_with_the_same_scores(packaged, head):
    reranker, model = served(packaged, head)
    request = {"query": QUERY, "documents": TEXTS, "instruction": "Find causes."}
    (found,) = model.predict([request])
    ranked = reranker.rerank(Text(QUERY, "Find causes."), TEXTS)
    assert found == [each._asdict() for each in ranked]
    assert model.predict([request], params={"top_k": 2}) == [found[:2]]
    plain = {"query": QUERY, "documents": TEXTS}
    assert model.predict([request, plain]) == [found, *model.predict([plain])]


def test_a_pruner_also_tells_what_it_keeps(packaged):
    pruner, model = served(packaged, "provence")
    text = "Bees dance. They tell where flowers are. It rained all day."
    low, high = (
        model.predict([{"query": QUERY, "documents": [text, *TEXTS]}], params={"threshold": each, "top_k": 4})[0]
        for each in (0.0, 0.999)
    )
    pruned = pruner.prune(QUERY, [text, *TEXTS], top_k=4, reorder=True)
    assert [(each["position"], each["score"]) for each in low] == [(each.position, each.score) for each in pruned]
    for mine, theirs in zip(low, pruned, strict=True):
        judged = sorted((*theirs.kept, *theirs.dropped), key=lambda sentence: sentence.start)
        assert mine["sentences"] == [{"text": each.text, "probability": each.probability} for each in judged]
    assert all(each["kept"] for each in low)
    assert not any(each["kept"] for each in high)


@pytest.mark.parametrize(
    ("head", "record", "params", "message"),
    [
        (
            "biencoder",
            {"query": " ", "documents": ["x"]},
            {},
            "record 0: query is ' ', expected a string that isn't blank",
        ),
        ("biencoder", {"query": "x"}, {}, "record 0: documents is missing, and this model has no corpus"),
        ("biencoder", {"query": "x", "documents": ["y", ""]}, {}, r"record 0: documents\[1\] is ''"),
        ("biencoder", {"query": "x", "documents": ["abc", None]}, {}, r"record 0: documents\[1\] is None"),
        ("cross_encoder", {"query": "x", "documents": [None]}, {}, r"record 0: documents\[0\] is None"),
        ("provence", {"query": "x", "documents": ["abc", float("nan")]}, {}, r"record 0: documents\[1\] is nan"),
        ("biencoder", {"query": "x", "documents": [5]}, {}, r"record 0: documents\[0\] is 5"),
        ("biencoder", {"query": None, "documents": ["x"]}, {}, "record 0: query is None"),
        ("cross_encoder", {"query": "x", "documents": ["y"]}, {"top_k": -1}, "record 0: top_k=-1: give 1 or more"),
        ("biencoder", {"query": "x", "documents": ["y"]}, {"top_k": 0}, "record 0: top_k=0: give 1 or more"),
        ("biencoder", {"question": "x", "documents": ["y"]}, {}, r"missing inputs \['query'\]"),
        ("cross_encoder", {"query": "x"}, {}, "record 0: documents is missing: give the texts to"),
        ("cross_encoder", {"query": "x", "documents": "y"}, {}, "Expected data to be list"),
        ("provence", {"query": "x", "documents": ["y"]}, {"threshold": 1.0}, "threshold=1.0: give 0 or more, below 1"),
    ],
)
def test_wrong_requests_are_told(packaged, head, record, params, message):
    with pytest.raises(MlflowException, match=message):
        served(packaged, head)[1].predict([record], params=params)


def test_a_retriever_packaged_with_a_corpus_searches_it(packaged, tmp_path):
    folder, _ = packaged
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)))
    words = (f"corpus={corpus}", "package=true", "hardware=cpu")
    done = run("search", f"run={folder / 'biencoder'}", *words, home=tmp_path)
    assert done.status == 0, done.err
    command = done.err[done.err.index("MLFLOW_TRACKING_URI=") :].split()
    assert command[0] == f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/mlflow.db"
    model = mlflow.pyfunc.load_model(command[-1])
    retriever = Retriever.load(folder / "biencoder")
    retriever.add_documents(TEXTS, [f"d{n}" for n in range(len(TEXTS))])
    assert model.predict([{"query": QUERY}], params={"top_k": 2})[0] == [
        hit._asdict() for hit in retriever.retrieve(QUERY, 2)
    ]
    assert [hit["text"] for hit in model.predict([{"query": QUERY, "documents": ["a bee"]}])[0]] == ["a bee"]
    for name, logger, message in (
        ("bm25", "mlflow", "run=bm25 is no retriever"),
        (folder / "biencoder", "csv", "package=true logs the model to MLflow: give logger=mlflow"),
    ):
        refused = run("search", f"run={name}", f"logger={logger}", *words, home=tmp_path)
        assert refused.status == 2
        assert message in refused.err


def asked(port, payload):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(payload).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


@pytest.fixture
def server(packaged, tmp_path):
    """Starts MLflow's server for a model and gives its port once it answers."""
    folder, addresses = packaged
    started = []

    def start(head):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (tmp_path / f"{head}.log").open("w")
        command = ["serve", "--model-uri", addresses[head], "--env-manager", "local", "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", *command],
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "CUDA_VISIBLE_DEVICES": "",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    return port
            except OSError:
                assert process.poll() is None, (tmp_path / f"{head}.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.3)

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_the_server_answers_with_the_same_scores(packaged, server):
    folder, _ = packaged
    record = {"query": QUERY, "documents": TEXTS}
    port = server("biencoder")
    retriever = reasonir.load(folder / "biencoder")
    retriever.add_documents(TEXTS)
    (found,) = asked(port, {"dataframe_records": [record], "params": {"top_k": 3}})
    expected = retriever.retrieve(QUERY, 3)
    assert [(hit["id"], hit["text"]) for hit in found] == [(hit.id, hit.text) for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(port, {"dataframe_records": [{"query": QUERY}]})
    assert refused.value.code == 400
    assert "documents is missing" in refused.value.read().decode()
    (ranked,) = asked(server("cross_encoder"), {"dataframe_records": [record]})
    expected = reasonir.load(folder / "cross_encoder").rerank(QUERY, TEXTS)
    assert [each["position"] for each in ranked] == [each.position for each in expected]
    assert [each["score"] for each in ranked] == pytest.approx([each.score for each in expected], abs=1e-5)
