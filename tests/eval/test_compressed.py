"""Shortened and quantised vectors: rankings by hand, and the full vectors' metrics as any evaluation gives them."""

import pytest
import torch
from torch.nn.functional import normalize

from reasonir.eval.compressed import compressed, run_of
from reasonir.eval.results import Results
from reasonir.eval.stats.ranking_metrics import mean, per_query
from reasonir.eval.systems import evaluate_systems, search_system
from reasonir.index.exact import Exact
from reasonir.index.quantised import Ranking
from reasonir.types import Corpus, Task, Text
from tests.helpers import SENTENCES, load

FORMS = ["float32", "int8", "binary", "binary, rescored"]


def task_of(count=40, **options):
    texts = [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(count)]
    queries = {f"q{i}": Text(f"why {texts[i * 3]}") for i in range(10)}
    qrels = {f"q{i}": {f"d{i * 3}": 1, f"d{i * 3 + 1}": 2} for i in range(10)}
    return Task("small", queries, Corpus([f"d{i}" for i in range(count)], texts), qrels, **options)


@pytest.mark.parametrize(("head", "options"), [("biencoder", {"dimensions": [8, 32]}), ("gaussian", {})])
def test_full_vectors_have_the_metrics_of_any_evaluation(bert, head, options):
    encoder, task = load(bert, head, **options), task_of(excluded={"q1": frozenset({"d0", "d5"})})
    forms = compressed(encoder, [task])
    sizes = (64, 32, 8) if options else (64,)
    assert [(each.size, each.form) for each in forms] == [(size, form) for size in sizes for form in FORMS]
    assert [each.bytes for each in forms[:4]] == [256, 64, 8, 8]
    results = evaluate_systems([task], {"exact": search_system(Exact(encoder), depth=1000)}, Results())
    expected = mean(results.values["small"]["exact"])
    assert forms[0].metrics["ndcg_at_10"] == pytest.approx(expected["ndcg_at_10"], abs=1e-6)
    assert forms[0].metrics["recall_at_100"] == 1
    if options:
        documents = normalize(encoder.encode([Text(text) for text in task.corpus.texts], "document").values_TD[:, :8])
        queries = normalize(encoder.encode(list(task.queries.values()), "query").values_TD[:, :8])
        scores = (queries @ documents.T).tolist()
        run = {
            query: {
                doc: score
                for doc, score in zip(task.corpus.ids, row, strict=True)
                if doc not in task.excluded.get(query, ())
            }
            for query, row in zip(task.queries, scores, strict=True)
        }
        by_hand = mean(per_query(run, task.qrels))
        assert forms[8].metrics["ndcg_at_10"] == pytest.approx(by_hand["ndcg_at_10"], abs=1e-6)


def test_metrics_are_means_over_tasks_and_a_shared_corpus_is_encoded_once(bert, monkeypatch):
    encoder, task = load(bert, "biencoder"), task_of()
    other = Task("other", {"q": Text("bees")}, task.corpus, {"q": {"d7": 1}})
    one, two, both = (compressed(encoder, tasks) for tasks in ([task], [other], [task, other]))
    for first, second, mixed in zip(one, two, both, strict=True):
        expected = (first.metrics["ndcg_at_10"] + second.metrics["ndcg_at_10"]) / 2
        assert mixed.metrics["ndcg_at_10"] == pytest.approx(expected)
    sides, stream = [], encoder.stream
    monkeypatch.setattr(encoder, "stream", lambda texts, side: sides.append(side) or stream(texts, side))
    compressed(encoder, [task, other])
    assert sides == ["document", "query", "query"]


def test_a_ranking_leaves_out_excluded_documents_and_all_but_candidates():
    corpus = Corpus(["a", "b", "c"], ["x", "y", "z"])
    ranking = Ranking(torch.tensor([[3.0, 2.0, 1.0]] * 2).numpy(), torch.tensor([[2, 0, 1]] * 2).numpy())
    queries = {"q": Text("x"), "r": Text("y")}
    task = Task("t", queries, corpus, {}, excluded={"q": frozenset({"c"})}, candidates={"r": ["b", "c"]})
    assert run_of(task, ranking) == {"q": {"a": 2.0, "b": 1.0}, "r": {"c": 3.0, "b": 1.0}}
