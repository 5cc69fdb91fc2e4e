"""Pipelines from Python and from a command, and the metrics of their contexts."""

import csv
import json
from dataclasses import dataclass, replace

import pytest
import torch

from reasonir.errors import InputError
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.pipeline import PipelineBenchmark, _stages_table
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.eval.systems import search_system
from reasonir.index.bm25 import Bm25
from reasonir.index.exact import Exact
from reasonir.inference.pipeline import Pipeline, Stages
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.inference.search_engine import Bm25Search
from reasonir.model.export import export
from reasonir.types import Corpus, Task, Text
from tests.helpers import load
from tests.rows import rows
from tests.running import run


def capitalised(row):
    """Return the row with sentences that a splitter separates."""
    texts = [
        " ".join(text[start:end].capitalize() for start, end in spans)
        for text, spans in zip(row["texts"], row["context_spans"], strict=True)
    ]
    return {**row, "texts": texts}


ROWS = [capitalised(row) for row in rows(8)]
DOCUMENTS = {f"{row['id']}.{n}": text for row in ROWS for n, text in enumerate(row["texts"])}
TASK = Task(
    "rows",
    {row["id"]: Text(row["query"]) for row in ROWS},
    Corpus(list(DOCUMENTS), list(DOCUMENTS.values())),
    {row["id"]: {f"{row['id']}.0": 1} for row in ROWS},
)


@dataclass(frozen=True, slots=True)
class Rows(Benchmark):
    """The rows' texts as one collection."""

    def tasks(self, *, corpus=True):
        yield TASK


@pytest.fixture(scope="module")
def exports(bert, tmp_path_factory):
    """A reranker and a pruner with weights large enough for distinct scores."""
    folder = tmp_path_factory.mktemp("stages")
    for head in ("cross_encoder", "provence"):
        encoder = load(bert, head)
        torch.manual_seed(4)
        with torch.no_grad():
            encoder.head.classifier.classifier.weight.normal_(std=3.0)
            if head == "provence":
                encoder.head.keep.weight.normal_(std=0.3)
        export(encoder, folder / head)
    return {head: str(folder / head) for head in ("cross_encoder", "provence")}


