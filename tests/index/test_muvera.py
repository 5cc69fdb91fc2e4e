"""MUVERA: encodings against their definition and against MaxSim, rankings against exact search."""

import gc
import json

import numpy as np
import pytest
import torch

from reasonir.cli.check import problems
from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.muvera import FixedEncoding, Muvera
from reasonir.index.pooling import Pooling
from reasonir.model import encoder as encoder_module
from reasonir.model.maxsim import maxsim
from reasonir.types import Corpus, Text
from tests.helpers import SENTENCES, load
from tests.running import run

CORPUS = Corpus([f"d{i}" for i in range(80)], [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(80)])
QUERIES = {f"q{i}": Text(f"{text} why") for i, text in enumerate(SENTENCES[:6])}
EXCLUDED = {"q0": frozenset(CORPUS.ids[:70]), "q1": frozenset(CORPUS.ids[:30]), "q2": frozenset(CORPUS.ids)}
SMALL = FixedEncoding(repetitions=2, k_sim=1, d_proj=2)
"""An encoding that loses much."""


@pytest.fixture(scope="module")
def encoder(bert):
    return load(bert, "colbert")


def built(encoder, corpus=CORPUS, **options):
    index = Muvera(encoder, **options)
    index.build(corpus)
    return index


def texts(*lengths, size=8, seed=0):
    values_TD = torch.randn(sum(lengths), size, generator=torch.Generator().manual_seed(seed))
    return Representation(torch.nn.functional.normalize(values_TD, dim=1), torch.tensor(lengths))


def defined(encoding, vectors, side):
    """The encoding of one text as the paper defines it, number by number."""
    whole = np.zeros(encoding.size(vectors.shape[1]))
    for repetition in range(encoding.repetitions):
        planes, projection, target, sign = (part.numpy() for part in encoding._division(repetition, vectors.shape[1]))
        bits = [tuple(int(vector @ plane > 0) for plane in planes.T) for vector in vectors]
        projected = [vector @ projection for vector in vectors]
        numbers = []
        for cell in range(2**encoding.k_sim):
            corner = tuple(cell >> plane & 1 for plane in range(encoding.k_sim))
            inside = [one for one, bit in zip(projected, bits, strict=True) if bit == corner]
            if side == "query":
                part = sum(inside, np.zeros(projection.shape[1]))
            elif inside:
                part = sum(inside) / len(inside)
            else:
                part = projected[np.argmin([sum(a != b for a, b in zip(bit, corner, strict=True)) for bit in bits])]
            numbers.extend(part)
        for number, place, factor in zip(numbers, target, sign, strict=True):
            whole[place] += number * factor
    return whole / encoding.repetitions**0.5


@pytest.mark.parametrize("side", ["query", "document"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k_sim": 0},
        {"k_sim": 1, "repetitions": 1},
        {"k_sim": 4, "d_proj": 3},
        {"k_sim": 3, "d_proj": 8, "seed": 0},
        {"k_sim": 2, "d_proj": 100},
        {"k_sim": 3, "d_proj": 4, "d_final": 17},
        {"k_sim": 3, "d_proj": 4, "d_final": 10**6},
    ],
)
def test_encodings_are_those_of_the_definition(side, options):
    encoding, given = FixedEncoding(**{"repetitions": 3, **options}), texts(5, 1, 12, 2)
    encodings_NF = encoding(given, side)
    assert encodings_NF.shape == (4, encoding.size(8))
    for row_F, vectors in zip(encodings_NF, torch.split(given.values_TD, given.lengths_N.tolist()), strict=True):
        np.testing.assert_allclose(row_F, defined(encoding, vectors.numpy(), side), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 2560),
        ({"k_sim": 5}, 10_240),
        ({"k_sim": 0}, 320),
        ({"d_proj": 1000}, 20 * 8 * 128),
        ({"d_final": 1280}, 1280),
        ({"d_final": 20_000}, 2560),
    ],
)
def test_the_size_of_an_encoding_follows_its_options(options, size):
    assert FixedEncoding(**options).size(128) == size


def test_an_encoding_of_whole_vectors_never_exceeds_maxsim():
    queries, documents = texts(4, 7, 1, seed=1), texts(9, 1, 30, 3, seed=2)
    exact = maxsim(queries, documents).numpy()
    losses = []
    for k_sim in (0, 2, 5, 9):
        encoding = FixedEncoding(k_sim=k_sim, d_proj=8)
        estimated = encoding(queries, "query") @ encoding(documents, "document").T
        assert (estimated <= exact + 1e-5).all()
        np.testing.assert_allclose(estimated[:, 1], exact[:, 1], atol=1e-5)  # one vector fills every cell
        losses.append((exact - estimated).mean())
    assert losses == sorted(losses, reverse=True)  # the finer the cells, the closer
    assert losses[-1] < losses[0] / 2


