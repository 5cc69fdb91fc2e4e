"""Command lines whose mistakes reach the composition itself: each named, with what to give instead."""

import pytest

from reasonir.cli.check import config_errors

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
