"""Objectives on labelled pairs against loops, values by hand, or sentence-transformers."""

from math import exp, log
from types import SimpleNamespace

import pytest
import torch

from reasonir.errors import InputError
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.gaussian import GaussianLoss
from reasonir.loss.kl import Kl
from reasonir.loss.lambda_ import Lambda
from reasonir.loss.listwise import Listwise
from reasonir.loss.margin_mse import MarginMse
from reasonir.loss.mse import Mse
from reasonir.loss.per_query import by_query
from reasonir.loss.provence import ProvenceLoss
from reasonir.loss.ranknet import Ranknet
from reasonir.loss.sum import Sum
from tests.loss.outputs import pair_outputs

SCORES, LABELS, QUERIES = [2.0, -1.0, 0.5, 1.0, 0.0], [1.0, 0.0, 0.5, 0.0, 1.0], [0, 0, 0, 1, 1]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def value(objective, *, scores=SCORES, labels=LABELS, queries=QUERIES, **teachers):
    return objective(pair_outputs(scores, labels, queries=queries, **teachers))["loss"].item()


def test_pairs_are_laid_out_one_query_per_row():
    inside, values = by_query(pair_outputs([0.0] * 5, [0.0] * 5, queries=[0, 0, 1, 2, 2]), torch.arange(5.0))
    assert inside.tolist() == [[True, True], [True, False], [True, True]]
    assert values.tolist() == [[0, 1], [2, 0], [3, 4]]


def test_bce_takes_soft_labels():
    expected = [-y * log(sigmoid(s)) - (1 - y) * log(1 - sigmoid(s)) for s, y in zip(SCORES, LABELS, strict=True)]
    assert value(Bce()) == pytest.approx(sum(expected) / 5, rel=1e-5)
    assert value(Bce(temperature=0.5)) == pytest.approx(value(Bce(), scores=[2 * s for s in SCORES]), rel=1e-5)


def test_mse_compares_probabilities_or_logits():
    assert value(Mse()) == pytest.approx(
        sum((sigmoid(s) - y) ** 2 for s, y in zip(SCORES, LABELS, strict=True)) / 5, rel=1e-5
    )
    teacher = [1.0, 1.0, 0.0, 0.0, 0.0]
    loss = value(Mse(target="big", sigmoid=False), big=teacher)
    assert loss == pytest.approx(sum((s - t) ** 2 for s, t in zip(SCORES, teacher, strict=True)) / 5, rel=1e-5)


def test_listwise_is_infonce_for_one_relevant_document():
    loss = value(Listwise(temperature=0.5), scores=[1.0, 0.0, 2.0], labels=[1.0, 0.0, 0.0], queries=[0, 0, 0])
    assert loss == pytest.approx(log(exp(2) + exp(0) + exp(4)) - 2, rel=1e-5)


