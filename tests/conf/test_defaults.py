"""Defaults that follow from choices: the loss from the head, the evaluation from the data; the command line wins."""

import pytest

from reasonir.cli.check import problems
from reasonir.config import CONF, loss_of


def built(node):
    return node._target_.rsplit(".", 1)[-1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "CachedContrastive"),
        (("model/head=biencoder",), "CachedContrastive"),
        (("model/head=gaussian",), "GaussianLoss"),
        (("model/head=splade",), "SpladeLoss"),
        (("model/head=cross_encoder",), "Bce"),
        (("model=qwen_reranker",), "Bce"),
        (("model/head=provence",), "ProvenceLoss"),
        (("model/head=cross_encoder", "loss=listwise"), "Listwise"),
        (("model=gte_reranker", "model/head=colbert"), "CachedContrastive"),
        (("model@teacher.model=gte_reranker", "teacher=reranker"), "CachedContrastive"),
    ],
)
def test_a_head_brings_its_loss(composed, given, expected):
    assert built(composed("train", "model=tiny", *given).loss) == expected


@pytest.mark.parametrize("head", sorted(file.stem for file in (CONF / "model" / "head").glob("*.yaml")))
def test_every_heads_loss_trains_it(composed, head):
    config = composed("train", "model=tiny", f"model/head={head}", "data=demo")
    assert problems(config) == []
    assert (CONF / "loss" / f"{loss_of(head)}.yaml").is_file()


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("data=reasonir",), "Bright"),
        (("data=demo",), "DemoBenchmark"),
        (("data=graded", "data.path=x"), "GradedBenchmark"),
        (("data=triplets", "data.path=x"), "SourceTestSplit"),
        (("data=beir", "data.path=x"), "SourceTestSplit"),
        (("data=documents", "data.path=x"), "SourceTestSplit"),
        (("data=prepared", "data.path=x"), "SourceTestSplit"),
        (("data=mixture", "+data@data.sources.a=demo"), "SourceTestSplit"),
        (("data=context_relevance", "data.path=x"), "ContextRelevanceBenchmark"),
        (("data=open_provence",), "ContextRelevanceBenchmark"),
        (("data=triplets", "data.path=x", "eval=demo"), "DemoBenchmark"),
        (("eval=bright_mini",), "BrightMini"),
    ],
)
def test_data_brings_its_evaluation(composed, command, given, expected):
    assert built(composed(command, "model=tiny", *given).eval) == expected


def test_an_evaluation_without_data_is_brights(composed):
    assert built(composed("evaluate", "model=tiny").eval) == "Bright"


def test_a_reference_to_a_key_that_another_part_lacks_is_a_sentence(composed):
    misfit = problems(composed("train", "model=tiny", "model/head=cross_encoder", "loss=cached_contrastive"))
    assert misfit == [
        "model/head and loss don't fit: CrossEncoder is a reranker, and CachedContrastive trains retriever heads: "
        "choose another loss= or model/head="
    ]
    lacking = problems(
        composed("train", "model=tiny", "model/head=cross_encoder", "loss.temperature=${model.head.temp}")
    )
    assert lacking == [
        "loss.temperature=${model.head.temp}: there is no such key here: give loss.temperature=<value>, or choose "
        "another part"
    ]
