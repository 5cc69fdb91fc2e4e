"""Tasks of mteb on miniatures of their data in a hub cache: its scores of its own search are ours of our rankings."""

import hashlib
import json
import logging
import random
import re
import sys
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from reasonir.cli.check import problems
from reasonir.cli.configuration import build
from reasonir.errors import InputError, NotHereError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.evaluator import read_benchmark
from reasonir.eval.results import Results, read_results
from reasonir.eval.systems import evaluate_systems, open_candidates
from reasonir.eval.trec import write_run
from reasonir.types import Text
from tests.running import run

mteb = pytest.importorskip("mteb")
WORDS = ("salt", "ice", "rivers", "glass", "copper", "bees", "wind", "clay")
COUNT = 24


def text_of(n):
    return f"{WORDS[n % 8]} and {WORDS[n * 3 % 7]} near {WORDS[n * 5 % 6]} {n % 5}"


def written(
    folder, name, *, subset="default", split="test", own=False, candidates=False, instructions=False, turns=False
):
    """A subset of a repository in mteb's layout; `own` queries have documents' ids."""
    prefix = "" if subset == "default" else f"{subset}-"
    query = "d{}" if own else "q{}"
    ids = [query.format(n) for n in range(8)]
    said = [f"what of {text_of(n + 11)}?" for n in range(8)]
    documents = [{"_id": f"d{n}", "title": "" if n % 2 else f"{name} {n}", "text": text_of(n)} for n in range(COUNT)]
    qrels = [
        {"query-id": ids[n], "corpus-id": f"d{(n + 1 + step * 8) % COUNT}", "score": 1 + step}
        for n in range(7)
        for step in range(2)
    ]
    qrels += [
        {"query-id": ids[7], "corpus-id": "d3", "score": 0},  # no relevant document
        {"query-id": ids[0], "corpus-id": "gone", "score": 1},
        {"query-id": ids[1], "corpus-id": "d1", "score": 1},  # with the query's id, if it is `own`
    ]
    turned = [["user", *text.split()] for text in said]
    parts = {
        "corpus": documents,
        "queries": [{"_id": i, "text": text} for i, text in zip(ids, turned if turns else said, strict=True)],
        "qrels": qrels,
    }
    if candidates:
        parts["top_ranked"] = [
            {"query-id": i, "corpus-ids": [f"d{(n * 2 + step) % COUNT}" for step in range(9)]}
            for n, i in enumerate(ids)
        ]
    if instructions:
        parts["instruction"] = [{"query-id": i, "instruction": f"only of {WORDS[n]}"} for n, i in enumerate(ids)]
    readme = folder / "README.md"
    configs = yaml.safe_load(readme.read_text().strip("-\n"))["configs"] if readme.exists() else []
    for part, rows in parts.items():
        config = "default" if (part, prefix) == ("qrels", "") else f"{prefix}{part}"
        file = folder / config / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
        configs.append({"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"}]})
    readme.write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return folder


@pytest.fixture
def stored(tmp_path, hub, monkeypatch):
    """Puts a miniature of a task's data into the hub cache, at the revision that mteb names."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))

    def put(task, *, subsets=("default",), **layout):
        metadata = mteb.get_task(task).metadata
        folder = tmp_path / task
        for subset in subsets:
            written(folder, task, subset=subset, split=metadata.eval_splits[0], **layout)
        path, revision = metadata.dataset["path"], metadata.dataset["revision"]
        commit = revision.ljust(40, "0")
        hub(folder, path, "dataset", commit)
        (tmp_path / f"hub/datasets--{path.replace('/', '--')}/refs/{revision}").write_text(commit)

    return put


@cache
def vector(text):
    """A vector by its words, so that texts that differ in a word have other scores."""
    drawn = [
        np.random.default_rng(int(hashlib.md5(word.encode()).hexdigest()[:8], 16)).normal(size=32)
        for word in re.findall(r"\w+", text)
    ]
    total = np.sum(drawn, axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


class Words:
    """The vectors as an encoder of mteb, searched by mteb."""

    def __init__(self, *_, **__):
        self.mteb_model_meta = mteb.models.ModelMeta.create_empty({"name": "a/words", "revision": "1"})

    def encode(self, inputs, **_):
        return np.stack([vector(text) for batch in inputs for text in batch["text"]])

    def similarity(self, a, b):
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a, b):
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)


def words(task):
    """The same vectors as a system of ours."""
    candidates = open_candidates(task) if task.candidates else {}
    vectors = dict(zip(task.corpus.ids, map(vector, task.corpus.texts), strict=True))
    run = {}
    for query_id, text in task.queries.items():
        allowed = candidates.get(query_id, [i for i in vectors if i not in task.excluded.get(query_id, ())])
        run[query_id] = {doc: float(vectors[doc] @ vector(text.text)) for doc in allowed}
    return run


def benchmark(composed, *overrides):
    config = composed("evaluate", "run=x", "eval=mteb", *overrides)
    assert problems(config) == []
    return build(config.eval)


def judged(chosen, folder, name="trained"):
    """Our results of the vectors, with mteb's scores of our rankings."""
    results = Results({"headline": chosen.headline}, chosen.groups)
    tasks = read_benchmark(chosen)
    evaluate_systems(tasks, {name: words}, results)
    runs = {task.name: results.runs[task.name][name] for task in tasks}
    analyses = chosen.analyse(EvaluatedSystem(name, runs, words, None), folder / "analysis")
    results.analyses = {task: {name: analysis} for task, analysis in analyses.items()}
    return results