def test_the_sides_are_not_interchangeable():
    one, twice = texts(3, seed=3), texts(3, seed=3)
    twice = Representation(torch.cat([twice.values_TD, twice.values_TD]), twice.lengths_N * 2)
    encoding = FixedEncoding(k_sim=3)
    np.testing.assert_allclose(encoding(twice, "query"), 2 * encoding(one, "query"), atol=1e-6)
    np.testing.assert_allclose(encoding(twice, "document"), encoding(one, "document"), atol=1e-6)
    assert (encoding(one, "query") == 0).mean() > 0.5  # empty cells of a query stay empty
    assert (encoding(one, "document") != 0).all()


@pytest.mark.parametrize("options", [{"d_proj": 4}, {"d_proj": 8, "d_final": 64}])
def test_projections_lose_nothing_on_average(options):
    queries, documents = texts(6, 3, seed=4), texts(9, 20, seed=5)
    whole = FixedEncoding(repetitions=400, k_sim=2, d_proj=8, seed=1)
    encodings = [FixedEncoding(repetitions=400, k_sim=2, seed=1, **options)]
    if "d_final" in options:
        encodings = [FixedEncoding(repetitions=4, k_sim=2, seed=seed, **options) for seed in range(300)]
        whole = FixedEncoding(repetitions=1200, k_sim=2, d_proj=8, seed=1)
    products = [encoding(queries, "query") @ encoding(documents, "document").T for encoding in encodings]
    expected = whole(queries, "query") @ whole(documents, "document").T
    np.testing.assert_allclose(np.mean(products, axis=0), expected, atol=0.15)


def test_encodings_depend_on_the_seed_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    states, given = (torch.get_rng_state(), np.random.get_state()[1].copy()), texts(5, 3)
    encodings = FixedEncoding()(given, "document")
    assert np.array_equal(encodings, FixedEncoding()(given, "document"))
    assert not np.array_equal(encodings, FixedEncoding(seed=7)(given, "document"))
    np.testing.assert_allclose(encodings[1:], FixedEncoding()(given.split(1)[1], "document"), atol=1e-6)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("block", [4096, 7])
def test_with_every_document_a_candidate_it_is_exact_search(encoder, monkeypatch, kind, block):
    monkeypatch.setattr(encoder_module, "_SORTED_TOGETHER", block)
    index, exact = built(encoder, kind=kind, encoding=SMALL), Exact(encoder)
    exact.build(CORPUS)
    run, expected = (one.search(QUERIES, 60, exclude=EXCLUDED) for one in (index, exact))
    for query_id, ranking in expected.items():
        assert list(run[query_id].values()) == pytest.approx(list(ranking.values()), abs=2e-3)  # half precision
        assert len(run[query_id].keys() - ranking.keys()) < 3
        for doc_id in run[query_id].keys() & ranking.keys():
            assert run[query_id][doc_id] == pytest.approx(ranking[doc_id], abs=2e-3)
    assert index.measured["recall_at_10"] == 1


@pytest.mark.parametrize("options", [{}, {"kind": "hnsw", "neighbours": 2, "effort": 1}])
def test_rankings_are_complete_whatever_is_excluded(encoder, options):
    index = built(encoder, candidates=1, encoding=SMALL, **options)
    run = index.search(QUERIES, 60, exclude=EXCLUDED)
    assert [len(ranking) for ranking in run.values()] == [10, 50, 0, 60, 60, 60]
    assert not any(run[query_id].keys() & hidden for query_id, hidden in EXCLUDED.items())
    assert all(list(ranking.values()) == sorted(ranking.values(), reverse=True) for ranking in run.values())
    run = index.search(QUERIES, 3, exclude=EXCLUDED)
    assert [len(ranking) for ranking in run.values()] == [3, 3, 0, 3, 3, 3]


def test_the_candidates_are_those_of_the_largest_inner_products(encoder):
    index = built(encoder, candidates=5)
    documents = encoder.encode([Text(text) for text in CORPUS.texts], "document")
    queries = encoder.encode(list(QUERIES.values()), "query")
    products = index.encoding(queries, "query") @ index.encoding(documents, "document").T
    run = index.search(QUERIES, 5)
    for ranking, products_N in zip(run.values(), products, strict=True):
        assert set(ranking) == {CORPUS.ids[position] for position in np.argsort(-products_N)[:5]}


