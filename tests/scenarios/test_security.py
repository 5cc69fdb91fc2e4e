"""Every command that opens somebody's checkpoint or run: its files run nothing, unless the user trusts them."""

import json
import shutil
from contextlib import nullcontext

import mlflow
import pytest
import torch
import yaml

import reasonir
from reasonir.errors import InputError
from reasonir.inference.pipeline import Pipeline
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.model.export import export
from reasonir.publishing.hub import load as load_pushed
from reasonir.tracking.base import Loggers
from reasonir.tracking.model_registry import package
from reasonir.tracking.open import open_tracking
from tests.helpers import load
from tests.hostile import DATA, Hostile, add_module, edit, sign
from tests.running import run

DEMO = ("data=demo", "data.variants=1", "eval=demo", "hardware=cpu", "logger=csv")
TRAIN = ("train", *DEMO, "loader.workers=0", "trainer.max_steps=1", "evaluation.baselines=[]")
EVALUATE = ("evaluate", "hardware=cpu", "logger=csv")
SEARCH = ("search", "corpus={corpus}", "query=rain", "hardware=cpu")
PIPELINE = (*EVALUATE, "model=tiny", "eval=pipeline", "eval@eval.collection=demo", "evaluation.baselines=[]")
TEACHER = ("teacher=reranker", "loss=kl", "loss.target=reranker")
ANY_TEACHER = ("model@teacher.model=any", "teacher.model.path={it}", "model/head@teacher.model.head=cross_encoder")
MINE = ("mine", "data=demo", "data.variants=1", "mining=model", "hardware=cpu")
MODEL = {
    "train": (*TRAIN, "model=any", "model.path={it}", "model/head=biencoder"),
    "train a revision": (*TRAIN, "model=any", "model.path={it}", "model.revision=main", "model/head=biencoder"),
    "plan": (*TRAIN, "model=any", "model.path={it}", "model/head=biencoder", "dry_run=true"),
    "evaluate": (*EVALUATE, "model=any", "model.path={it}", "model/head=biencoder", "eval=demo"),
    "search": (*SEARCH, "run={it}"),
    "rerank": (*SEARCH, "run=bm25", "reranker={it}"),
    "a stage": (*PIPELINE, "eval.stages.pruner={it}"),
    "mine": (*MINE, "model=any", "model.path={it}", "model/head=biencoder"),
    "teach": (*TRAIN, *TEACHER, "model=tiny", *ANY_TEACHER),
    "bench": ("bench", "model=any", "model.path={it}", "model/head=biencoder", "peers=biencoder", "hardware=cpu"),
}
"""Commands that open a checkpoint, by folder or hub id."""
RUN = {
    "evaluate": (*EVALUATE, "run={it}", "eval=demo"),
    "evaluate its model": (*EVALUATE, "run={it}", "eval=demo", "evaluation.baselines=[]"),
    "search": (*SEARCH, "run={it}"),
    "search with its export": (*SEARCH, "run={it}/model"),
    "rerank": (*SEARCH, "run=bm25", "reranker={it}"),
    "prune": (*SEARCH, "run=bm25", "pruner={it}"),
    "a stage": (*PIPELINE, "eval.stages.reranker={it}"),
    "mine": (*MINE, "run={it}"),
    "teach": (*TRAIN, *TEACHER, "model=tiny", "teacher.run={it}"),
    "prepare": ("prepare", "data=demo", "data.variants=1", "teacher=reranker", "teacher.run={it}", "hardware=cpu"),
}
"""Commands that open a run."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, bert):
    """A home, an export and a corpus."""
    folder = tmp_path_factory.mktemp("security")
    export(load(bert, "biencoder"), folder / "export")
    (folder / "corpus.txt").write_text("Warm air rises.\nCopper conducts.\n")
    return folder


@pytest.fixture
def hostile(tmp_path):
    return Hostile(tmp_path)


def said(words, it, place, *more):
    name, *words = (word.format(it=it, corpus=place / "corpus.txt") for word in words)
    return run(name, *words, *more, home=place)


def refused(done, hostile, *messages):
    assert not hostile.done
    assert done.status == 2, done.err
    for message in (*messages, "trust_remote_code=true"):
        assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", list(MODEL))
def test_no_command_runs_a_checkpoints_code(command, place, hostile, hub):
    folder = hostile(place / "export")
    add_module(folder, "evil.Evil")
    hub(folder, "some/model")
    refused(said(MODEL[command], "some/model", place), hostile, "modules.json has type: evil.Evil")


@pytest.mark.parametrize("command", [name for name in MODEL if name not in ("plan", "teach", "bench")])
def test_a_checkpoints_code_runs_where_it_is_trusted(command, place, hostile, hub):
    folder = hostile(place / "export")
    add_module(folder, "evil.Evil")
    hub(folder, "some/model")
    with pytest.raises(AttributeError, match="'Evil' has no attribute 'load'"):
        said(MODEL[command], "some/model", place, "trust_remote_code=true")
    assert hostile.done


def test_trust_of_one_model_is_no_trust_of_another(place, hostile):
    folder = hostile(place / "export")
    add_module(folder, "evil.Evil")
    done = said((*PIPELINE, "model.trust_remote_code=true", "eval.stages.pruner={it}"), folder, place)
    refused(done, hostile, "modules.json has type: evil.Evil")
    wrong = said((*EVALUATE, "run={it}", "eval=demo", "trust_remote_code=no"), folder, place)
    assert (wrong.status, hostile.done) == (2, False)
    assert "trust_remote_code='no': expected true or false" in wrong.err


@pytest.mark.parametrize("command", list(RUN))
def test_no_command_calls_what_a_runs_configuration_names(command, place, hostile):
    through = "reasonir.training.checkpoints.torch.load"
    folder = hostile.run(place / "export", model={"config": hostile.calls(through)})
    refused(said(RUN[command], folder, place), hostile, f"config.yaml: model.config._target_={through} is no component")


@pytest.mark.parametrize("command", list(RUN))
def test_what_a_run_names_is_called_where_it_is_trusted(command, place, hostile):
    folder = hostile.run(place / "export", model={"config": hostile.calls()})
    try:
        said(RUN[command], folder, place, "trust_remote_code=true")
    except Exception as error:
        assert "is no component of reasonir" not in str(error)
    assert hostile.done


def test_trust_is_never_taken_from_a_folder(place, hostile):
    """Neither from a run's configuration nor from the checkpoint's."""
    folder = hostile.run(place / "export", model={"trust_remote_code": True})
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "trust_remote_code": True}))
    add_module(folder / "model", "evil.Evil")
    edit(folder / "model" / "sentence_bert_config.json", model_args={"trust_remote_code": True})
    sign(folder / "model")
    refused(said(RUN["evaluate"], folder, place), hostile, "modules.json has type: evil.Evil")


def test_the_untrained_model_of_a_run_is_checked_like_any_other(place, hostile):
    """A recipe that makes its checkpoint takes one that is there already."""
    made = hostile(place / "export", "made/bert-2x64-2000")
    add_module(made, "evil.Evil")
    tiny = {"_target_": "reasonir.model.tiny.Tiny", "path": str(made.parent)}
    folder = hostile.run(place / "export", model=tiny)
    refused(said(RUN["evaluate"], folder, place), hostile, "modules.json has type: evil.Evil")
    assert said(RUN["evaluate its model"], folder, place).status == 0


def test_a_runs_data_is_checked_where_it_is_read(place, hostile):
    """eval=test_split reads it; any other benchmark judges the model whatever it was trained on."""
    folder = hostile.run(place / "export", data=hostile.calls())
    own = (*EVALUATE, "run={it}", "eval=test_split")
    refused(said(own, folder, place), hostile, "config.yaml: data._target_=torch.load is no data of reasonir")
    assert said(RUN["evaluate its model"], folder, place).status == 0
    assert not hostile.done
    assert said(own, folder, place, "trust_remote_code=true").status == 2  # what is loaded is no data
    assert hostile.done


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (lambda made: made.calls(), "eval._target_=torch.load is no eval of reasonir"),
        (
            lambda made: {"_target_": "reasonir.eval.test_split.SourceTestSplit", "source": made.calls()},
            "eval.source._target_=torch.load is no data of reasonir",
        ),
        (
            lambda made: {"_target_": "reasonir.eval.bright.Bright", "instructions": made.calls()},
            "eval.instructions._target_=torch.load is no part of the evaluation of reasonir",
        ),
        (
            lambda made: {"_target_": "reasonir.eval.pipeline.PipelineBenchmark", "collection": made.calls()},
            "eval.collection._target_=torch.load is no eval of reasonir",
        ),
        (lambda made: {"_target_": "reasonir.data.demo.Demo"}, "eval._target_=reasonir.data.demo.Demo is no eval"),
    ],
)
def test_the_evaluation_of_a_run_is_checked_where_no_other_is_chosen(place, hostile, evaluation, message):
    folder = hostile.run(place / "export", evaluation=evaluation(hostile))
    refused(said((*EVALUATE, "run={it}"), folder, place), hostile, f"config.yaml: {message}")
    pushed = ("push", "run={it}", "to=me/rain", "dry_run=true")
    refused(said(pushed, folder, place), hostile, f"config.yaml: {message}")
    assert said((*pushed, "measure=false"), folder, place).status == 0
    assert said(RUN["evaluate its model"], folder, place).status == 0
    assert not hostile.done


def test_nothing_of_the_environment_gets_into_what_is_published(place, hostile, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    folder = hostile.run(place / "export", data={**DATA, "path": "${oc.env:HF_TOKEN}"}, name="published")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["tags.a=${oc.env:HF_TOKEN}"]))
    done = said(("push", "run={it}", "to=me/rain", "dry_run=true", "measure=false"), folder, place)
    assert done.status == 0, done.err
    card = (done.folder / "rain" / "README.md").read_text()
    assert "${oc.env:HF_TOKEN}" in card
    assert "hf_secret" not in card


def test_a_configuration_with_python_in_it_is_refused(place, hostile):
    folder = hostile.run(place / "export")
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:open ['{hostile.marker}', 'w']\n")
    with pytest.raises(InputError, match=r"config\.yaml can't be read as YAML"):
        reasonir.load(folder, trust_remote_code=True)
    assert not hostile.done
    (folder / "config.yaml").write_text("- model\n")
    with pytest.raises(InputError, match=r"config\.yaml is no configuration of a run"):
        reasonir.load(folder)


LOADED = {
    "load": reasonir.load,
    "retriever": Retriever.load,
    "reranker": Reranker.load,
    "pruner": Pruner.load,
    "pruner of a length": lambda path, **given: Pruner.load(path, max_length=64, **given),
    "pipeline": lambda path, **given: Pipeline.load(str(path), **given),
    "its reranker": lambda path, **given: Pipeline.load(reranker=str(path), **given),
}


@pytest.mark.parametrize("how", list(LOADED))
def test_from_python_trust_is_an_argument(how, place, hostile):
    folder = hostile(place / "export")
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil"})
    with pytest.raises(InputError, match=r"auto_map: .*evil\.Evil"):
        LOADED[how](folder)
    assert not hostile.done
    with pytest.raises(AttributeError, match="Evil"):
        LOADED[how](folder, trust_remote_code=True)
    assert hostile.done


def test_what_was_pushed_is_downloaded_without_its_code_and_checked(place, hostile, hub, monkeypatch):
    import huggingface_hub

    folder = hostile(place / "export")
    add_module(folder, "evil.Evil")
    hub(folder, "some/model")
    asked, download = [], huggingface_hub.snapshot_download

    def noted(repo, **given):
        asked.append(given["allow_patterns"])
        return download(repo, **given)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", noted)
    with pytest.raises(InputError, match=r"modules\.json has type: evil\.Evil"):
        load_pushed("some/model", revision="main")
    assert not hostile.done
    assert not any("py" in pattern for patterns in asked for pattern in patterns)
    asked.clear()
    with pytest.raises(AttributeError, match="'Evil' has no attribute 'load'"):
        load_pushed("some/model", trust_remote_code=True)
    assert hostile.done
    assert "*.py" in asked[0]


def test_a_served_model_trusts_whoever_serves_it_alone(place, hostile, monkeypatch):
    runs = [
        hostile.run(place / "export", model={"config": hostile.calls(), "trust_remote_code": True}, name="names"),
        hostile.run(place / "export", name="brings"),
    ]
    add_module(runs[1] / "model", "evil.Evil")
    sign(runs[1] / "model")
    for folder, message in zip(runs, ("is no component of reasonir", "has type: evil.Evil"), strict=True):
        tracking = open_tracking(Loggers(mlflow=True), place, experiment_name="p", name="x", folder=folder, tags={})
        with tracking.closing():
            address = package(place, tracking.run_id, folder / "model", run=folder)
        monkeypatch.delenv("REASONIR_TRUST_REMOTE_CODE", raising=False)
        with pytest.raises(InputError, match=message):
            mlflow.pyfunc.load_model(address, model_config={"trust_remote_code": True})
        assert not hostile.done
        monkeypatch.setenv("REASONIR_TRUST_REMOTE_CODE", "1")
        with nullcontext() if folder.name == "names" else pytest.raises(AttributeError, match="'Evil' has no"):
            mlflow.pyfunc.load_model(address)
        assert hostile.done
    mlflow.set_tracking_uri(None)


def resumable(hostile, *words, name="stopped", damaged=False):
    """The folder of a run that was started with these words and stopped after a step."""
    folder = hostile.place / name
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*TRAIN[1:], "model=tiny", *words]))
    torch.save({}, folder / "checkpoints" / "step_00000001.ckpt")
    if damaged:
        (folder / "checkpoints" / "step_00000001.ckpt").write_bytes(b"half of it")
    return folder


def foreign_conf(hostile):
    """A folder of YAML files beside the run; that of the group `local` is part of every composition."""
    conf = hostile.place / "downloaded"
    (conf / "local").mkdir(parents=True)
    (conf / "local" / "default.yaml").write_text("# @package model.config\n" + yaml.safe_dump(hostile.calls()))
    return conf


def called(hostile, key):
    return f"{key}={{_target_: torch.load, f: {hostile.pickle}, weights_only: false}}"


RESUMED = {
    "a node": lambda made: [called(made, "model.config")],
    "a key": lambda made: [
        "+model.config._target_=torch.load",
        f"+model.config.f={made.pickle}",
        "+model.config.weights_only=false",
    ],
    "a callback": lambda made: [called(made, "+hydra.callbacks.x")],
    "a search path": lambda made: [f"hydra.searchpath=[file://{foreign_conf(made)}]"],
}


@pytest.mark.filterwarnings("ignore:Callback")  # Hydra's, of what the payload makes
@pytest.mark.parametrize("attack", list(RESUMED))
def test_a_resumed_run_is_what_the_user_says(attack, place, hostile):
    words = RESUMED[attack](hostile)
    folder = resumable(hostile, *words, damaged=True)  # which is said once the model is built
    done = run("train", f"resume={folder}", home=place)
    assert not hostile.done
    assert done.status == 2
    assert f"overrides.yaml holds {words[0]}, which decides what code runs" in done.err
    again = run("train", f"resume={folder}", *words, home=place)
    assert "holds only damaged checkpoints" in again.err
    assert hostile.done


def test_a_resumed_run_trusts_nothing_by_itself(place, hostile, hub):
    evil = hostile(place / "export")
    add_module(evil, "evil.Evil")
    hub(evil, "some/model")
    words = ("model=any", "model.path=some/model", "model/head=biencoder")
    folder = resumable(hostile, *words, "model.trust_remote_code=true")
    done = run("train", f"resume={folder}", home=place)
    assert not hostile.done
    assert done.status == 2
    assert f"python -m reasonir.train resume={folder} model.trust_remote_code=true" in done.err
    plain = resumable(hostile, *words, name="plain")
    refused(run("train", f"resume={plain}", home=place), hostile, "modules.json has type: evil.Evil")
    with pytest.raises(AttributeError, match="'Evil' has no attribute 'load'"):
        run("train", f"resume={folder}", "model.trust_remote_code=true", home=place)
    assert hostile.done


@pytest.mark.parametrize("attack", ["a callback", "a flag", "a launcher"])
def test_a_resumed_sweep_is_what_the_user_says(attack, place, hostile):
    words = {
        "a callback": [called(hostile, "+hydra.callbacks.x")],
        "a flag": [f"--config-dir={foreign_conf(hostile)}"],
        "a launcher": ["hydra.launcher._target_=torch.load", "seed=1,2"],
    }[attack]
    folder = hostile.place / "sweep"
    folder.mkdir()
    swept = {"command": ["-m", *TRAIN[1:], "model=tiny", *words], "overrides": [], "parent": None}
    (folder / "sweep.json").write_text(json.dumps(swept))
    done = run("train", f"resume={folder}", home=place)
    assert not hostile.done
    assert done.status == 2
    assert f"sweep.json holds {words[0]}, which decides what code runs" in done.err


def test_a_pickle_is_no_checkpoint(place, hostile):
    folder = resumable(hostile)
    shutil.copy(hostile.pickle, folder / "checkpoints" / "step_00000002.ckpt")
    done = run("train", f"resume={folder}", "trust_remote_code=true", home=place)
    assert not hostile.done
    assert done.status == 2
    assert "step_00000002.ckpt can't be read" in done.err
