"""Embeddings on the disk: equal to computed ones, never another model's, and damage is detected."""

import logging

import pytest
import torch

from reasonir.index.exact import Exact
from reasonir.model import encoder as encoder_module
from reasonir.model.caching_encoder import CachingEncoder, Cut
from reasonir.model.embedding_cache import Disk, identity_of
from reasonir.model.encoder import Encoder
from reasonir.model.lora import LoRA
from reasonir.model.prompts import Prompts
from reasonir.types import Corpus, Text
from tests.helpers import RETRIEVERS, SENTENCES, load

QUERIES = {f"q{i}": Text(text) for i, text in enumerate(SENTENCES[:4])}
CORPUS = Corpus(
    [f"d{i}" for i in range(30)], [f"{SENTENCES[i % 25 % 12]} {SENTENCES[i % 25 % 7]} {i % 25}" for i in range(30)]
)


@pytest.fixture(params=RETRIEVERS)
def encoder(bert, request):
    return load(bert, request.param)


@pytest.fixture
def encoded(monkeypatch):
    """Blocks of seven texts; counts the texts that are really encoded."""
    monkeypatch.setattr(encoder_module, "_SORTED_TOGETHER", 7)
    counts = []
    represent = Encoder.represent

    def counting(self, tokens, **options):
        counts.append(len(tokens))
        return represent(self, tokens, **options)

    monkeypatch.setattr(Encoder, "represent", counting)
    return counts


def search(encoder, store=None, **options):
    index = Exact(CachingEncoder(encoder, store, **options) if store else encoder)
    index.build(CORPUS)
    return index.search(QUERIES, 30)


def test_scores_are_the_same_to_the_last_bit_with_without_and_from_the_store(encoder, encoded, tmp_path):
    plain = search(encoder)
    encoded.clear()
    store = Disk(tmp_path / identity_of(encoder))
    assert search(encoder, store) == plain
    assert encoded == [4, 7, 7, 7, 4]  # 25 distinct texts of 30
    encoded.clear()
    assert search(encoder, store) == plain
    assert encoded == []


def test_an_interrupted_evaluation_resumes(encoder, encoded, tmp_path, monkeypatch):
    plain, store, represent = search(encoder), Disk(tmp_path), Encoder.represent
    encoded.clear()

    def killed(self, tokens, **options):
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return represent(self, tokens, **options)

    monkeypatch.setattr(Encoder, "represent", killed)
    with pytest.raises(KeyboardInterrupt):
        search(encoder, store)
    monkeypatch.setattr(Encoder, "represent", represent)
    encoded.clear()
    assert search(encoder, store) == plain
    assert encoded == [7, 4]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-10], lambda b: b[:20], lambda b: b"", lambda b: b[:-9] + b"x" + b[-8:]]
)
def test_damaged_files_are_reported_and_never_used(encoder, encoded, tmp_path, damage, caplog):
    store, plain = Disk(tmp_path), search(encoder)
    search(encoder, store)
    encoded.clear()
    for file in tmp_path.iterdir():
        file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert search(encoder, store) == plain
    assert sum(encoded) == 29
    assert caplog.text.count("is damaged") == 5
    encoded.clear()
    assert search(encoder, store) == plain
    assert encoded == []


def test_other_weights_prompts_lengths_and_adapters_have_other_names(bert):
    model = load(bert, "biencoder")
    changed = load(bert, "biencoder")
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-6
    others = {
        "weight": changed,
        "prompt": load(bert, "biencoder", model={"prompts": Prompts(query="x ")}),
        "instruction": load(bert, "biencoder", model={"prompts": Prompts(instruction="x")}),
        "length": load(bert, "biencoder", max_length=17),
        "pooling": load(bert, "biencoder", pooling="cls"),
        "head": load(bert, "colbert"),
        "query length": load(bert, "colbert", query_length=17),
        "skiplist": load(bert, "colbert", skiplist=["the"]),
        "adapters": load(bert, "biencoder", model={"lora": LoRA(rank=2, alpha=4)}),
        "strength": load(bert, "biencoder", model={"lora": LoRA(rank=2, alpha=8)}),
    }
    names = {name: identity_of(encoder) for name, encoder in others.items()}
    assert len({identity_of(model), *names.values()}) == len(names) + 1
    search(model)  # what a tokenizer was called with last is no setting
    assert identity_of(model) == identity_of(load(bert, "biencoder"))


def test_sides_instructions_and_budgets_have_different_keys(encoder, encoded, tmp_path):
    reader = CachingEncoder(encoder, Disk(tmp_path))
    for text, side, budget in (("a", "query", 10), ("a", "document", 10), ("a", "query", 20)):
        reader.encode([Text(text)], side, budget=budget)
    reader.encode([Text("a", "why")], "query", budget=10)
    reader.encode([Text("a"), Text("")], "query", budget=10)
    assert len(list(tmp_path.iterdir())) == 5
    assert encoded == [1, 1, 1, 1, 2]


def test_float16_halves_the_size_and_is_stable(encoder, encoded, tmp_path):
    search(encoder, Disk(tmp_path / "whole"))
    first = search(encoder, Disk(tmp_path / "half", "float16"), dtype=torch.float16)
    assert search(encoder, Disk(tmp_path / "half", "float16"), dtype=torch.float16) == first
    whole = search(encoder)
    assert first != whole
    for query_id in QUERIES:
        assert first[query_id] == pytest.approx(whole[query_id], rel=2e-3)
    sizes = {name: sum(f.stat().st_size for f in (tmp_path / name).iterdir()) for name in ("whole", "half")}
    assert sizes["half"] < (0.95 if encoder.head.sparse else 0.75) * sizes["whole"]  # terms stay whole numbers


@pytest.mark.parametrize("stored", [False, True])
def test_truncation_is_counted_with_and_without_a_store(bert, tmp_path, stored):
    encoder = load(bert, "colbert", query_length=8, document_length=20)
    texts = [Text(sentence) for sentence in SENTENCES]
    tokenizer = encoder.head.tokenizer.tokenizer
    wholes = [len(tokenizer(sentence)["input_ids"]) + 1 for sentence in SENTENCES]  # and the side's marker
    for _ in range(2):
        reader = CachingEncoder(encoder, Disk(tmp_path)) if stored else CachingEncoder(encoder)
        reader.encode(texts, "document")
        reader.encode(texts, "query")
        assert reader.documents == Cut(
            12, sum(n > 20 for n in wholes), sum(min(n, 20) for n in wholes), sum(max(0, n - 20) for n in wholes)
        )
        assert [reader.queries[text].lost for text in texts] == [max(0, n - 8) for n in wholes]
        assert sum(reader.queries.values(), Cut()).cut == sum(n > 8 for n in wholes) > 3