@pytest.mark.parametrize("pooling", [Pooling(), Pooling(2)])
def test_recall_is_measured_against_exact_search_of_all_vectors(encoder, pooling):
    index, exact = built(encoder, pooling=pooling, encoding=SMALL, candidates=12), Exact(encoder)
    exact.build(CORPUS)
    run, expected = index.search(QUERIES, 12), exact.search(QUERIES, 10)
    shares = [len(set(list(run[q])[:10]) & expected[q].keys()) / 10 for q in QUERIES]
    assert index.measured["recall_at_10"] == pytest.approx(sum(shares) / len(shares), abs=0.02)
    assert 0 < index.measured["recall_at_10"] < 0.9
    vectors = encoder.encode([Text(text) for text in CORPUS.texts], "document")
    assert index.measured["encoded_vectors"] == len(vectors.values_TD)
    assert index.measured["vectors"] == len(pooling(vectors).values_TD)


def test_documents_with_equal_texts_get_equal_scores(encoder):
    copied = Corpus([*CORPUS.ids, "copy", "again", "empty", "blank"], [*CORPUS.texts, *CORPUS.texts[3:5], "", ""])
    index = built(encoder, copied, candidates=4)
    run = index.search(QUERIES, 84, exclude={"q1": frozenset({"d3"}), "q2": frozenset({"d3", "copy"})})
    assert [len(ranking) for ranking in run.values()] == [84, 83, 82, 84, 84, 84]
    assert run["q0"]["d3"] == run["q0"]["copy"]
    assert "copy" in run["q1"]
    assert all(ranking["d4"] == ranking["again"] for ranking in run.values())
    assert all(ranking["empty"] == ranking["blank"] for ranking in run.values())


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("corpus", [Corpus(["a"], [""]), Corpus(["a"], ["copper"]), Corpus(["a", "b"], ["copper"] * 2)])
def test_one_text_is_enough(encoder, kind, corpus):
    run = built(encoder, corpus, kind=kind).search({**QUERIES, "q": Text("")}, 5, exclude={"q0": frozenset({"a"})})
    assert [set(ranking) for ranking in run.values()] == [set(corpus.ids) - {"a"}, *[set(corpus.ids)] * 6]


def test_builds_are_reproducible(encoder):
    options = {"candidates": 12, "kind": "hnsw"}
    one = built(encoder, encoding=SMALL, **options)
    assert built(encoder, encoding=SMALL, **options).search(QUERIES, 12) == one.search(QUERIES, 12)
    other = FixedEncoding(repetitions=2, k_sim=1, d_proj=2, seed=7)
    assert built(encoder, encoding=other, **options).search(QUERIES, 12) != one.search(QUERIES, 12)


def test_no_files_are_left(encoder, tmp_path):
    index = Muvera(encoder, folder=str(tmp_path), pooling=Pooling(2))
    for _ in range(2):
        index.build(CORPUS)
        gc.collect()
        assert len(list(tmp_path.iterdir())) == 1  # the first build's is gone
    del index
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda encoder: Muvera(encoder, kind="ivf"), r"kind=ivf: choose flat or hnsw"),
        (lambda encoder: Muvera(encoder, candidates=0), r"candidates=0: give 1 or more"),
        (lambda _: FixedEncoding(repetitions=0), r"repetitions=0: give 1 or more"),
        (lambda _: FixedEncoding(k_sim=13), r"k_sim=13: give 0 or more, at most 12"),
        (lambda _: FixedEncoding(d_final=0), r"d_final=0: give 1 or more, or null"),
        (
            lambda encoder: built(encoder, folder="/nowhere/at/all"),
            r"index\.folder=/nowhere/at/all: No such file or directory: choose a writable folder",
        ),
    ],
)
def test_other_options_are_refused(encoder, make, message):
    with pytest.raises(InputError, match=message):
        make(encoder)


def test_one_vector_per_text_is_refused(bert, composed):
    message = "index=muvera holds many vectors per text, but BiEncoder gives one: choose index=exact or index=faiss"
    with pytest.raises(InputError, match=message):
        Muvera(load(bert, "biencoder"))
    assert problems(composed("train", "model=tiny", "model/head=biencoder", "index=muvera")) == [message]


def test_a_model_is_evaluated_with_it(home):
    overrides = ("model=tiny", "eval=demo", "index=muvera", "index.encoding.k_sim=2", "index.candidates=10")
    overrides = (*overrides, "evaluation.top_k=10", "evaluation.baselines=[]")
    done = run("evaluate", *overrides, home=home)
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    assert document["protocol"]["index"] == {
        "name": "muvera",
        "pooling": {"pool_factor": 1, "kind": "hierarchical", "protected_tokens": 1, "seed": 42},
        "encoding": {"repetitions": 20, "k_sim": 2, "d_proj": 16, "d_final": None, "seed": 42},
        "kind": "flat",
        "neighbours": 32,
        "effort": 256,
        "candidates": 10,
        "folder": None,
        "tokens": 8192,
    }
    measured = document["measured"]["demo"]["untrained"]
    assert 0 < measured["recall_at_10"] < 1
    assert f"demo: of the exact first 10, index=muvera finds {measured['recall_at_10']:.1%}" in done.out
