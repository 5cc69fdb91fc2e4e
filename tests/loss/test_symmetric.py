from math import exp, log

import pytest

from reasonir.loss.symmetric import Symmetric
from tests.loss.outputs import retrieval_outputs


def test_both_directions_count_alike():
    """The first document is known to the second query, which so is no negative of it."""
    terms = Symmetric(1.0)(
        retrieval_outputs([[1.0, 0.5], [7.0, 2.0]], [(0, 0, 1.0), (1, 1, 1.0)], [[False, True], [False, False]])
    )
    forward = (log(exp(1) + exp(0.5)) - 1, 0.0)
    back = (0.0, log(exp(2) + exp(0.5)) - 2)
    assert terms["loss"].item() == pytest.approx((sum(forward) + sum(back)) / 4, rel=1e-5)
