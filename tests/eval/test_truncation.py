"""Truncation of texts and of pairs is counted in every result, and warned of."""

import json
import logging

from reasonir.eval.reranking import reranking
from reasonir.eval.results import Results
from reasonir.eval.systems import evaluate_systems
from reasonir.eval.truncation import Truncation
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.types import Corpus, Task, Text
from tests.helpers import load
from tests.running import run

WATER = "water " * 60


def task(name, queries):
    texts = {"short": "water", "long": WATER}
    asked = {f"q{number}": Text(text) for number, text in enumerate(queries)}
    given = {query: list(texts) for query in asked}
    return Task(
        name, asked, Corpus(list(texts), list(texts.values())), {q: {"long": 1} for q in asked}, candidates=given
    )


def test_truncation_of_pairs_and_their_queries_is_reported_per_task(bert, caplog):
    reader = CachingEncoder(load(bert, "cross_encoder", max_length=24))
    tasks = [task("short", ["water"]), task("long", ["water", WATER])]
    truncation = Truncation(reader)
    evaluate_systems(tasks, {"trained": truncation.counting(reranking(reader, None))}, Results())
    report = truncation.report(tasks)
    assert report["short"] == {
        "pairs": {"texts": 2, "cut": 0.5, "tokens": 5 + 24, "lost": 40},
        "queries": {"texts": 2, "cut": 0.0, "lost": 0},
    }
    assert report["long"]["queries"] == {"texts": 4, "cut": 0.5, "lost": 40 + 50}
    assert report["long"]["pairs"]["lost"] == 40 + 40 + 99
    with caplog.at_level(logging.WARNING):
        truncation.warn(report)
    assert "Queries were truncated in pairs of at most 24 tokens: long 50%" in caplog.text


def test_truncation_of_pairs_is_in_plan_results_and_warnings(home):
    given = ("experiment=demo_tiny", "model/head=cross_encoder", "loss=bce", "trainer.max_steps=1", "logger=csv")
    done = run("train", *given, "model.head.max_length=40", "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    plan = json.loads((done.folder / "plan.json").read_text())
    assert plan["queries_cut"] > 0.5
    assert "of the sampled pairs have a truncated query" in done.err
    protocol = json.loads((done.folder / "results.json").read_text())["protocol"]
    assert protocol["query_share"] == 0.5
    sides = protocol["truncation"]["demo"]
    assert sides["queries"]["cut"] > 0.5
    assert sides["pairs"]["lost"] > sides["queries"]["lost"] > 0
    assert "Queries were truncated in pairs of at most 40 tokens" in done.err
