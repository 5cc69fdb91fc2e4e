"""The bench runs as a user runs it, and refuses to time what doesn't compute the same."""

import json
from dataclasses import dataclass

import pytest

from reasonir.contender.ours import Ours
from reasonir.contender.race import Timed, _refuse_disagreement, _with_negatives, report
from reasonir.errors import InputError
from tests.commands import run

SMALL = ("model=tiny", "hardware=cpu", "batch_size=6", "repeats=2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "head", "group", "contenders"),
    [
        # PyLate scores masked tokens 0, which a random model's similarities are often below: real weights for it
        ("minilm", "colbert", "colbert", {"ours", "ours_recomputing", "pylate", "pylate_cached"}),
        (
            "tiny",
            "biencoder",
            "biencoder",
            {"ours", "ours_recomputing", "sentence_transformers", "sentence_transformers_cached"},
        ),
        ("tiny", "cross_encoder", "reranker", {"ours", "ours_recomputing", "sentence_transformers"}),
    ],
)
def test_all_contenders_compute_the_same_step(home, model, head, group, contenders):
    done = run("bench", *SMALL, f"model={model}", f"model/head={head}", f"contenders={group}", home=home)
    assert done.status == 0, done.err
    (workload,) = json.loads((done.folder / "bench.json").read_text())["workloads"].values()
    assert set(workload["contenders"]) == contenders
    ours = workload["contenders"]["ours"]
    for figures in workload["contenders"].values():
        assert figures["loss"] == pytest.approx(ours["loss"], rel=2e-3)
        assert figures["gradient_norm"] == pytest.approx(ours["gradient_norm"], rel=3e-2)
        assert len(figures["seconds"]) == 2
        assert figures["tokens_per_s"] == pytest.approx(workload["tokens"] / figures["step_s"])
    assert set(workload["ratios"]) == contenders - {"ours"}


def test_a_contender_that_cannot_train_the_head_is_named(home):
    done = run("bench", *SMALL, "model/head=biencoder", home=home)
    assert done.status == 2
    assert "contenders pylate, pylate_cached can't train a BiEncoder: set contenders=biencoder" in done.err


def test_a_head_that_no_contender_trains_is_named(home):
    done = run("bench", "model=tiny_reranker", *SMALL[1:], "contenders=reranker", home=home)
    assert done.status == 2
    assert "sentence_transformers can't train a YesNo: none can, set another model/head" in done.err


def test_rerankers_without_negatives_get_the_next_querys_positive():
    assert _with_negatives([["q1", "q2", "q3"], ["a", "b", "c"]])[2] == ["b", "c", "a"]
    given = [["q1", "q2"], ["a", "b"], ["n1", "n2"]]
    assert _with_negatives(given) == given


@dataclass(frozen=True)
class Broken(Ours):
    """Fails while loading, as a peer that isn't installed does."""

    def load(self, workload):
        raise ImportError("no such package")


def test_no_steps_are_refused(home):
    done = run("bench", *SMALL, "repeats=0", home=home)
    assert done.status == 2
    assert "repeats=0: give 1 or more" in done.err


def test_a_contender_that_fails_is_named(home):
    given = ["+contenders.broken={_target_: tests.contender.test_race.Broken}"]
    given += [f"~contenders.{name}" for name in ("ours", "ours_recomputing", "pylate", "pylate_cached")]
    done = run("bench", *SMALL, *given, home=home)
    assert done.status == 2
    assert "contender broken failed: ImportError: no such package" in done.err


@pytest.mark.parametrize(
    "other",
    [
        Timed(1.1, 2.0, (1.0,), 0.1),
        Timed(1.0, 2.2, (1.0,), 0.1),
        Timed(float("nan"), 2.0, (1.0,), 0.1),
        Timed(1.0, float("nan"), (1.0,), 0.1),
    ],
)
def test_no_time_counts_where_the_computation_differs(other):
    with pytest.raises(InputError, match="ours and other don't compute the same"):
        _refuse_disagreement({"ours": Timed(1.0, 2.0, (1.0,), 0.1), "other": other})


def test_ratios_are_ours_over_the_peers_median():
    timed = {"ours": Timed(1.0, 2.0, (1.0, 2.0, 9.0), 0.5), "other": Timed(1.0, 2.0, (4.0, 4.0, 1.0), 1.0)}
    found = report("w", timed, 100)["workloads"]["w"]
    assert found["contenders"]["ours"]["step_s"] == 2.0
    assert found["contenders"]["other"]["tokens_per_s"] == 25.0
    assert found["ratios"] == {"other": {"step_s": 0.5, "peak_bytes": 0.5}}
