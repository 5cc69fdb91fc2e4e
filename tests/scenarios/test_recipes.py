"""The commands of the README and every shipped recipe, run for a step or two on what is here."""

import json

import pytest
import torch

from reasonir.cli.configuration import build
from reasonir.config import CONF
from tests.data.test_graded import shop
from tests.rows import write_rows
from tests.running import run
from tests.scenarios.test_mining import collection

SHORT = (
    "trainer.max_steps=1",
    "loader.sample_size=8",
    "loader.batch_size=4",
    "loader.workers=0",
    "evaluation.baselines=[]",
)
EXPERIMENTS = [file.stem for file in sorted((CONF / "experiment").glob("*.yaml"))]
SWEEPS = [name for name in EXPERIMENTS if name.startswith("sweep_")]
PUBLISHED = {
    "provence_gte": (256, 3, None),
    "provence_gte_toy": (64, 3, 4000),
    "provence_ja": (256, 14, None),
    "provence_ja_toy": (64, 3, 4000),
    "provence_large": (256, 14, None),
    "provence_xsmall": (256, 14, None),
}
"""OpenProvence's recipes, whose models and data are the hub's: queries a step, sets, and rows of each."""


def rows(folder):
    """Data of the recipe of context rows."""
    path = write_rows(folder / "rows.jsonl", 12)
    return [f"data.path={path}", f"eval.path={path}", "loader.dev_size=2"]


def facts(folder):
    """Data of the recipes on a collection."""
    path = collection(folder / "collection", dev=(3, 11, 27))
    return [f"data.path={path}", f"eval.path={path}", "eval.split=dev", "loader.dev_size=4"]


