from reasonir.data.demo import Demo, build_world
from reasonir.eval.demo import DemoBenchmark
from reasonir.eval.stats import ranking_metrics
from reasonir.eval.systems import check_task, random_system, search_system
from reasonir.index.bm25 import Bm25


def test_the_world_is_a_function_of_its_seed():
    assert build_world(3, 2) == build_world.__wrapped__(3, 2)
    assert build_world(3, 2).documents != build_world(4, 2).documents


def test_variants_change_neither_the_corpus_nor_the_test_part():
    one, two = build_world(0, 1), build_world(0, 2)
    assert list(one.documents) == list(two.documents)
    assert one.situations["test"] == two.situations["test"]
    assert len(two.situations["train"]) == 2 * len(one.situations["train"])


def test_parts_share_neither_principles_nor_situations():
    situations = build_world(0, 2).situations
    principles = {part: {situation.principle for situation in members} for part, members in situations.items()}
    assert not principles["train"] & principles["dev"]
    assert not principles["train"] & principles["test"]
    assert not principles["dev"] & principles["test"]
    assert {part: len(members) for part, members in situations.items()} == {"train": 560, "dev": 55, "test": 145}


def test_no_held_out_principle_is_seen_in_training():
    world = build_world(0, 2)
    hidden = {situation.principle for part in ("dev", "test") for situation in world.situations[part]}
    seen = {document.doc_id for example in Demo().examples() for document in example.documents}
    assert not hidden & seen


def test_no_situations_own_case_is_its_negative():
    for example, situation in zip(Demo().examples(), build_world(0, 2).situations["train"], strict=True):
        assert situation.case not in {document.doc_id for document in example.documents}
        assert [document.doc_id for document in example.positives] == [situation.principle]
        assert len(example.negatives) >= 5


def test_shared_words_mislead():
    (task,) = DemoBenchmark().tasks()
    check_task(task)
    assert 300 <= len(task.corpus) <= 600
    assert len(task.excluded) > 20
    scores = [
        ranking_metrics.mean(ranking_metrics.per_query(system(task), task.qrels))["ndcg_at_10"]
        for system in (search_system(Bm25(), depth=100), random_system(depth=100, seed=0))
    ]
    assert max(scores) < 0.05
