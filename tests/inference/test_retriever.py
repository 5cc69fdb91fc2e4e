"""Retrievers, rerankers and pruners as Python code uses them: told by what lies in a folder, held against heads."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import reasonir
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.inference.search_engine import Bm25Search
from reasonir.model.export import export
from reasonir.types import Corpus, Pair, Text
from tests.helpers import RETRIEVERS, SENTENCES, load
from tests.running import run

TEXTS = list(SENTENCES)


@pytest.fixture(scope="module", params=list(RETRIEVERS))
def exported(request, bert, tmp_path_factory):
    """A retriever's export, loaded without being told its head."""
    folder = tmp_path_factory.mktemp(request.param) / "export"
    encoder = load(bert, request.param)
    export(encoder, folder)
    loaded = reasonir.load(folder)
    assert isinstance(loaded, Retriever)
    assert type(loaded.encoder.head) is RETRIEVERS[request.param]
    return folder, loaded.encoder


def test_documents_added_one_by_one_are_found_as_exact_search_finds_them(exported):
    _, encoder = exported
    retriever = Retriever(encoder)
    assert retriever.add_documents(TEXTS[:5]) == ["0", "1", "2", "3", "4"]
    assert retriever.add_documents(TEXTS[5:11], [f"d{n}" for n in range(5, 11)])[0] == "d5"
    assert retriever.add_documents([]) == []
    assert retriever.add_documents(TEXTS[11:]) == ["11"]
    assert len(retriever) == 12
    index = Exact(encoder)
    index.build(Corpus(list(retriever.documents), TEXTS))
    for query in ("why does it rain", "bees"):
        expected = index.search({"q": Text(query)}, 4)["q"]
        found = retriever.retrieve(query, top_k=4)
        assert [hit.id for hit in found] == list(expected)
        assert [hit.score for hit in found] == pytest.approx(list(expected.values()), abs=1e-5)
        assert all(retriever.documents[each] == text for each, text, _ in found)
        scores = retriever.score([query], TEXTS)[0]
        assert sorted(scores.tolist(), reverse=True)[:4] == pytest.approx([hit.score for hit in found], abs=1e-5)
    assert len(retriever.retrieve("bees", top_k=99)) == 12
    assert retriever.search([]) == []
    assert Retriever(encoder).retrieve("bees") == []


def test_saved_documents_are_searched_again_without_being_encoded(exported, tmp_path, monkeypatch):
    folder, encoder = exported
    first = Retriever(encoder)
    first.add_documents([*TEXTS, "line\u2028break — ünïcode"])
    first.save(tmp_path / "index")
    assert sorted(file.name for file in (tmp_path / "index").iterdir()) == ["documents.jsonl", "vectors.safetensors"]
    again = Retriever.load(folder)
    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "stream", None)
        again.load_index(tmp_path / "index")
    assert again.documents == first.documents
    assert again.retrieve("why does it rain") == first.retrieve("why does it rain")
    assert again.add_documents(["one more"]) == ["13"]
    with pytest.raises(InputError, match="exists: give a new folder"):
        first.save(tmp_path / "index")
    again.load_index(tmp_path / "index")  # the same documents
    assert len(again) == sum(map(len, again._blocks)) == 14
    other = Retriever(encoder)
    other.add_documents(["another text"])
    with pytest.raises(InputError, match="duplicate id '0' of 'another text' and"):
        other.load_index(tmp_path / "index")
    assert len(other) == 1


def test_many_additions_are_kept_in_few_blocks(bert, monkeypatch):
    monkeypatch.setattr("reasonir.inference.retriever._BLOCK", 4)
    encoder = load(bert, "colbert").eval()
    retriever, whole = Retriever(encoder), Retriever(encoder)
    for text in TEXTS[:9]:
        retriever.add_documents([text])
    whole.add_documents(TEXTS[:9])
    assert [len(block) for block in retriever._blocks] == [4, 4, 1]
    mine, theirs = retriever.retrieve("bees", 9), whole.retrieve("bees", 9)
    assert [hit.id for hit in mine] == [hit.id for hit in theirs]


