"""Mining with a retriever: pair scores are the head's own, and another checkpoint gives another set."""

import shutil
from functools import partial

import pytest
import torch

from reasonir.data.demo import Demo
from reasonir.data.prepared import example_of, prepare, read
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.index.exact import Exact
from reasonir.index.faiss import Faiss
from reasonir.mining.model import Neural
from reasonir.mining.negatives import HardNegatives
from reasonir.model.backbone import Model
from reasonir.types import Corpus, Text
from tests.helpers import HEADS, SENTENCES

CPU = Hardware("cpu", accelerator="cpu")
CORPUS = Corpus([f"d{i}" for i in range(12)], SENTENCES)


def neural(folder, head="biencoder", index=Exact, **options):
    return Neural(Model(path=str(folder), head=partial(HEADS[head].load, **options)), partial(index), CPU)


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
def test_pairs_are_scored_as_the_head_scores_them(bert, head):
    ranker = neural(bert, head).open(CORPUS)
    queries = {f"q{i}": Text(f"why {text}", "find the reason") for i, text in enumerate(SENTENCES[:4])}
    with torch.no_grad():
        scores_QN = ranker.encoder.head.score(
            ranker.encoder.encode(list(queries.values()), "query"),
            ranker.encoder.encode([Text(text) for text in SENTENCES], "document"),
        )
    asked = {"q2": ["d11", "d0"], "q0": ["d5"]}
    found = ranker.score(queries, asked)
    assert {query_id: list(scores) for query_id, scores in found.items()} == asked
    assert found["q2"] == pytest.approx({"d11": float(scores_QN[2, 11]), "d0": float(scores_QN[2, 0])}, abs=1e-5)
    assert found["q0"]["d5"] == pytest.approx(float(scores_QN[0, 5]), abs=1e-5)
    assert found["q0"]["d5"] == pytest.approx(ranker.search(queries, 12)["q0"]["d5"], abs=1e-5)
    assert ranker.score(queries, {}) == {}


def test_the_identity_depends_on_the_weights_not_on_their_path(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    copied, changed = tmp_path / "copied", tmp_path / "changed"
    shutil.copytree(bert, copied)
    shutil.copytree(bert, changed)
    weights = load_file(changed / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    identity = neural(bert).identity()
    assert neural(copied).identity() == identity
    for other in (neural(changed), neural(bert, "colbert"), neural(bert, pooling="cls"), neural(bert, index=Faiss)):
        assert other.identity() != identity


def test_exact_and_flat_search_mine_the_same(bert, tmp_path):
    own = prepare(Demo(variants=1), tmp_path)
    mined = []
    for index in (Exact, partial(Faiss, kind="flat")):
        searcher = neural(bert, index=index)
        stage = HardNegatives(searcher, absolute_margin=0.0, range_min=0, range_max=300, sampling="first", block=200)
        mined.append([example_of(row).negatives for row in read(stage.add_negatives(own, Demo(variants=1), tmp_path))])
    same = sum(first == second for first, second in zip(*mined, strict=True))
    assert same > 0.98 * len(mined[0])  # ties to the last digit may fall either way


def test_no_model_is_named():
    with pytest.raises(InputError, match=r"mining=model has no model .*run=outputs"):
        Neural(None, partial(Exact), CPU).identity()
