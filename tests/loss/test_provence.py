"""Provence's loss by hand."""

from math import exp, log, nan

import pytest
import torch

from reasonir.distributed.ranks import Alone
from reasonir.errors import InputError
from reasonir.loss.base import PruningOutputs
from reasonir.loss.mse import Mse
from reasonir.loss.provence import ProvenceLoss
from tests.loss.outputs import known

KEEP, LABELS, PAIRS = [2.0, -1.0, 0.5, 3.0, 0.0], [1.0, 0.0, nan, 0.0, nan], [0, 0, 0, 1, 2]


def pruning_outputs():
    """Three pairs: the first has two labelled tokens, the second one, the third none."""
    return PruningOutputs(
        scores_P=torch.tensor([1.0, -1.0, 0.0]),
        query_P=torch.tensor([0, 0, 0]),
        label_P=torch.tensor([1.0, 0.0, 0.0]),
        **known([0, 0, 0], [1.0, 0.0, 0.0]),
        teachers_P={"big": torch.tensor([0.9, 0.2, 0.1])},
        ranks=Alone(),
        step=0,
        keep_T=torch.tensor(KEEP),
        token_label_T=torch.tensor(LABELS),
        pair_T=torch.tensor(PAIRS),
    )


def entropy(logit, label):
    return log(1 + exp(-logit)) if label else log(1 + exp(logit))


TOKENS = [entropy(2, 1), entropy(-1, 0), entropy(3, 0)]
RANKING = [entropy(1, 1), entropy(-1, 0), entropy(0, 0)]


@pytest.mark.parametrize(
    ("average", "pruning"), [("token", sum(TOKENS) / 3), ("document", ((TOKENS[0] + TOKENS[1]) / 2 + TOKENS[2]) / 2)]
)
def test_tokens_or_documents_are_weighted_equally(average, pruning):
    terms = ProvenceLoss(average=average)(pruning_outputs())
    assert terms["pruning"].item() == pytest.approx(pruning, rel=1e-5)
    assert terms["ranking"].item() == pytest.approx(sum(RANKING) / 3, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(0.05 * sum(RANKING) / 3 + pruning, rel=1e-5)


def test_any_objective_on_pairs_can_rank():
    objective = ProvenceLoss(Mse(target="big", sigmoid=False), 1.0, 0.0)
    assert objective.teachers == {"big"}
    expected = ((1 - 0.9) ** 2 + (-1 - 0.2) ** 2 + 0.1**2) / 3
    assert objective(pruning_outputs())["loss"].item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"average=word: choose token or document"):
        ProvenceLoss(average="word")