@pytest.fixture
def saved(bert, tmp_path):
    retriever = Retriever(load(bert, "biencoder").eval())
    retriever.add_documents(TEXTS)
    retriever.save(tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "vectors.safetensors").unlink(), "holds no vectors.safetensors"),
        (lambda folder: (folder / "documents.jsonl").unlink(), "holds no documents.jsonl"),
        (lambda folder: (folder / "vectors.safetensors").write_bytes(b"abc"), "can't be read"),
        (lambda folder: (folder / "documents.jsonl").write_text('{"id": "0", "text": "x"}\n'), "1 documents and"),
        (lambda folder: (folder / "documents.jsonl").write_text("{"), "documents.jsonl"),
        (lambda folder: (folder / "documents.jsonl").write_text('{"id": "0"}\n'), "'text' is missing"),
    ],
)
def test_damaged_folders_are_refused_and_nothing_is_taken(bert, saved, damage, message):
    damage(saved)
    retriever = Retriever(load(bert, "biencoder").eval())
    with pytest.raises(InputError, match=message):
        retriever.load_index(saved)
    assert len(retriever) == 0


def test_another_models_vectors_are_refused(bert, saved):
    other = Retriever(load(bert, "gaussian").eval())
    with pytest.raises(InputError, match="was saved by another model or other settings"):
        other.load_index(saved)


def test_wrong_additions_are_refused_and_nothing_is_taken(bert, tmp_path):
    retriever = Retriever(load(bert, "biencoder").eval())
    for texts, ids, message in (
        (["a", " "], None, r"texts\[1\] is ' ', expected a string that isn't blank"),
        (["a"], ["x", "y"], "2 ids for 1 texts"),
        (["a", "b"], ["x", "x"], "duplicate id 'x' of 'a' and 'b'"),
        (["a"], [""], r"ids\[0\] is ''"),
        (["a"], [3.0], r"ids\[0\] is 3.0, expected a string or a whole number"),
        (["a"], [True], r"ids\[0\] is True"),
        ({"x": "a"}, ["y"], "texts is a mapping, which has ids"),
        ({"x": None}, None, r"texts\[0\] is None"),
    ):
        with pytest.raises(InputError, match=message):
            retriever.add_documents(texts, ids)
    assert len(retriever) == 0
    with pytest.raises(InputError, match="top_k=0"):
        retriever.retrieve("a", top_k=0)
    with pytest.raises(InputError, match="there are no documents to save"):
        retriever.save(tmp_path / "none")


@pytest.mark.parametrize(("checkpoint", "head"), [("bert", "cross_encoder"), ("decoder", "yes_no")])
def test_rerankers_order_texts_by_their_scores(request, tmp_path, checkpoint, head):
    encoder = load(request.getfixturevalue(checkpoint), head)
    export(encoder, tmp_path / "export")
    reranker = reasonir.load(tmp_path / "export")
    assert type(reranker) is Reranker
    assert type(reranker.encoder.head) is type(encoder.head)
    expected = encoder.score_pairs([Pair(Text("rain"), Text(text)) for text in TEXTS]).sigmoid().tolist()
    assert reranker.score("rain", TEXTS) == pytest.approx(expected, abs=1e-5)
    order = sorted(range(len(TEXTS)), key=lambda place: -expected[place])
    assert [place for place, _ in reranker.rerank("rain", TEXTS, top_k=3)] == order[:3]
    assert reranker.rerank("rain", []) == []
    with pytest.raises(InputError, match="is a reranker, expected a retriever: load it by reasonir"):
        Retriever.load(tmp_path / "export")


def test_pruners_rerank_and_prune(bert, tmp_path):
    export(load(bert, "provence"), tmp_path / "export")
    pruner = reasonir.load(tmp_path / "export")
    assert isinstance(pruner, Pruner)
    pruned = pruner.prune("rain", TEXTS)
    assert pruner.score("rain", TEXTS) == [each.score for each in pruned]
    best = max(pruned, key=lambda each: each.score)
    assert pruner.rerank("rain", TEXTS, top_k=1) == [(best.position, best.score)]


