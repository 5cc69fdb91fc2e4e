"""Command lines whose mistakes reach the composition itself: each named, with what to give instead."""

import shlex

import pytest

from reasonir.cli.arguments import config_errors
from reasonir.cli.command import checked_arguments
from reasonir.utils.command_line import override

DEMO = ("model=tiny", "data=demo")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["loss=null"], ["loss=null: there is no such option", "there are bce, cached_contrastive"]),
        (["experiment=null"], ["experiment=null: there is no such option"]),
        (["~loss"], ["~loss: train needs it: omit this argument"]),
        (["~seed"], ["~seed: train needs it"]),
        (["optim=null"], ["optim=None: expected named values with a _target_"]),
        (["trainer=x"], ["trainer='x': expected named values with a _target_"]),
        (["loader=[]"], ["loader=[]: expected named values: change them one by one (loader.<name>=<value>)"]),
        (["model.head=null"], ["model.head=None: expected named values with a _target_"]),
        (["callbacks.mine=3", "+callbacks.mine=3"], ["callbacks.mine"]),
        (["optim.betas={}"], ["optim.betas={}: expected a list: give optim.betas=[...]"]),
        (["home=null"], ["home=None: expected a string"]),
        (["home=[]"], ["home=[]: expected a string"]),
        (["tags=x"], ["tags='x': expected named values"]),
        (["experiment_name=' '"], ["experiment_name= : give a text that isn't blank"]),
        (["data.seed=1.5"], ["data.seed=1.5: expected a whole number"]),
        (["model.revision=1234567"], ["model.revision=1234567: expected a string or null, in quotes"]),
        (["seed=4294967296"], ["seed=4294967296: give 0 or more, below 4294967296"]),
        (["loader.sample_size=1" + "0" * 30], ["loader.sample_size=1000", "below 2^63"]),
        (["+trainer.accelerator=gpu"], ["trainer.accelerator", "takes no 'accelerator'"]),
        (["logger=wandb", "optim.lr=-1", "loss=xx"], ["loss=xx", "optim.lr=-1: give a number above 0"]),
        (["mining=model", "model/head=cross_encoder"], ["mining.searcher.model.path=", "choose mining=bm25"]),
        (["hardware=fsdp", "hardware.strategy.use_orig_params=3"], ["use_orig_params=3: expected true or false"]),
        (["hardware.attention=sdpb"], ["hardware.attention=sdpb: give varlen, sdpa, eager"]),
        (["hardware.strategy=fsdp"], ["hardware.strategy=fsdp: give auto, ddp", "as in hardware=fsdp"]),
        (["evaluation.bm25.stemmer=englisch"], ["stemmer=englisch: give a language of Snowball's stemmers"]),
        (["optim.weight_decay=5000"], ["optim.weight_decay=5000: a step subtracts lr times it", "less than 1 / lr"]),
    ],
)
def test_each_mistake_is_named(arguments, expected):
    message = "\n".join(config_errors("train", [*DEMO, *arguments]))
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    "arguments",
    [
        ["optim.weight_decay=0", "optim.warmup=0", "optim.warmup=100", "model.head.temperature=1", "seed=0"],
        ["loader.dev_size=0", "loader.workers=0", "trainer.gradient_clip_val=0", "optim.lr=1e-5"],
        ["model.lora.dropout=0", "model.lora.alpha=16", "hardware.memory_gib=40", "+trainer.max_time=00:12:00:00"],
        ["-m", "optim.lr=1e-5,2e-5", "seed=1,2"],
        ["evaluation.bm25.stemmer=null", "evaluation.bm25.stopwords=english", "run_name=2026"],
        ["hardware=ddp", "~optim.betas", "+tags.size=3", "logger=wandb"],
    ],
)
def test_what_means_something_is_accepted(arguments):
    assert config_errors("train", [*DEMO, *arguments]) == []


def test_runs_need_a_name_where_nothing_takes_their_place():
    assert config_errors("search", ["run=null", "corpus=x"]) == ["run=None: give a run's folder or MLflow id"]
    assert config_errors("evaluate", ["run=null"]) == []


@pytest.mark.parametrize(
    "value",
    [
        *(
            "/tmp/ü",
            "/tmp/a=b",
            "/tmp/[x]",
            "/tmp/{x}",
            "/tmp/it's",
            '/tmp/"q"',
            "/tmp/a#b",
            "~/x",
            "/a(b)",
            "/a;b",
            "/a&b",
        ),
        *("/tmp/a b,c=d", "[1", "'a", "a}"),
    ],
)
def test_what_hydra_cannot_read_is_shown_with_its_quotes(value):
    message = "\n".join(config_errors("train", [*DEMO, f"data.path={value}", "optim.lr=/ö"]))
    written = shlex.quote(override("data.path", value))
    assert f"data.path={value}: quote the value, for Hydra and for the shell: {written} (" in message
    assert """optim.lr=/ö: quote the value, for Hydra and for the shell: 'optim.lr="/ö"' (""" in message
    (pasted,) = shlex.split(written)
    assert not any("quote" in error for error in config_errors("train", [*DEMO, pasted]))


def test_what_is_no_override_is_said():
    message = "\n".join(config_errors("train", ["train", "a b=1", "1k=2"]))
    assert "train: expected key=value (" in message
    for key in ("'a b'", "'1k'"):
        assert f"{key} is no name of a key or group (" in message


@pytest.mark.parametrize("word", ["data.path=/tmp/a,b", "seed=1,2", "loader.workers=choice(1,2)"])
def test_several_values_without_a_sweep_are_shown_with_their_quotes(word):
    (error,) = config_errors("train", ["data=triplets", "data.path=x", "model=tiny", word])
    key, _, value = word.partition("=")
    assert f"{word} names several values: for a sweep add -m; for one text quote it" in error
    assert shlex.quote(override(key, value)) in error
    assert config_errors("train", ["data=triplets", "data.path=x", "model=tiny", word, "-m"]) == []


def test_an_experiment_makes_a_sweep_without_a_flag():
    assert config_errors("train", ["experiment=sweep_temperature", "optim.lr=1e-5,2e-5"]) == []


@pytest.mark.parametrize("experiments", ["sweep_temperature,demo", "demo,sweep_temperature"])
def test_a_sweep_over_sweeps_is_refused(experiments):
    (error,) = config_errors("train", ["-m", f"experiment={experiments}"])
    assert error.startswith("experiment=sweep_temperature is a sweep itself, over loss.temperature, seed: run it alone")
    assert config_errors("train", ["-m", "experiment=demo,demo_tiny"]) == []


@pytest.mark.parametrize(
    "words",
    [["--config-dir", "my conf"], ["-cd", "a=b"], ["--config-name", "mine"], ["--config-dir=my conf"], ["-cn=mine"]],
)
def test_flags_of_two_words_are_taken_as_hydra_takes_them(words):
    assert checked_arguments("train", [*DEMO, *words, "-m"]) == ["=".join(words), "-m", *DEMO]


def test_a_home_that_hydra_would_resolve_is_refused():
    (error,) = config_errors("train", [*DEMO, override("home", "/tmp/${x}")])
    assert error.startswith("home=/tmp/${x}: Hydra takes ${")
