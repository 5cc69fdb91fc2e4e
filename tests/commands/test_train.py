"""Whole runs on the tiny model: what they leave, that they can be judged again, and that they go on exactly."""

import csv
import json
import os
import re
import signal

import pytest
import torch
from safetensors.torch import load_file

from reasonir import hardware
from reasonir.eval.stats.ranking_metrics import NAMES
from reasonir.eval.trec import read_run
from reasonir.training import callbacks
from tests.running import run

TINY = ("experiment=demo_tiny", "loader.batch_size=16", "data.variants=1", "evaluation.baselines=[random,untrained]")


def final_weights(folder):
    (*_, last) = sorted((folder / "checkpoints").glob("step_*.ckpt"))
    return torch.load(last, weights_only=True)["state_dict"]


def curve(folder, name):
    rows = csv.reader((folder / "metrics.csv").open())
    return [(int(step), value) for step, metric, value in rows if metric == name]


@pytest.fixture(scope="module", params=["colbert", "biencoder"])
def finished(request, home):
    """A run of each head, with its folder."""
    done = run("train", *TINY, f"model/head={request.param}", home=home)
    assert done.status == 0, done.err
    return request.param, done


def test_a_run_leaves_what_the_design_says(finished):
    _, done = finished
    left = {file.name for file in done.folder.iterdir()}
    assert left >= {
        ".hydra",
        "checkpoints",
        "model",
        "results.json",
        "per_query.parquet",
        "runs",
        "plots",
        "plan.json",
        "environment.json",
        "config.yaml",
        "data.json",
        "metrics.csv",
        "report.html",
    }
    trained_on = json.loads((done.folder / "model" / "training_data.json").read_text())
    assert trained_on == json.loads((done.folder / "data.json").read_text())
    assert {file.name for file in (done.folder / "runs").iterdir()} == {
        f"demo.{system}.trec" for system in ("random", "untrained", "trained")
    }
    assert {file.name for file in (done.folder / "plots").iterdir()} == {
        "train_loss.png",
        "dev_ndcg_at_10.png",
        "change_demo.png",
    }
    assert not list(done.folder.rglob("*.partial*"))
    environment = json.loads((done.folder / "environment.json").read_text())
    assert torch.__version__.startswith(environment["packages"]["torch"])
    plan = json.loads((done.folder / "plan.json").read_text())
    assert plan["hardware"] == "cpu"
    assert plan["lengths"]["queries"]["median"] > 20


def test_results_have_their_protocol_baselines_and_uncertainty(finished):
    head, done = finished
    document = json.loads((done.folder / "results.json").read_text())
    systems = document["results"]["demo"]
    assert set(systems) == {"random", "untrained", "trained"}
    assert all(set(values) == set(NAMES) for values in systems.values())
    protocol = document["protocol"]
    assert protocol["scorer"] == "pytrec_eval"
    assert protocol["document_length"] == (180 if head == "colbert" else 512)
    assert protocol["tasks"]["demo"] == {"collection": "demo", "split": "test", "documents": "448"}
    assert set(document["differences"]["demo"]) == {"random", "untrained"}
    for word in ("random", "untrained", "trained", "95% CI", "Δ nDCG@10"):
        assert word in done.out
        assert word in (done.folder / "reasonir-train.log").read_text()


def test_the_start_says_what_differs_from_the_defaults_the_data_and_the_plan(finished):
    head, done = finished
    lines = dict(re.findall(r"(?m)^(Overrides|Options|Data|Model|Plan|Folder): +(.*)", done.err))
    assert lines["Overrides"].startswith("experiment=demo_tiny loader.batch_size=16")
    assert f"model=tiny head={head} data=demo" in lines["Options"]
    assert lines["Data"].startswith("280 queries, 280 positives, 1,766 negatives")
    assert "parameters" in lines["Model"]
    assert lines["Plan"].startswith("cpu, 32-true; ")
    assert "all activations saved" in lines["Plan"]
    assert lines["Folder"] == str(done.folder)
    assert "Plan: lengths in tokens" not in done.out  # dry_run=true shows it
    assert "batch_size: 16" in (done.folder / "config.yaml").read_text()
    printed = [line for line in done.err.splitlines() if line]
    assert len(set(printed)) == len(printed)