def test_listwise_shares_its_target_and_leaves_out_what_teaches_nothing():
    first = log(exp(2) + exp(-1) + exp(0.5))
    expected = (1 / 1.5) * (first - 2) + (0.5 / 1.5) * (first - 0.5)
    loss = value(
        Listwise(),
        scores=[*SCORES[:3], 1.0, 1.0, 9.0],
        labels=[*LABELS[:3], 0.0, 0.0, 1.0],
        queries=[0, 0, 0, 1, 1, 2],
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    assert value(Listwise(), scores=[1.0], labels=[1.0], queries=[0]) == 0


def test_kl_is_zero_where_the_teacher_is_met_and_counts_by_query():
    assert value(Kl(target="t"), t=[s + 7 for s in SCORES]) == pytest.approx(0, abs=1e-6)
    model, teacher = ([sigmoid(1.0), 1 - sigmoid(1.0)], [sigmoid(-2.0), 1 - sigmoid(-2.0)])
    expected = sum(p * log(p / q) for p, q in zip(teacher, model, strict=True))
    loss = value(Kl(target="t"), scores=[1.0, 0.0, 5.0], labels=[1.0, 0, 1], queries=[0, 0, 1], t=[0.0, 2.0, 1.0])
    assert loss == pytest.approx(expected, rel=1e-5)


def test_ranknet_compares_every_two_documents_of_a_query_whose_targets_differ():
    gaps = [2.0 + 1.0, 2.0 - 0.5, 0.5 + 1.0, 0.0 - 1.0]
    terms = Ranknet()(pair_outputs(SCORES, LABELS, queries=QUERIES))
    assert terms["loss"].item() == pytest.approx(sum(log(1 + exp(-g)) for g in gaps) / 4, rel=1e-5)
    assert terms["accuracy"].item() == 0.75
    assert value(Ranknet(), labels=[1.0] * 5) == 0


def test_margin_mse_keeps_the_teachers_distances():
    teacher = [3.0, 1.0, 2.0, 0.0, 4.0]
    gaps = [(3.0, 2.0), (1.5, 1.0), (1.5, 1.0), (-1.0, 4.0)]
    loss = value(MarginMse(target="t"), t=teacher)
    assert loss == pytest.approx(sum((gap - expected) ** 2 for gap, expected in gaps) / 4, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_lambda_is_that_of_sentence_transformers(seed):
    from sentence_transformers.cross_encoder.losses import LambdaLoss

    draw = torch.Generator().manual_seed(seed)
    counts = [4, 1, 6]
    scores = torch.randn(sum(counts), generator=draw)
    labels = torch.randint(0, 4, (sum(counts),), generator=draw).float()
    tokens = type("Tokens", (dict,), {"to": lambda self, _: self})()
    model = SimpleNamespace(num_labels=1, device="cpu", tokenizer=lambda *_, **__: tokens, prompts={})
    model.preprocess = model.tokenizer  # of sentence-transformers, from 6 on

    class Stub(SimpleNamespace):
        def __call__(self, *given, **_):
            return {"scores": scores[:, None]} if given else (scores[:, None],)

    reference = LambdaLoss.__new__(LambdaLoss)
    torch.nn.Module.__init__(reference)
    LambdaLoss.__init__(reference, Stub(**vars(model)), mini_batch_size=-1)
    expected = reference.forward([["q"] * 3, [["d"] * count for count in counts]], list(labels.split(counts)))
    queries = [query for query, count in enumerate(counts) for _ in range(count)]
    loss = value(Lambda(), scores=scores.tolist(), labels=labels.tolist(), queries=queries)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_sum_weighs_its_terms_and_names_them():
    objective = Sum({"bce": Bce(), "rank": Ranknet(), "kl": Kl(target="t")}, {"rank": 0.25, "kl": 2.0})
    outputs = pair_outputs(SCORES, LABELS, queries=QUERIES, t=[0.0, 1.0, 2.0, 3.0, 4.0])
    terms = objective(outputs)
    parts = [Bce()(outputs)["loss"], 0.25 * Ranknet()(outputs)["loss"], 2 * Kl(target="t")(outputs)["loss"]]
    assert terms["loss"].item() == pytest.approx(sum(parts).item())
    assert set(terms) == {"loss", "bce", "rank", "kl", "rank_accuracy"}
    assert objective.teachers == {"t"}


def test_a_weight_without_a_term_is_refused():
    with pytest.raises(InputError, match=r"weights\.klx: no such term; the terms are bce"):
        Sum({"bce": Bce()}, {"klx": 1.0})
    with pytest.raises(InputError, match="is empty: name the objectives"):
        Sum({})


@pytest.mark.parametrize("objective", [Bce, Kl, Listwise, Ranknet, CachedContrastive, GaussianLoss])
@pytest.mark.parametrize("temperature", [0, -0.5, float("nan")])
def test_temperatures_are_above_zero(objective, temperature):
    with pytest.raises(InputError, match=r"temperature=.*: give a (number above 0|finite number)"):
        objective(temperature=temperature)


def test_a_sum_that_is_always_zero_is_refused():
    with pytest.raises(InputError, match="weights are 0 for every term, which trains nothing"):
        Sum({"a": Kl(), "b": Mse()}, {"a": 0, "b": 0.0})
    with pytest.raises(InputError, match="ranking_weight=0 and pruning_weight=0 train nothing"):
        ProvenceLoss(ranking_weight=0, pruning_weight=0)
    assert Sum({"a": Kl(), "b": Mse()}, {"a": 0})
