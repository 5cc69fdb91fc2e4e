"""Losses and targets that don't fit are refused with the query, the value and what to choose instead."""

from functools import partial

import pytest

from reasonir.commands.train_checks import refuse_stopping_without_dev, refuse_unfit_targets, refuse_unfit_teacher
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.kl import Kl
from reasonir.loss.lambda_ import Lambda
from reasonir.loss.listwise import Listwise
from reasonir.loss.margin_mse import MarginMse
from reasonir.loss.mse import Mse
from reasonir.loss.provence import ProvenceLoss
from reasonir.loss.ranknet import Ranknet
from reasonir.loss.sum import Sum
from reasonir.model.backbone import Model
from reasonir.model.head.cross_encoder import CrossEncoder
from reasonir.teacher.none import NoTeacher
from reasonir.teacher.reranker import Reranking
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import EarlyStoppingOptions, LoaderOptions
from reasonir.types import Document, Example
from tests.data.test_prepared import Given

PROBABILITIES, GRADES, LOGITS = (1.0, 0.25, 0.0), (4.0, 1.0, 0.0), (7.5, -3.25, -9.0)
SCALES = {"probabilities": PROBABILITIES, "grades": GRADES, "logits": LOGITS}
FITS = {
    Bce: {"probabilities"},
    Mse: {"probabilities"},
    Listwise: {"probabilities", "grades"},
    Lambda: {"probabilities", "grades"},
    Kl: SCALES.keys(),
    Ranknet: SCALES.keys(),
    MarginMse: SCALES.keys(),
}


def trained_on(tmp_path, labels, scores):
    """Data of four queries, the third of which has these labels and scores of the teacher "big"."""
    given = [
        Example(
            f"q{number}",
            f"query {number}",
            tuple(
                Document(f"d{number}.{place}", f"text {number}.{place}", label=label, teachers={"big": score})
                for place, (label, score) in enumerate(zip(*values, strict=True))
            ),
        )
        for number, values in enumerate([((1.0, 0.0), (1.0, 0.5))] * 2 + [(labels, scores), ((1.0, 0.0), (1.0, 0.5))])
    ]
    data = RetrievalData(
        Given(given, mark=repr((labels, scores))), LoaderOptions(dev_size=0), home=tmp_path, seed=0, pairs=True
    )
    data.setup()
    return data


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("loss", FITS)
@pytest.mark.parametrize("target", ["label", "big"])
@pytest.mark.parametrize("whole", [lambda loss: loss, lambda loss: Sum({"one": loss, "kl": Kl()}), ProvenceLoss])
def test_every_loss_with_every_kind_of_target(tmp_path, kind, loss, target, whole):
    scales = (SCALES[kind], PROBABILITIES) if target == "label" else (PROBABILITIES, SCALES[kind])
    data = trained_on(tmp_path, *scales)
    if kind in FITS[loss]:
        refuse_unfit_targets(whole(loss(target=target)), data)
        return
    expected = rf"query 'q2' has (4|7\.5|-3\.25) as '{target}', and {loss.__name__} learns from targets from 0 to"
    with pytest.raises(InputError, match=expected):
        refuse_unfit_targets(whole(loss(target=target)), data)


def test_scores_are_compared_with_any_target_and_in_batch_losses_read_none(tmp_path):
    data = trained_on(tmp_path, GRADES, LOGITS)
    refuse_unfit_targets(Mse(target="big", sigmoid=False), data)
    refuse_unfit_targets(CachedContrastive(0.05), data)


def test_every_unfit_target_is_named_at_once(tmp_path):
    data = trained_on(tmp_path, GRADES, LOGITS)
    with pytest.raises(InputError, match=r"2 targets .*\n.*as 'big', and Listwise.*\n.*as 'label', and Bce"):
        refuse_unfit_targets(Sum({"one": Listwise(target="big"), "two": Bce()}), data)


@pytest.mark.parametrize("loss", [Bce, Mse, Listwise, Lambda])
def test_a_teachers_logits_are_refused_before_it_scores(loss):
    model = Model("x", head=partial(CrossEncoder.load))
    teacher = Reranking(model, Hardware("cpu"), name="big", scale="logit")
    for whole in (loss(target="big"), Sum({"one": loss(target="big")}), ProvenceLoss(loss(target="big"))):
        with pytest.raises(InputError, match=rf"teacher\.scale=logit: {loss.__name__} .* teacher\.scale=probability"):
            refuse_unfit_teacher(whole, teacher)
    refuse_unfit_teacher(Sum({"one": loss(), "kl": Kl(target="big")}), teacher)
    refuse_unfit_teacher(loss(target="big"), Reranking(model, Hardware("cpu"), name="big", scale="probability"))
    refuse_unfit_teacher(loss(target="big"), NoTeacher())


def test_early_stopping_needs_development_queries(tmp_path):
    data = trained_on(tmp_path, PROBABILITIES, PROBABILITIES)
    refuse_stopping_without_dev(EarlyStoppingOptions(), data)
    with pytest.raises(InputError, match=r"early_stopping\.patience=2: no development queries .* loader\.dev_size"):
        refuse_stopping_without_dev(EarlyStoppingOptions(patience=2), data)