def test_the_report_says_how_it_went(finished):
    head, done = finished
    text = (done.folder / "report.html").read_text()
    systems = json.loads((done.folder / "results.json").read_text())["results"]["demo"]
    assert f"{systems['trained']['ndcg_at_10']:.4f}" in text
    sections = set(re.findall('section id="([a-z]+)"', text))
    assert sections >= {"results", "training", "lengths", "worst", "speed", "memory", "configuration", "reproduce"}
    assert ("which token matches which" in text) == (head == "colbert")
    assert "python -m reasonir.train experiment=demo_tiny loader.batch_size=16" in text
    assert "448 documents" in text


def test_numbers_are_recorded_at_every_step(finished):
    _, done = finished
    assert [step for step, _ in curve(done.folder, "train/loss")] == list(range(1, 9))
    assert [step for step, _ in curve(done.folder, "dev/ndcg_at_10")] == [8]
    rates = [float(value) for _, value in curve(done.folder, "train/lr")]
    assert rates[0] == max(rates[:1])
    assert rates[-1] < rates[1]
    assert all(float(value) > 0 for _, value in curve(done.folder, "train/tokens_per_s"))
    assert all(0 <= float(value) < 1 for _, value in curve(done.folder, "train/data_wait"))


def test_the_exported_model_scores_as_the_run_file_says(finished):
    from reasonir.data.demo import build_world
    from reasonir.eval.trec import read_run

    head, done = finished
    task = build_world(0, 1).task("test")
    ranking = read_run(done.folder / "runs" / "demo.trained.trec")
    texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
    query_id = next(iter(task.queries))
    top = list(ranking[query_id].items())[:5]
    query, documents = task.queries[query_id].text, [texts[doc_id] for doc_id, _ in top]
    if head == "colbert":
        models = pytest.importorskip("pylate.models")
        model = models.ColBERT(str(done.folder / "model"), device="cpu")
        (first,) = model.encode([query], is_query=True, convert_to_numpy=False)
        found = [
            float((first @ second.T).max(-1).values.sum())
            for second in model.encode(documents, is_query=False, convert_to_numpy=False)
        ]
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(done.folder / "model"), device="cpu")
        found = model.similarity(model.encode_query([query]), model.encode_document(documents))[0].tolist()
    assert found == pytest.approx([score for _, score in top], rel=1e-4)


def test_judging_a_run_again_gives_its_figures(finished, home):
    _, done = finished
    again = run(
        "evaluate", f"run={done.folder}", "eval=demo", "logger=csv", "evaluation.baselines=[untrained]", home=home
    )
    assert again.status == 0, again.err
    first = json.loads((done.folder / "results.json").read_text())["results"]["demo"]
    second = json.loads((again.folder / "results.json").read_text())["results"]["demo"]
    for system in ("untrained", "trained"):
        assert second[system] == pytest.approx(first[system], abs=1e-6)
    text = (again.folder / "report.html").read_text()
    assert 'id="training"' in text  # that of the run
    assert f"python -m reasonir.evaluate run={done.folder}" in text


def test_a_model_is_judged_as_it_is(home):
    done = run("evaluate", "model=tiny", "eval=demo", "eval.split=dev", "logger=csv", home=home)
    assert done.status == 0, done.err
    systems = json.loads((done.folder / "results.json").read_text())["results"]["demo-dev"]
    assert set(systems) == {"random", "bm25", "untrained"}