@pytest.fixture
def evidence(tmp_path):
    """The rows as a file."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    return str(file)


def system_of(encoder, name="untrained"):
    index = Bm25() if encoder is None or encoder.head.kind != "retriever" else Exact(encoder)
    rank = search_system(index, depth=20)
    return EvaluatedSystem(name, {"rows": rank(TASK)}, rank, encoder)


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_every_row_agrees_with_the_pipelines_output(bert, exports, evidence, tmp_path, weight):
    retriever = load(bert, "biencoder").eval()
    stages = Stages(exports["cross_encoder"], exports["provence"], 0.3, reranker_weight=weight)
    benchmark = PipelineBenchmark(Rows(), stages, depths=(3, 8), context=8, evidence=evidence, timed=2)
    found = benchmark.analyse(system_of(retriever), tmp_path)["rows"].figures
    pipeline = Pipeline(
        Retriever(retriever), Reranker.load(exports["cross_encoder"]), Pruner.load(exports["provence"], threshold=0.3)
    )
    pipeline.add_documents(list(DOCUMENTS.values()), list(DOCUMENTS))
    count = pipeline.pruner.encoder.head.tokenizer.offsets
    for depth in (3, 8):
        live = Pipeline(pipeline.retriever, pipeline.reranker, pipeline.pruner, depth, weight)
        answers = {row["id"]: live.search(row["query"], 10).passages for row in ROWS}
        ranked = {name: {p.id: -float(n) for n, p in enumerate(given)} for name, given in answers.items()}
        values = per_query(ranked, TASK.qrels)
        assert found[f"ndcg_at_10_reranked_{depth}"] == pytest.approx(
            sum(each["ndcg_at_10"] for each in values.values()) / len(ROWS)
        )
        kept = [" ".join(p.kept for p in given[:8]) for given in answers.values()]
        assert found[f"tokens_pruned_{depth}"] == pytest.approx(
            sum(len(count(Text(p.kept))) for given in answers.values() for p in given[:8]) / len(ROWS)
        )
        helpful = [row["texts"][0][slice(*row["context_spans"][0][1])] for row in ROWS]
        hits = [sentence in text for sentence, text in zip(helpful, kept, strict=True)]
        whole = [
            any(sentence in p.text for p in given[:8])
            for sentence, given in zip(helpful, answers.values(), strict=True)
        ]
        assert found[f"answered_pruned_{depth}"] == pytest.approx(sum(hits) / len(ROWS))
        assert found[f"answered_reranked_{depth}"] == pytest.approx(sum(whole) / len(ROWS))
        assert found[f"kept_pruned_{depth}"] == pytest.approx(sum(hits) / sum(whole))
        assert found[f"tokens_pruned_{depth}"] < found[f"tokens_reranked_{depth}"]
        assert found[f"milliseconds_reranked_{depth}"] > 0
    assert 0 < found["answered_pruned_8"] < found["answered_reranked_8"]
    with (tmp_path / "pipeline_rows.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [(row["system"], row["stage"], row["candidates"]) for row in table] == [
        ("untrained", stage, depth)
        for stage, depth in (("retrieved", "0"), ("reranked", "3"), ("reranked", "8"), ("pruned", "3"), ("pruned", "8"))
    ]
    assert (tmp_path / "pipeline_rows.png").stat().st_size > 0


@pytest.mark.parametrize("kind", ["biencoder", "cross_encoder"])
def test_development_queries_choose_the_rerankers_weight(bert, exports, tmp_path, kind):
    evaluated = load(bert, kind).eval()
    stages = Stages(exports["cross_encoder"] if kind == "biencoder" else None, reranker_weight=None)
    benchmark = PipelineBenchmark(Rows(), stages, depths=(4, 8), timed=0)
    development = replace(TASK, name="dev", queries=dict(list(TASK.queries.items())[::2]))
    development = replace(development, qrels={name: TASK.qrels[name] for name in development.queries})
    system = replace(system_of(evaluated), development=development)

    class OnDevelopment(Rows):
        def tasks(self, *, corpus=True):
            yield development

    found = dict(benchmark.analyse(system, tmp_path)["rows"].figures)
    chosen = found.pop("reranker_weight")
    quality = {}
    for weight in (0.0, 0.3, 0.6, 1.0, chosen):
        fixed = PipelineBenchmark(OnDevelopment(), replace(stages, reranker_weight=weight), depths=(4, 8), timed=0)
        on_dev = replace(system, runs={"dev": system.rank(development)})
        quality[weight] = fixed.analyse(on_dev, tmp_path)["dev"].figures["ndcg_at_10_reranked_8"]
    assert quality[chosen] == max(quality.values())
    same = PipelineBenchmark(Rows(), replace(stages, reranker_weight=chosen), depths=(4, 8), timed=0)
    assert same.analyse(system, tmp_path)["rows"].figures == found
    assert next(benchmark.tasks()).protocol["reranker weight"] == "chosen on development queries"
    with pytest.raises(InputError, match=r"eval\.stages\.reranker_weight=null is chosen on development queries"):
        benchmark.analyse(system_of(evaluated), tmp_path)


def test_the_tasks_own_questions_are_timed(exports, tmp_path, monkeypatch):
    asked = []
    search = Pipeline.search
    monkeypatch.setattr(
        Pipeline, "search", lambda self, query, top_k: asked.append(query) or search(self, query, top_k)
    )
    PipelineBenchmark(Rows(), Stages(exports["cross_encoder"]), depths=(2, 4), timed=3).analyse(
        system_of(None, "bm25"), tmp_path
    )
    assert asked == [
        ROWS[0]["query"],
        *(ROWS[number]["query"] for number in (0, 2, 5)),
        *(ROWS[number]["query"] for number in (0, 2, 5)),
    ]


def test_a_value_of_zero_is_shown():
    rows = [{"stage": "retrieved", "candidates": 0, "kept": None}, {"stage": "pruned", "candidates": 5, "kept": 0.0}]
    table = _stages_table("rows", "bm25", rows)
    assert list(table.columns) == ["stage", "candidates", "kept"]
    assert table.cells() == [["retrieved", "", ""], ["pruned", "5", "0.0000"]]


def test_systems_share_a_table_and_no_pair_is_scored_twice(bert, exports, tmp_path, monkeypatch):
    read = []
    score = Reranker.score
    monkeypatch.setattr(Reranker, "score", lambda self, query, texts: read.extend(texts) or score(self, query, texts))
    benchmark = PipelineBenchmark(Rows(), Stages(exports["cross_encoder"]), depths=(4,), timed=0)
    assert benchmark.analyse(system_of(None, "random"), tmp_path) == {}
    benchmark.analyse(system_of(None, "bm25"), tmp_path)
    first = len(read)
    assert 0 < first <= 4 * len(ROWS)
    benchmark.analyse(system_of(None, "bm25"), tmp_path)
    assert len(read) == first
    benchmark.analyse(system_of(load(bert, "biencoder").eval()), tmp_path)
    assert first < len(read) <= 2 * first
    with (tmp_path / "pipeline_rows.csv").open(newline="") as stream:
        assert [row["system"] for row in csv.DictReader(stream)] == ["bm25", "bm25", "untrained", "untrained"]


def test_an_evaluated_pruner_reranks_and_prunes_bm25_candidates(exports, tmp_path, monkeypatch):
    calls = []
    prune = Pruner.prune
    monkeypatch.setattr(Pruner, "prune", lambda *args, **kwargs: calls.append(len(args[2])) or prune(*args, **kwargs))
    encoder = Pruner.load(exports["provence"]).encoder
    benchmark = PipelineBenchmark(Rows(), Stages(threshold=0.5), depths=(5,), context=3, timed=0)
    found = benchmark.analyse(system_of(encoder), tmp_path)["rows"].figures
    words = Bm25Search()
    words.add_documents(list(DOCUMENTS.values()), list(DOCUMENTS))
    pipeline = Pipeline(words, pruner := Pruner(encoder, 0.5), pruner, 5)
    assert sum(calls) <= 5 * len(ROWS)  # once for both
    answers = {row["id"]: pipeline.search(row["query"], 10).passages for row in ROWS}
    ranked = {name: {p.id: -float(n) for n, p in enumerate(given)} for name, given in answers.items()}
    values = per_query(ranked, TASK.qrels)
    assert found["ndcg_at_10_reranked_5"] == pytest.approx(
        sum(each["ndcg_at_10"] for each in values.values()) / len(ROWS)
    )
    assert benchmark.analyse(system_of(None, "bm25"), tmp_path) == {}  # no other stage


def test_the_rerankers_scores_are_interpolated_with_the_retrievers(bert, exports):
    pipeline = Pipeline(
        Retriever(load(bert, "biencoder").eval()), Reranker.load(exports["cross_encoder"]), candidates=3
    )
    pipeline.add_documents(list(DOCUMENTS.values()), list(DOCUMENTS))
    query = ROWS[0]["query"]
    hits = pipeline.retriever.retrieve(query, 5)
    scores = pipeline.reranker.score(query, [hit.text for hit in hits[:3]])
    low, high = min(scores), max(scores)
    least, most = (pick(hit.score for hit in hits[:3]) for pick in (min, max))
    expected = {
        hit.id: 0.6 * (score - low) / (high - low) + 0.4 * (hit.score - least) / (most - least)
        for hit, score in zip(hits, scores, strict=False)
    }
    passages = replace(pipeline, reranker_weight=0.6).search(query, 5).passages
    assert {p.id: p.score for p in passages[:3]} == pytest.approx(expected)
    assert [p.id for p in passages[:3]] == sorted(expected, key=expected.__getitem__, reverse=True)
    assert [p.id for p in passages[3:]] == [hit.id for hit in hits[3:]]
    assert Stages(reranker_weight=0.6).stamp()["reranker weight"] == "0.6"
    assert [p.id for p in replace(pipeline, reranker_weight=0.0).search(query, 5).passages] == [hit.id for hit in hits]


def test_a_pipeline_is_its_stages_one_after_the_other(bert, exports, tmp_path):
    export(load(bert, "biencoder"), tmp_path / "retriever")
    pipeline = Pipeline.load(
        str(tmp_path / "retriever"),
        reranker=exports["provence"],
        pruner=exports["provence"],
        threshold=0.5,
        candidates=6,
    )
    assert pipeline.reranker is pipeline.pruner
    pipeline.add_documents(list(DOCUMENTS.values()), list(DOCUMENTS))
    query = ROWS[0]["query"]
    hits = pipeline.retriever.retrieve(query, 6)
    expected = pipeline.pruner.prune(query, [hit.text for hit in hits], reorder=True)
    passages, seconds = pipeline.search(query, 8)
    assert [p.id for p in passages[:6]] == [hits[pruned.position].id for pruned in expected]
    assert [p.kept for p in passages[:6]] == [pruned.text for pruned in expected]
    assert [p.score for p in passages[:6]] == pytest.approx([pruned.score for pruned in expected], abs=1e-6)
    assert [p.id for p in passages[6:]] == [hit.id for hit in pipeline.retriever.retrieve(query, 8)[6:]]
    assert set(seconds) == {"retrieve", "rerank", "prune"}
    assert [p.kept == p.text for p in Pipeline(pipeline.retriever).search(query, 3).passages] == [True] * 3


def test_bm25_search_finds_documents_added_at_any_time():
    words = Bm25Search()
    assert words.retrieve("rain") == []
    words.add_documents(["Bees dance.", "It rains."])
    assert [hit.id for hit in words.retrieve("why does it rain")] == ["1"]
    words.add_documents(["More rain fell."], ["late"])
    assert {hit.id for hit in words.retrieve("rain")} == {"1", "late"}


def test_impossible_pipelines_are_refused(bert, exports, tmp_path, evidence):
    for wrong, why in (
        ({"depths": ()}, r"depths=\[\]: give 1 or more values"),
        ({"depths": (5, 3)}, r"depths=\[5, 3\]: give .*the smallest first"),
        ({"context": 0}, "context=0: give 1 or more"),
        ({"timed": -1}, "timed=-1: give 0 or more"),
    ):
        with pytest.raises(InputError, match=why):
            PipelineBenchmark(Rows(), Stages(), **wrong)
    with pytest.raises(InputError, match=r"pruner=.* holds a reranker"):
        Stages(pruner=exports["cross_encoder"]).open(None)
    with pytest.raises(InputError, match="holds a reranker: give a retriever"):
        Pipeline.load(exports["cross_encoder"])
    with pytest.raises(InputError, match="threshold=1"):
        Stages(threshold=1.0)
    with pytest.raises(InputError, match="candidates=0"):
        Pipeline(candidates=0)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({**ROWS[0], "query": "who asks this"}))
    with pytest.raises(InputError, match="answers none of the 8 questions"):
        PipelineBenchmark(Rows(), Stages(exports["cross_encoder"]), evidence=str(other), timed=0).analyse(
            system_of(None, "bm25"), tmp_path
        )


def test_the_command_evaluates_the_whole_pipeline(exports, tmp_path, home):
    done = run(
        "evaluate", "model=tiny", "eval=pipeline", "eval@eval.collection=demo", "eval.depths=[5]", "eval.timed=2",
        f"eval.stages.reranker={exports['cross_encoder']}", f"eval.stages.pruner={exports['provence']}", "logger=csv",
        home=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    (systems,) = document["results"].values()
    for system in ("bm25", "untrained"):
        assert {"ndcg_at_10_reranked_5", "tokens_pruned_5", "milliseconds_retrieved"} <= systems[system].keys()
    assert (done.folder / "analysis" / "pipeline_demo.csv").is_file()