def test_a_run_is_loaded_as_it_was_composed(home):
    small = ("model=tiny", "model/head=colbert", "model.head.query_length=24", "model/prompts=instruct")
    more = ("data=demo", "eval=demo", "logger=csv", "hardware=cpu", "trainer.max_steps=1", "loader.batch_size=4")
    done = run("train", *small, *more, home=home)
    assert done.status == 0, done.err
    for path in (done.folder, done.folder / "model"):
        retriever = reasonir.load(path)
        assert retriever.encoder.head.tokenizer.limit("query") == 24
        assert retriever.encoder.head.tokenizer.prompts.takes_instructions
    with pytest.raises(InputError, match="ColBERT is a retriever, expected a reranker or pruner"):
        Reranker.load(done.folder)


def test_what_says_nothing_of_its_head_is_refused(bert, tmp_path):
    with pytest.raises(InputError, match="has no recognisable head"):
        reasonir.load(bert)
    (tmp_path / "config.yaml").write_text("model: {}")
    with pytest.raises(InputError, match="has no exported model"):
        reasonir.load(tmp_path)
    with pytest.raises(InputError, match="neither a folder nor a hub id"):
        reasonir.load("no such/folder/at all")


def test_importing_the_package_is_light():
    script = "import sys, reasonir; print(sorted({'torch', 'hydra', 'numpy', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_saved_is_read_bit_for_bit(bert, tmp_path):
    retriever = Retriever(load(bert, "colbert").eval())
    retriever.add_documents(TEXTS)
    retriever.save(tmp_path / "index")
    again = Retriever(retriever.encoder)
    again.load_index(tmp_path / "index")
    assert torch.equal(again._blocks[0].values_TD, retriever._blocks[0].values_TD)
    assert json.loads((tmp_path / "index" / "documents.jsonl").read_text().splitlines()[3])["text"] == TEXTS[3]


NOT_TEXTS = (None, 5, b"ab", {"x"}, ["a", None], [["a"]], [5], ["a", " "], "", "\ud800")


@pytest.fixture(scope="module", params=["biencoder", "bm25"])
def engine(request, bert):
    """A search of three documents: dense, or by words."""
    engine = Bm25Search() if request.param == "bm25" else Retriever(load(bert, request.param).eval())
    engine.add_documents({"bees": "bees dance", "heat": "copper conducts heat", "rain": "rain falls"})
    return engine


def test_one_query_gets_its_hits_and_several_a_list(engine):
    hits = engine.retrieve("bees", 2)
    assert hits[0].id == "bees"
    assert engine.retrieve(Text("bees"), 2) == hits
    assert engine.search("bees", 2) == engine.search(["bees"], 2) == engine.retrieve(("bees",), 2) == [hits]
    assert [len(each) for each in engine.retrieve(["bees", "copper"], np.int64(1))] == [1, 1]
    assert engine.retrieve([]) == engine.search([]) == []
    assert engine.retrieve("bees", 10**9) == engine.retrieve("bees")
    assert "bees dance" not in repr(engine)


@pytest.mark.parametrize("queries", [*NOT_TEXTS, {"x": "a"}, Text(5), Text("a", None)], ids=ascii)
def test_what_is_no_query_is_refused(engine, queries):
    for find in (engine.retrieve, engine.search):
        with pytest.raises(InputError, match=r"quer(y|ies)(\[\d\])? is "):
            find(queries)


@pytest.mark.parametrize("top_k", [-1, 0, True, 1.5, "3", None, float("nan"), [1]])
def test_top_k_is_a_whole_number_of_one_or_more(engine, top_k):
    for find in (engine.retrieve, engine.search):
        with pytest.raises(InputError, match=r"^top_k"):
            find("bees", top_k)