def test_the_best_weights_are_those_that_are_exported(home, monkeypatch):
    values = iter([0.1, 0.9, 0.2, 0.3])
    real = callbacks.ranking_metrics.mean
    monkeypatch.setattr(
        callbacks.ranking_metrics, "mean", lambda found: real(found) | {"ndcg_at_10": next(values, 0.0)}
    )
    done = run(
        "train", *TINY, "dev_eval.every_n_steps=2", "checkpoint.every_n_steps=1", "checkpoint.keep_last=9", home=home
    )
    assert done.status == 0, done.err
    bests = sorted(file.name for file in (done.folder / "checkpoints").glob("best_*.safetensors"))
    assert bests == ["best_00000002.safetensors", "best_00000004.safetensors"]  # checkpoints 2 and 3 name the first
    at_four = torch.load(done.folder / "checkpoints" / "step_00000004.ckpt", weights_only=True)["state_dict"]
    exported = load_file(done.folder / "model" / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(exported[name], at_four[f"encoder.backbone.{name}"])
    assert not torch.equal(exported[name], final_weights(done.folder)[f"encoder.backbone.{name}"])


def test_training_stops_early_without_improvement(home, monkeypatch):
    real = callbacks.ranking_metrics.mean
    values = iter([0.9, 0.1, 0.1])
    monkeypatch.setattr(
        callbacks.ranking_metrics, "mean", lambda found: real(found) | {"ndcg_at_10": next(values, 0.0)}
    )
    done = run("train", *TINY, "dev_eval.every_n_steps=1", "early_stopping.patience=2", home=home)
    assert done.status == 0, done.err
    assert [step for step, _ in curve(done.folder, "train/loss")] == [1, 2, 3]


def test_accumulation_clipping_and_bfloat16_run_as_lightning_defines_them(home):
    done = run(
        "train",
        *TINY,
        "trainer.accumulate_grad_batches=2",
        "trainer.max_steps=-1",
        "loader.sample_size=80",
        "hardware.precision=bf16-mixed",
        "optim.name=adafactor",
        home=home,
    )
    assert done.status == 0, done.err
    assert [step for step, _ in curve(done.folder, "train/loss")] == [1, 2, 3]  # five batches, two a step


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_a_dry_run_prints_the_plan_and_writes_no_run(home, logger):
    done = run("train", *TINY, "dry_run=true", f"logger={logger}", home=home)
    assert done.status == 0, done.err
    for word in (
        "Plan: lengths in tokens",
        "Plan: cpu (here), 32-true",
        "saved tokens",
        "on one device of each profile",
    ):
        assert word in done.out
    assert done.folder is None or not (done.folder / "config.yaml").exists()


def test_without_a_logger_the_run_is_the_same(home):
    done = run("train", *TINY, "logger=none", home=home)
    assert done.status == 0, done.err
    assert (done.folder / "results.json").is_file()
    assert not (done.folder / "metrics.csv").exists()


# -- going on --------------------------------------------------------------------------------------------------------

LONG = (
    *TINY,
    "trainer.max_steps=-1",
    "trainer.max_epochs=2",
    "loader.sample_size=64",
    "loader.batch_size=16",
    "checkpoint.every_n_steps=1",
    "dev_eval.every_n_steps=3",
    "evaluation.baselines=[]",
    "hardware.micro_batch_tokens=600",
    "hardware.max_saved_tokens=1000",
)


@pytest.fixture(scope="module")
def uninterrupted(home):
    done = run("train", *LONG, home=home)
    assert done.status == 0, done.err
    return done


def same_run(first, second):
    weights = final_weights(first), final_weights(second)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in ("train/loss", "train/accuracy", "train/lr", "dev/ndcg_at_10", "dev/map"):
        assert curve(first, name) == curve(second, name), name
    results = [json.loads((folder / "results.json").read_text())["results"] for folder in (first, second)]
    assert results[0] == results[1]


def died_after(step, *arguments, home, monkeypatch):
    """Train until the checkpoint of `step` is written, where the process dies; return the run's folder."""
    real = callbacks.TrainingMonitor._save

    def dies(self, trainer, at):
        real(self, trainer, at)
        if at == step:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TrainingMonitor, "_save", dies)
        before = set((home / "outputs").iterdir())
        with pytest.raises(RuntimeError, match="power cut"):
            run("train", *arguments, home=home)
    (folder,) = set((home / "outputs").iterdir()) - before
    return folder


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8])
def test_a_run_that_died_goes_on_bit_for_bit(uninterrupted, home, monkeypatch, step):
    """Eight steps in two passes; it dies after a checkpoint, before one, and at the end of a pass and of training."""
    folder = died_after(step, *LONG, home=home, monkeypatch=monkeypatch)
    again = run("train", f"resume={folder}", home=home)
    assert again.status == 0, again.err
    assert f"Resuming after step {step} from" in again.err
    assert again.folder is None  # no new folder: the run goes on in its own
    same_run(uninterrupted.folder, folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_a_checkpoint_and_the_run_goes_on(uninterrupted, home, monkeypatch, number):
    real = callbacks.TrainingMonitor._log_training

    def signalled(self, trainer, module, at):
        real(self, trainer, module, at)
        if at == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TrainingMonitor, "_log_training", signalled)
        done = run("train", *LONG, "checkpoint.every_n_steps=100", home=home)
    assert done.status == 128 + number
    assert f"resume={done.folder}" in done.err
    assert [file.name for file in (done.folder / "checkpoints").glob("step_*")] == ["step_00000003.ckpt"]
    again = run("train", f"resume={done.folder}", home=home)
    assert again.status == 0, again.err
    same_run(uninterrupted.folder, done.folder)