GIVEN = {
    "home_depot_reranker_toy": lambda folder: [f"data.path={shop(folder)}"],
    "provence_toy": rows,
    "gaussian_toy": facts,
    "gaussian_ragcun": facts,
}


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in {*PUBLISHED, *SWEEPS}])
def test_every_experiment_takes_one_step(experiment, home, tmp_path):
    given = GIVEN[experiment](tmp_path) if experiment in GIVEN else []
    done = run("train", f"experiment={experiment}", *SHORT, *given, "logger=csv", home=home)
    assert done.status == 0, done.err
    (systems,) = json.loads((done.folder / "results.json").read_text())["results"].values()
    assert "trained" in systems


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_published_recipes_train_as_published(experiment, composed):
    """By the configurations of OpenProvence at a658e60; what isn't said in a recipe are our defaults."""
    config = composed("train", f"experiment={experiment}")
    sources = build(config.data).sources
    queries, sets, rows = PUBLISHED[experiment]
    assert (config.loader.batch_size, len(sources)) == (queries, sets)
    optim = {"name": "adafactor", "lr": 5e-5, "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1}
    assert {key: config.optim[key] for key in optim} == optim
    assert (config.trainer.max_epochs, config.trainer.gradient_clip_val) == (1, 1.0)
    assert (config.loss.ranking_weight, config.loss.pruning_weight, config.model.head.dropout) == (0.05, 1.0, 0.0)
    for name, source in sources.items():
        assert source.teacher_column == f"teacher_scores.{config.loss.ranking.target}"
        assert source.n_samples == rows
        assert source.items == (6 if name in ("natural_questions", "gooaq") else None)
        assert source.upsample_factor == {"jqara": 4, "miracl": 2, "mkqa": 2, "mr_tydi": 2}.get(name, 1)
    trained = {f"{source.path}:{source.subset}" for source in sources.values()}
    assert trained <= set(config.eval.path)
    assert len(config.eval.path) == (3 if "gte" in experiment else 14)
    assert config.eval.rows == (100 if rows else None)
    assert len(config.eval.reference) == (len(config.eval.path) if rows else 0)


def test_published_sets_share_teacher_and_sample_wherever_they_are_put(composed):
    put = ("data=mixture", "+data@data.sources.op=open_provence_ja", "data.sources.op.sources.msmarco.n_samples=7")
    sources = build(composed("prepare", *put).data).sources["op"].sources
    assert {source.n_samples for source in sources.values()} == {7}
    assert {source.teacher_column for source in sources.values()} == {"teacher_scores.japanese-reranker-base-v2"}


SLOW = [pytest.param(name, marks=pytest.mark.slow if "gte" not in name else ()) for name in PUBLISHED]


@pytest.mark.parametrize("experiment", SLOW)
def test_published_recipes_take_two_steps_from_a_hub_cache(experiment, composed, bert, hub, home, tmp_path):
    """Each as it is, a tiny model and made-up rows lying in the cache under the real repositories' names."""
    config = composed("train", f"experiment={experiment}")
    teacher = config.loss.ranking.target
    assert config.model.path.endswith(f"/{teacher}")
    hub(bert, config.model.path)
    for place in config.eval.path:
        repository, subset = place.split(":")
        for part in ("train", "test"):
            file = tmp_path / repository / ("data" if subset == "default" else subset) / f"{part}.jsonl"
            write_rows(file, 6, teacher=teacher, others=5)
    for repository in {place.split(":")[0] for place in config.eval.path}:
        hub(tmp_path / repository, repository, kind="dataset")
    small = ("hardware=cpu", "logger=csv", "trainer.max_steps=2", "loader.batch_size=4", "loader.workers=0")
    done = run("train", f"experiment={experiment}", *small, "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    results = json.loads((done.folder / "results.json").read_text())["results"]
    assert len(results) == len(config.eval.path)
    assert set(json.loads((done.folder / "data.json").read_text())["sources"]) == set(config.data.sources)
    loud = [line for line in (done.err + done.out).splitlines() if "Far from the reference" in line]
    assert {line.split(": ")[1] for line in loud} == set(config.eval.reference)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_how_it_is_run(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    assert f"python -m reasonir.train experiment={experiment}" in text


@pytest.mark.parametrize("debug", ["step", "limit", "profile"])
def test_debugging_options_run_to_the_end(debug, home, capfd):
    done = run("train", "experiment=demo_tiny", f"debug={debug}", "logger=csv", home=home)
    assert done.status == 0, done.err
    assert (done.folder / "results.json").is_file()
    if debug == "profile":
        assert "run_training_batch" in done.out + done.err + capfd.readouterr().out


def test_a_few_queries_can_be_learnt_by_heart(home):
    done = run("train", "experiment=demo_tiny", "debug=overfit", "trainer.max_steps=-1", home=home)
    assert done.status == 0, done.err
    losses = [
        float(line.split(",")[2])
        for line in (done.folder / "metrics.csv").read_text().splitlines()
        if "train/loss" in line
    ]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
def test_the_readmes_command_trains_from_a_hub_cache(qwen, hub, home, head):
    """A tiny Qwen3 lies in the cache under the real repository's name."""
    hub(qwen, "Qwen/Qwen3-Embedding-0.6B")
    given = ("hardware=cpu", "data=demo", "eval=demo", "logger=csv", f"model/head={head}", "trainer.max_steps=2")
    done = run("train", "model=qwen", *given, *SHORT[1:], home=home)
    assert done.status == 0, done.err
    assert (done.folder / "model" / "model.safetensors").is_file()
    losses = [line for line in (done.folder / "metrics.csv").read_text().splitlines() if "train/loss" in line]
    assert losses


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_t4_plan_is_printed_on_any_machine(qwen, hub, home):
    without = run("train", "model=qwen", "hardware=t4", "dry_run=true", home=home)
    assert without.status == 0, without.err
    for part in ("t4 (not here), 16-mixed", "595,907,584", "of 15.0 GiB", "tokens/s", "t4: ", "as long as its limit"):
        assert part in without.out
    assert "data.path=reasonir/reasonir-data is no file or folder here" in without.err
    hub(qwen, "Qwen/Qwen3-Embedding-0.6B")
    cached = run("train", "model=qwen", "hardware=t4", "data=demo", "dry_run=true", home=home)
    assert cached.status == 0, cached.err
    assert "four characters" not in cached.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_everything_that_the_default_run_lacks_is_said_at_once(hub, home):
    done = run("train", "hardware=t4", home=home)
    assert done.status == 2
    assert "4 requirements not met" in done.err
    for part in ("hardware=t4", "Qwen/Qwen3-Embedding-0.6B", "reasonir/reasonir-data", "eval.path=xlangai/BRIGHT"):
        assert part in done.err


def test_adapters_and_frozen_layers_train_and_export(home):
    for options in (("model.lora.rank=4", "model.activation_checkpointing=true"), ("model.freeze_layers=1",)):
        done = run("train", "experiment=demo_tiny", *SHORT, *options, home=home)
        assert done.status == 0, done.err
        assert (done.folder / "model" / "model.safetensors").is_file()


def test_a_source_is_prepared_and_checked_by_itself(home, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"query": "q", "positive": "p"}\n{"query": "r", "positive": "s"}\n')
    done = run("prepare", "data=triplets", f"data.path={tmp_path / 't.jsonl'}", home=home)
    assert done.status == 0, done.err
    assert "is complete: 2 queries, 2 positives, 0 negatives, 2 distinct_documents" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_runs_two_jobs(sweep, home):
    two = {
        "sweep_temperature": ["loss.temperature=1.0,4.0", "seed=1"],
        "sweep_optuna": ["hydra.sweeper.n_trials=2"],
    }[sweep]
    before = set((home / "multirun").glob("*"))
    done = run("train", f"experiment={sweep}", "model=tiny", *SHORT, *two, "logger=csv", home=home)
    assert done.status == 0, done.err
    (folder,) = set((home / "multirun").glob("*")) - before
    assert {file.parent.name for file in folder.glob("*/results.json")} == {"0", "1"}
    assert (folder / "summary.png").is_file()
