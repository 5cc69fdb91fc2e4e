"""The server over HTTP: answers, limits, mistakes, clients that leave, small requests beside large ones."""

import base64
import contextlib
import http.client
import itertools
import json
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uvicorn

import reasonir
from reasonir.model.export import export
from reasonir.publishing.answers import Answers, Limits
from reasonir.publishing.server import Server
from tests.helpers import SENTENCES, load
from tests.running import run, start

QUERY = "why does it rain"
TEXTS = list(SENTENCES[:7])
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for head in ("biencoder", "cross_encoder"):
        export(load(bert, head), folder / head)
    return folder


@pytest.fixture
def served(exported):
    """Serves a head's model in a thread: (its answers, its port)."""
    stopped = []

    def start(head, **limits):
        answers = Answers(reasonir.load(exported / head), Limits(**limits), name="rain")
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(Server(answers).application(), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        stopped.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return answers, listener.getsockname()[1]

    yield start
    for server, thread in stopped:
        server.should_exit = True
        thread.join()


def post(port, body, headers=JSON, path="/invocations"):
    """(status, answer)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def request(documents, query=QUERY, **params):
    return {"dataframe_records": [{"query": query, "documents": documents}], "params": params}


def test_answers_are_those_of_the_model(served, exported):
    _, port = served("cross_encoder")
    status, answer = post(port, request(TEXTS, top_k=3))
    assert status == 200
    expected = reasonir.load(exported / "cross_encoder").rerank(QUERY, TEXTS, 3)
    assert answer["predictions"] == [[each._asdict() for each in expected]]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in ("/ping", "/health", "/version"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b"", "the body: not valid JSON"),
        (400, b"{", "the body: not valid JSON"),
        (400, b"\xff\xfe", "the body: not valid JSON"),
        (400, b"[" * 100_000, "in each other"),
        (400, b'{"dataframe_records": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "in each other"),
        (400, b'{"dataframe_records": [{"query": "x", "documents": ["y"]}], "params": {"top_k": NaN}}', "top_k=nan"),
        (400, b'{"dataframe_records": [], "params": {"top_k": ' + b"9" * 5000 + b"}}", "not usable as JSON"),
        (400, b"null", 'give {"dataframe_records"'),
        (400, {"dataframe_records": {}}, 'give {"dataframe_records"'),
        (400, {"dataframe_records": [5]}, "has to be an object"),
        (400, {"dataframe_records": [], "params": [1]}, "has to be an object"),
        (400, {"dataframe_records": [], "parms": {}}, "the body has 'parms'"),
        (400, request(TEXTS, topk=3), "params has 'topk'"),
        (400, request(TEXTS, top_k=0), "record 0: top_k=0"),
        (400, request(TEXTS, top_k="x"), "record 0: top_k='x'"),
        (400, request(TEXTS, query=None), "record 0: query is None"),
        (400, request(TEXTS, query=""), "record 0: query is ''"),
        (400, request("a text alone", query=5), "record 0: query is 5"),
        (400, request({"a": 1}), "record 0: documents is"),
        (400, request(["x", None]), "record 0: documents[1] is None"),
        (400, request(["\ud800"]), "record 0: documents[0]"),
        (400, {"dataframe_records": [{"query": "x", "document": ["y"]}]}, "record 0: the record has 'document'"),
        (400, {"dataframe_records": [{"query": "x"}]}, "record 0: documents is missing"),
        (
            400,
            {"dataframe_records": [{"query": "x", "documents": ["y"], "instruction": 5}]},
            "record 0: the instruction",
        ),
        (400, request(["y"] * 21), "21 documents, at most 20"),
        (400, request(["y"] * 20, query="z" * 10_001), "200,040 bytes of text, at most 200,000"),
        (413, request(["y" * 200_001]), "at most 200,000 in a request"),
    ],
)
def test_mistakes_are_told_without_a_trace(served, status, body, message):
    _, port = served("cross_encoder", documents=20, bytes=200_000)
    found, answer = post(port, body)
    assert found == status
    assert message in answer["message"]
    assert set(answer) == {"error_code", "message"}
    assert not any(trace in str(answer) for trace in ("Traceback", ".py", "site-packages", str(Path.cwd())))
    assert post(port, request(TEXTS))[0] == 200


def test_openais_client_is_answered(served, exported):
    """The body and headers that the openai package sends."""
    _, port = served("biencoder")
    sent = {"input": TEXTS, "model": "rain", "encoding_format": "base64", "dimensions": 8, "input_type": None}
    status, answer = post(port, sent, {**JSON, "Authorization": "Bearer none"}, "/v1/embeddings")
    assert status == 200
    found = [np.frombuffer(base64.b64decode(each["embedding"]), dtype="float32") for each in answer["data"]]
    whole = reasonir.load(exported / "biencoder").encode(TEXTS, to_numpy=True)[:, :8]
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/v1/models")
    listed = json.loads(connection.getresponse().read())
    assert listed["object"] == "list"
    assert [(each["id"], each["object"]) for each in listed["data"]] == [("rain", "model")]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerankers_and_retrievers_are_asked_at_the_same_addresses(served, exported, path):
    for head in ("cross_encoder", "biencoder"):
        _, port = served(head)
        status, answer = post(port, {"query": QUERY, "documents": TEXTS, "top_n": 2}, path=path)
        assert status == 200
        model = reasonir.load(exported / head)
        scores = list(model.score(QUERY, TEXTS)) if head == "cross_encoder" else model.score(QUERY, TEXTS)[0].tolist()
        best = sorted(range(len(TEXTS)), key=lambda index: -scores[index])[:2]
        assert [each["index"] for each in answer["results"]] == best
        found = [each["relevance_score"] for each in answer["results"]]
        assert found == pytest.approx([scores[index] for index in best], abs=1e-6)
        assert [each["index"] for each in post(port, {"query": QUERY, "texts": TEXTS}, path=path)[1]][:2] == best


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"{", JSON),
        (400, b"null", JSON),
        (400, b"[" * 100_000, JSON),
        (400, b'{"input": NaN, "documents": NaN, "query": "x"}', JSON),
        (400, {"input": ["x"] * 21, "documents": ["x"] * 21, "query": "x"}, JSON),
        (413, {"input": "x" * 200_001, "documents": ["x" * 200_001], "query": "x"}, JSON),
        (415, b"{}", {"Content-Type": "text/plain"}),
    ],
)
def test_errors_have_the_shape_of_their_address(served, status, body, headers):
    _, port = served("biencoder", documents=20, bytes=200_000)
    one, answer = post(port, body, headers, "/v1/embeddings")
    assert (one, set(answer)) == (status, {"error"})
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    other, told = post(port, body, headers, "/v1/rerank")
    assert (other, set(told)) == (status, {"message", "error", "error_type"})
    assert told["message"] == told["error"]
    for message in (answer["error"]["message"], told["message"]):
        assert not any(trace in message for trace in ("Traceback", ".py", "\n", str(Path.cwd())))


def test_other_addresses_and_types_are_refused(served):
    _, port = served("cross_encoder", bytes=1000)
    assert post(port, b"a,b", {"Content-Type": "text/csv"})[0] == 415
    assert post(port, b"{}", {})[0] == 415
    assert post(port, b"", {**JSON, "Content-Length": "9" * 9})[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for method, path, status in (("GET", "/invocations", 405), ("GET", "/docs", 404), ("POST", "/ping", 405)):
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == status
        assert "POST /invocations" in json.loads(answer.read())["message"]

    assert "/v1/embeddings" in post(port, {}, path="/v1/models")[1]["error"]["message"]
    assert post(port, {}, path="/v3/rerank")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    endless = itertools.repeat(b"x" * 1000)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # refused, and closed, while it is sent
        connection.request(
            "POST", "/invocations", endless, {**JSON, "Transfer-Encoding": "chunked"}, encode_chunked=True
        )
    assert post(port, request(["bees"]))[0] == 200


def test_a_fault_of_the_server_is_told_in_its_log_alone(served, monkeypatch):
    answers, port = served("cross_encoder")

    def fail(*arguments):
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(answers, "_answer", fail)
    status, answer = post(port, request(TEXTS))
    assert (status, answer["message"]) == (500, "the server failed: its log has the reason")
    monkeypatch.setattr(answers, "score", fail)
    status, answer = post(port, {"query": "x", "documents": ["y"]}, path="/rerank")
    assert (status, answer["error_type"]) == (500, "Backend")


def test_a_small_request_is_not_held_by_a_large_one(served):
    answers, port = served("cross_encoder", documents=10**6, bytes=10**8)
    done, begun = [], threading.Event()
    go_on = answers.model.encoder.between
    answers.model.encoder.between = lambda: (begun.set(), go_on())
    large = threading.Thread(target=lambda: done.append(("large", post(port, request(TEXTS * 300))[0])))
    large.start()
    begun.wait()
    done.append(("small", post(port, request(TEXTS[:2]))[0]))
    large.join()
    assert done == [("small", 200), ("large", 200)]


def test_the_work_of_a_client_that_leaves_or_comes_to_its_limit_of_time_ends(served):
    answers, port = served("cross_encoder", documents=10**6, bytes=10**8, seconds=1.0)
    parts, go_on = [], answers.model.encoder.between

    def slowly():
        parts.append(time.monotonic())
        time.sleep(0.3)
        go_on()

    answers.model.encoder.between = slowly
    status, answer = post(port, request(TEXTS * 600))
    assert status == 504
    assert "no answer within 1 seconds" in answer["message"]
    in_time = len(parts)
    with socket.create_connection(("127.0.0.1", port)) as client:
        body = json.dumps(request(TEXTS * 600)).encode()
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while len(parts) == in_time:
            time.sleep(0.01)
    left, deadline = time.monotonic(), time.monotonic() + 30
    while answers._turns._queue:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sum(part > left for part in parts) <= 2


def test_the_command_serves_a_corpus_until_it_is_terminated(exported, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", f"run={exported / 'biencoder'}", f"port={port}", home=tmp_path)
        assert refused.status == 2
        assert f"port={port} can't be listened on" in refused.err
    refused = run("serve", f"run={exported / 'cross_encoder'}", f"port={port}", f"corpus={corpus}", home=tmp_path)
    assert refused.status == 2
    assert "is no retriever" in refused.err
    process = start(
        "serve", f"run={exported / 'biencoder'}", f"corpus={corpus}", f"port={port}", "hardware=cpu", home=tmp_path
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                status, answer = post(port, {"dataframe_records": [{"query": QUERY}], "params": {"top_k": 2}})
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert status == 200
        assert {hit["id"] for hit in answer["predictions"][0]} <= {f"d{n}" for n in range(len(TEXTS))}
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
