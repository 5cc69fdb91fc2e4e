"""Retrievers, rerankers and pruners as Python code uses them: told by what lies in a folder, held against heads."""

import json
import subprocess
import sys

import pytest
import torch

import reasonir
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
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
    with pytest.raises(InputError, match="duplicate id '0'"):
        again.load_index(tmp_path / "index")


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
        (["a", " "], None, "text 1 is empty"),
        ("abc", None, "texts is one string"),
        (["a"], ["x", "y"], "2 ids for 1 texts"),
        (["a", "b"], ["x", "x"], "duplicate id 'x'"),
        (["a"], [""], "id '' is no text"),
        (["a"], [3], "id 3 is no text"),
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
    with pytest.raises(InputError, match="which can't search: load it by"):
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
    with pytest.raises(InputError, match="which reads no pairs"):
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