def own_scores(chosen):
    """mteb's scores of its own search with the vectors, by task, subset and split."""
    tasks = {part.task.metadata.name: part.task for part in chosen._parts.values()}
    found = mteb.evaluate(Words(), list(tasks.values()), cache=None, co2_tracker=False, show_progress_bar=False)
    return {
        (result.task_name, score["hf_subset"], split): score
        for result in found.task_results
        for split, scores in result.scores.items()
        for score in scores
    }


@pytest.mark.parametrize(
    ("task", "layout", "metric"),
    [
        ("SciFact", {}, "ndcg_at_10"),
        ("ArguAna", {"own": True}, "ndcg_at_10"),
        ("AskUbuntuDupQuestions", {"candidates": True}, "map"),
        ("IFIRNFCorpus", {"instructions": True}, "ndcg_at_20"),
        ("SciFact", {"turns": True}, "ndcg_at_10"),
    ],
)
def test_mteb_and_we_agree_on_every_metric_of_the_same_vectors(tmp_path, stored, composed, task, layout, metric):
    stored(task, **layout)
    chosen = benchmark(composed, f"eval.tasks=[{task}]")
    ours = judged(chosen, tmp_path).figures()[task]["trained"]
    (theirs,) = own_scores(chosen).values()
    assert chosen.headline == metric
    assert 0.05 < ours[metric] < 0.95
    assert ours[metric] == pytest.approx(theirs["main_score"], abs=1e-4)
    assert ours[f"mteb_{theirs_name(task)}"] == pytest.approx(theirs["main_score"], abs=1e-4)
    for name in ("ndcg_at_1", "ndcg_at_10", "recall_at_5", "recall_at_100", "precision_at_10", "mrr_at_10"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


def theirs_name(task):
    return mteb.get_task(task).metadata.main_score


def test_a_task_says_what_was_evaluated(stored, composed):
    stored("SciFact")
    (task,) = benchmark(composed, "eval.tasks=[SciFact]").tasks()
    assert task.corpus.texts[:2] == [f"SciFact 0 {text_of(0)}", text_of(1)]
    assert task.queries["q0"].instruction.startswith("Given a scientific claim, retrieve documents")
    assert task.protocol == {
        "benchmark": f"mteb {mteb.__version__}",
        "task": "SciFact",
        "type": "Retrieval",
        "subset": "default",
        "split": "test",
        "collection": "mteb/scifact",
        "revision": "d56462d0e63a25450459c4f213e49ffdb866f7f9",
        "licence": "cc-by-nc-4.0",
        "main score": "ndcg_at_10",
        "instruction": task.queries["q0"].instruction,
        "documents": "24",
        "documents with a query's id": "ranked",
    }
    (plain,) = benchmark(composed, "eval.tasks=[SciFact]", "eval.instructions=false").tasks()
    assert plain.queries["q0"] == Text(task.queries["q0"].text)


def test_subsets_are_tasks_with_their_mean(tmp_path, stored, composed):
    stored("MintakaRetrieval", subsets=("de", "fr"))
    chosen = benchmark(composed, "eval.tasks=[MintakaRetrieval]", "eval.subsets=[de,fr]")
    results = judged(chosen, tmp_path)
    assert list(results.values) == ["MintakaRetrieval-de", "MintakaRetrieval-fr"]
    figures = results.figures()
    mean = np.mean([each["main_score"] for each in own_scores(chosen).values()])
    assert figures["MintakaRetrieval"]["trained"]["ndcg_at_10"] == pytest.approx(mean, abs=1e-4)
    (file,) = (tmp_path / "analysis/mteb/results/reasonir__trained/no_revision_available").glob("Mintaka*.json")
    assert {each["hf_subset"] for each in json.loads(file.read_text())["scores"]["test"]} == {"de", "fr"}


def test_an_aggregate_is_its_tasks_with_mtebs_own_file(tmp_path, stored, composed):
    leaves = [task.metadata.name for task in mteb.get_task("CQADupstackRetrieval").metadata.tasks]
    for leaf in leaves:
        stored(leaf)
    stored("SciFact")
    chosen = benchmark(composed, "eval.tasks=[CQADupstackRetrieval,SciFact]")
    results = judged(chosen, tmp_path)
    assert list(results.values) == [*leaves, "SciFact"]
    assert chosen.groups == {"CQADupstackRetrieval": leaves, "mteb": [*leaves, "SciFact"]}
    files = tmp_path / "analysis/mteb/results/reasonir__trained/no_revision_available"
    score = mteb.TaskResult.from_disk(files / "CQADupstackRetrieval.json").main_score
    assert score == pytest.approx(results.figures()["CQADupstackRetrieval"]["trained"]["ndcg_at_10"], abs=1e-4)


def test_a_main_score_that_is_not_ours_stands_beside_our_headline(tmp_path, stored, composed):
    stored("InstructIR", instructions=True)
    chosen = benchmark(composed, "eval.tasks=[InstructIR]")
    ours = judged(chosen, tmp_path).figures()["InstructIR"]["trained"]
    (theirs,) = own_scores(chosen).values()
    assert chosen.headline == "ndcg_at_10"
    assert ours["mteb_robustness_at_10"] == pytest.approx(theirs["robustness_at_10"], abs=1e-4)


def test_a_model_is_described_and_filed_by_its_weights(stored, home):
    stored("SciFact")
    done = run(
        *("evaluate", "model=tiny", "hardware=cpu", "eval=mteb", "eval.tasks=[SciFact]", "logger=csv"),
        "evaluation.baselines=[bm25]",
        home=home,
    )
    assert done.status == 0, done.err
    figures = read_results(done.folder)["results"]["SciFact"]
    for system in ("bm25", "untrained"):
        assert figures[system]["mteb_ndcg_at_10"] == pytest.approx(figures[system]["ndcg_at_10"], abs=1e-4)
    (file,) = (done.folder / "analysis/mteb/results/reasonir__untrained").rglob("model_meta.json")
    meta = json.loads(file.read_text())
    assert meta["revision"] == file.parent.name
    assert meta["model_type"] == ["late-interaction"]
    assert meta["n_parameters"] > 1000


def test_a_models_folder_is_what_mteb_reads(tmp_path, stored, composed):
    stored("SciFact")
    judged(benchmark(composed, "eval.tasks=[SciFact]", "eval.submit_as=me/mine@abc"), tmp_path)
    folder = tmp_path / "analysis/mteb/results/me__mine/abc"
    assert {"SciFact.json", "model_meta.json"} <= {file.name for file in folder.iterdir()}
    (found,) = mteb.ResultCache(tmp_path / "analysis/mteb").load_results().model_results
    assert (found.model_name, found.model_revision) == ("me/mine", "abc")
    assert found.task_results[0].dataset_revision == "d56462d0e63a25450459c4f213e49ffdb866f7f9"


def test_baselines_are_never_filed_under_the_models_name(tmp_path, stored, composed):
    stored("SciFact")
    judged(benchmark(composed, "eval.tasks=[SciFact]", "eval.submit_as=me/mine@abc"), tmp_path, name="bm25")
    assert [folder.name for folder in (tmp_path / "analysis/mteb/results").iterdir()] == ["reasonir__bm25"]


def test_a_score_that_differs_is_warned_of(tmp_path, stored, composed, monkeypatch, caplog):
    stored("SciFact")
    chosen = benchmark(composed, "eval.tasks=[SciFact]")
    monkeypatch.setattr(type(mteb.get_task("SciFact")), "skip_first_result", True)
    with caplog.at_level(logging.WARNING):
        judged(chosen, tmp_path)
    assert re.search(r"ndcg_at_10 of trained on SciFact is 0\.\d+ by mteb and 0\.\d+ here", caplog.text)


def test_run_files_are_judged_too(tmp_path, stored, composed, home):
    stored("SciFact")
    (task,) = benchmark(composed, "eval.tasks=[SciFact]").tasks()
    write_run(words(task), tmp_path / "anybody.trec", "x")
    done = run(
        "evaluate", "eval=mteb", "eval.tasks=[SciFact]", f"trec={tmp_path / 'anybody.trec'}", "logger=csv", home=home
    )
    assert done.status == 0, done.err
    figures = read_results(done.folder)["results"]["SciFact"]["anybody"]
    assert figures["mteb_ndcg_at_10"] == pytest.approx(figures["ndcg_at_10"], abs=1e-4)
    assert list((done.folder / "analysis/mteb/results/reasonir__anybody").rglob("SciFact.json"))


def test_mtebs_seeds_leave_ours_as_they_are(tmp_path, stored, composed):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    stored("SciFact")
    before = state()
    judged(benchmark(composed, "eval.tasks=[SciFact]"), tmp_path)
    assert state() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval.tasks=[SciFcat]"], "eval.tasks names 'SciFcat' (did you mean 'SciFact'?)"),
        (["eval.tasks=[STS12]"], "eval.tasks names 'STS12', which is a task of STS"),
        (["eval.tasks=[CUB200I2IRetrieval]"], "eval.tasks names 'CUB200I2IRetrieval', which reads image"),
        (["eval.tasks=['ViDoRe(v1)']"], "the benchmark 'ViDoRe(v1)', which has no task of text retrieval"),
        (["eval.tasks=[]"], "eval.tasks=[]"),
        (["eval.tasks=[SciFact]", "eval.splits=[tset]"], "eval.splits names 'tset' (did you mean 'test'?)"),
        (["eval.tasks=[MintakaRetrieval]", "eval.subsets=[xx]"], "eval.subsets names 'xx': choose from ar, de"),
        (
            ["eval.tasks=[MintakaRetrieval,MIRACLReranking]", "eval.subsets=[bn]"],
            "eval.subsets=['bn']: MintakaRetrieval has ar, de",
        ),
        (["eval.tasks=[SciFact]", "eval.submit_as=mine"], "eval.submit_as=mine: give owner/name@revision"),
        (["eval.tasks=[SciFcat,STS12]"], "which is a task of STS"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(composed, overrides, message):
    assert message in "\n".join(problems(composed("evaluate", "run=x", "eval=mteb", *overrides)))


def test_a_benchmarks_other_tasks_are_left_out(composed, caplog):
    with caplog.at_level(logging.INFO):
        chosen = benchmark(composed, "eval.tasks=['MTEB(eng, v2)']")
    assert "MTEB(eng, v2): 29 tasks of other types are left out" in caplog.text
    assert "AskUbuntuDupQuestions" in chosen._parts
    assert chosen.headline == "ndcg_at_10"


def test_without_mteb_the_extra_is_named(composed, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    (message,) = problems(composed("evaluate", "run=x", "eval=mteb", "eval.tasks=[SciFact]"))
    assert "mteb isn't installed: pip install 'reasonir[mteb]'" in message


def test_without_network_the_download_is_named(stored, composed):
    with pytest.raises(NotHereError, match=r"hf download --repo-type dataset mteb/scifact --revision d56462d0e6"):
        list(benchmark(composed, "eval.tasks=[SciFact]").tasks())


def test_a_cache_that_lacks_a_part_is_refused(tmp_path, stored, composed):
    stored("SciFact")
    (tmp_path / "SciFact/queries/test-00000-of-00001.parquet").unlink()
    with pytest.raises(
        InputError, match=r"SciFact in .* is incomplete \(.*hf download --repo-type dataset mteb/scifact"
    ):
        list(benchmark(composed, "eval.tasks=[SciFact]").tasks())