@pytest.mark.parametrize("texts", [*NOT_TEXTS, {"x": None}, {" ": "a"}, {1.5: "a"}], ids=ascii)
def test_what_are_no_documents_is_refused_and_nothing_is_added(engine, texts):
    with pytest.raises(InputError, match=r"(texts|ids)(\[\d\])? is "):
        engine.add_documents(texts)
    assert len(engine) == 3


@pytest.mark.parametrize("head", ["biencoder", "bm25"])
def test_a_document_is_its_content(bert, head):
    engine = Bm25Search() if head == "bm25" else Retriever(load(bert, head).eval())
    assert engine.add_documents("bees dance") == ["0"]
    assert engine.add_documents(["bees dance", "rain falls", "rain falls", "copper"]) == ["0", "2", "2", "4"]
    assert engine.add_documents({"0": "bees dance", 7: "salt"}) == ["0", "7"]
    assert engine.add_documents("bees dance", "copy") == ["copy"]  # by its own id, as in corpora with copies
    assert engine.add_documents(["bees dance", "salt"]) == ["0", "7"]
    with pytest.raises(InputError, match="duplicate id '7' of 'salt' and 'pepper': ids must be unique"):
        engine.add_documents(["new", "pepper"], ["8", 7])
    assert list(engine.documents) == ["0", "2", "4", "7", "copy"]
    assert [hit.id for hit in engine.retrieve("bees dance", 2)] == ["0", "copy"]


@pytest.mark.parametrize("head", list(RETRIEVERS))
def test_vectors_come_as_arrays_and_none_of_no_texts(bert, head):
    retriever = Retriever(load(bert, head).eval())
    encoded, arrays = (retriever.encode(TEXTS[:3], "query", to_numpy=each) for each in (False, True))
    parts = list(torch.split(encoded.values_TD, encoded.lengths_N.tolist()))
    size = encoded.values_TD.shape[1]
    if head == "splade":
        assert arrays.shape == (3, vocabulary := retriever.encoder.backbone.config.vocab_size)
        assert retriever.encode([], to_numpy=True).shape == (0, vocabulary)
        arrays = [row.data for row in arrays]
        size = 1
    elif retriever.encoder.head.single_vector:
        assert arrays.shape == (3, size)
        assert retriever.encode([], to_numpy=True).shape == (0, size)
    else:
        assert retriever.encode([], to_numpy=True) == []
    assert all(array.dtype == np.float32 for array in arrays)
    assert all(np.array_equal(array.reshape(-1, size), part) for array, part in zip(arrays, parts, strict=True))
    assert retriever.encode("one").values_TD.shape == retriever.encode(["one"]).values_TD.shape
    assert retriever.encode([]).values_TD.shape == (0, size)
    assert len(retriever.encode([])) == 0
    assert [retriever.score(*each).shape for each in (("a", "b"), ([], ["a"]), ("a", []), ([], []))] == [
        (1, 1),
        (0, 1),
        (1, 0),
        (0, 0),
    ]
    for wrong in NOT_TEXTS:
        for call in (retriever.encode, lambda texts: retriever.score("a", texts), lambda q: retriever.score(q, "a")):
            with pytest.raises(InputError, match=r"(texts|queries|documents)(\[\d\])? is "):
                call(wrong)
    for arguments in ({"side": "documents"}, {"side": None}, {"to_numpy": "yes"}, {"to_numpy": None}):
        with pytest.raises(InputError, match=next(iter(arguments))):
            retriever.encode("a", **arguments)


def test_an_encoder_is_a_loaded_model(bert):
    for kind in (Retriever, Reranker, Pruner):
        for wrong in (None, "path", 5):
            with pytest.raises(InputError, match="expected an Encoder: load a model by its path"):
                kind(wrong)
        with pytest.raises(InputError, match=r"expected a .*: load it by"):
            kind(load(bert, "cross_encoder" if kind is not Reranker else "colbert"))
    for wrong in (None, 5, "", ["a"]):
        for call in (Retriever.load, Reranker.load, Pruner.load, reasonir.load, Retriever(load(bert, "colbert")).save):
            with pytest.raises(InputError, match=r"^(path is|there are no documents)"):
                call(wrong)
