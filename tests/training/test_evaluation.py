"""Baselines that were found under other rules aren't taken over."""

from reasonir.eval.demo import Demo
from reasonir.index.bm25 import Bm25
from reasonir.training.evaluation import Evaluation, EvaluationOptions


def judged(folder, **options):
    tasks = list(Demo().tasks())
    bm25 = Bm25(**options)
    evaluation = Evaluation(tasks, EvaluationOptions(["bm25"], 100, bm25), lambda _: bm25, folder, {}, 0)
    evaluation.baselines(None)
    return evaluation.results


def test_bm25_is_searched_again_when_its_settings_change(tmp_path, caplog):
    first = judged(tmp_path)
    assert first.protocol["bm25"]["weigh_query"] is False
    with caplog.at_level("INFO"):
        judged(tmp_path)
    assert "The baselines are those of" in caplog.text
    again = judged(tmp_path, weigh_query=True, stemmer=None)
    fresh = judged(tmp_path / "fresh", weigh_query=True, stemmer=None)
    (task,) = first.values
    assert again.values == fresh.values
    assert again.values[task] != first.values[task]