def test_a_finished_run_is_only_judged_again(uninterrupted, home):
    before = (uninterrupted.folder / "results.json").read_text()
    again = run("train", f"resume={uninterrupted.folder}", home=home)
    assert again.status == 0, again.err
    assert json.loads((uninterrupted.folder / "results.json").read_text()) == json.loads(before)


def test_a_resumed_run_keeps_its_budget_and_baselines_whatever_memory_is_free_now(home, monkeypatch):
    done = run("train", *TINY, "trainer.max_steps=2", "evaluation.baselines=[random]", home=home)
    rankings = {file.name: file.read_text() for file in (done.folder / "runs").iterdir()}
    before = json.loads((done.folder / "plan.json").read_text())
    monkeypatch.setattr(hardware, "_memory_gib", lambda accelerator, devices: before["memory_gib"] / 2)
    again = run("train", f"resume={done.folder}", home=home)
    assert again.status == 0, again.err
    after = json.loads((done.folder / "plan.json").read_text())
    assert after["memory_gib"] == pytest.approx(before["memory_gib"] / 2)
    assert after["max_saved_tokens"] == before["max_saved_tokens"]
    assert after["micro_batch_tokens"] == before["micro_batch_tokens"]
    assert "Reusing the baselines of" in again.err
    assert set(rankings) == {"demo.random.trec", "demo.trained.trec"}
    assert all(rankings.values())
    assert {file.name: file.read_text() for file in (done.folder / "runs").iterdir()} == rankings


def test_a_run_is_not_continued_with_other_data(uninterrupted, home):
    done = run("train", f"resume={uninterrupted.folder}", "loader.batch_size=8", home=home)
    assert done.status == 2
    assert "the checkpoint was made with batch_size=16, this run has batch_size=8" in done.err


def test_a_resumed_run_can_train_longer(uninterrupted, home):
    done = run("train", *LONG, "trainer.max_epochs=1", home=home)
    assert done.status == 0, done.err
    again = run("train", f"resume={done.folder}", "trainer.max_epochs=2", home=home)
    assert again.status == 0, again.err
    assert [step for step, _ in curve(done.folder, "train/loss")] == list(range(1, 9))


def test_a_reranker_trains_is_judged_and_judged_again(home):
    small = ("data=demo", "eval=demo", "hardware=cpu", "logger=csv", "evaluation.rerank_depth=5")
    options = ("loss=bce", "loader.negatives=2", "trainer.max_steps=2", "dev_eval.every_n_steps=2")
    done = run("train", "model=tiny_reranker", *options, *small, home=home)
    assert done.status == 0, done.err
    results = json.loads((done.folder / "results.json").read_text())
    assert results["protocol"]["template"] == "qwen3-reranker"
    assert {len(docs) for docs in read_run(done.folder / "runs" / "demo.trained.trec").values()} <= set(range(6))
    again = run("evaluate", f"run={done.folder}", "eval=demo", "evaluation.baselines=[]", *small[2:], home=home)
    assert again.status == 0, again.err
    trained = json.loads((again.folder / "results.json").read_text())["results"]["demo"]["trained"]
    assert trained == pytest.approx(results["results"]["demo"]["trained"], abs=1e-6)


def test_a_loss_without_its_teacher_is_refused_before_training(home):
    done = run("train", "model=tiny_reranker", "loss=kl", "loss.target=bge", "data=demo", "eval=demo", home=home)
    assert done.status == 2
    assert "teacher 'bge'" in done.err
    assert "none: name a teacher that it has" in done.err
    assert "teacher=reranker teacher.name=bge" in done.err
