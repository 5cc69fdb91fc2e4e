"""The cache of search indexes: built once, and again when any of its files is damaged."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from reasonir.errors import InputError
from reasonir.inference import index_cache
from reasonir.inference.index_cache import open_corpus
from reasonir.inference.retriever import Retriever
from tests.helpers import SENTENCES, load


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(SENTENCES)))
    return str(file)


@pytest.fixture
def builds(monkeypatch):
    """Encoded corpora."""
    builds, encode = [], index_cache._encode
    monkeypatch.setattr(index_cache, "_encode", lambda *given: builds.append(1) or encode(*given))
    return builds


def test_three_builders_at_once_encode_once_and_all_end_well(bert, corpus, builds, tmp_path):
    retrievers = [Retriever(load(bert, "biencoder").eval()) for _ in "123"]
    with ThreadPoolExecutor(3) as threads:
        folders = set(threads.map(lambda retriever: open_corpus(retriever, corpus, tmp_path), retrievers))
    assert len(builds) == 1
    (folder,) = folders
    assert list((tmp_path / "indexes").iterdir()) == [folder]
    assert len({str(retriever.retrieve("bees", 5)) for retriever in retrievers}) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: replaced(folder / "documents.jsonl", b"copper", b"silver"),
        lambda folder: (folder / "documents.jsonl").unlink(),
        lambda folder: (folder / "vectors.safetensors").write_bytes(b""),
        lambda folder: flipped(folder / "vectors.safetensors"),
    ],
)
def test_a_damaged_index_is_rebuilt_with_a_word(bert, corpus, builds, tmp_path, damage, caplog):
    first, second = (Retriever(load(bert, "biencoder").eval()) for _ in "12")
    folder = open_corpus(first, corpus, tmp_path)
    damage(folder)
    with pytest.raises(InputError):
        Retriever(first.encoder).load_index(folder)
    assert open_corpus(second, corpus, tmp_path) == folder
    assert len(builds) == 2
    assert caplog.text.count("is damaged and is rebuilt") == 1
    assert second.retrieve("bees", 5) == first.retrieve("bees", 5)
    Retriever(first.encoder).load_index(folder)


def replaced(file, old, new):
    file.write_bytes(file.read_bytes().replace(old, new))


def flipped(file):
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
