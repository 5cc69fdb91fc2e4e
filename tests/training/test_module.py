"""The module's steps."""

import pytest

from reasonir.engine.step import Budget
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.training.module import RetrieverModule
from reasonir.training.optim import Optim
from tests.helpers import batch_of, examples, fit, load


def gradient_norms(folder, head, *, accumulate, equal_passes):
    """Return the gradient norm of each optimiser step of two passes over five batches, with weights that stay."""
    encoder = load(folder, head)
    encoder.backbone.config.attention_probs_dropout_prob = encoder.backbone.config.hidden_dropout_prob = 0.0
    norms = []

    class Recording(RetrieverModule):
        def configure_gradient_clipping(self, *args, **kwargs):
            super().configure_gradient_clipping(*args, **kwargs)
            norms.append(float(self.norm))

    budget = Budget(10**9, 10**9, equal_passes=equal_passes)
    module = Recording(encoder.eval(), CachedContrastive(0.5), Optim(lr=1e-12, warmup=0), budget, steps=9, seed=1)
    batches = [batch_of(encoder, examples(4 + number), step=0) for number in range(5)]
    fit(module, batches, max_epochs=2, accumulate_grad_batches=accumulate)
    return norms


@pytest.mark.parametrize("equal_passes", [False, True])
def test_every_batch_counts_alike_in_its_optimiser_step_also_in_the_last_of_a_pass(bert, equal_passes):
    single = gradient_norms(bert, "biencoder", accumulate=1, equal_passes=equal_passes)
    assert single[:5] == pytest.approx(single[5:])
    pairs = gradient_norms(bert, "biencoder", accumulate=2, equal_passes=equal_passes)
    assert len(pairs) == 6
    assert pairs[2] == pairs[5] == pytest.approx(single[4])  # the fifth batch alone, at its full weight
    whole = gradient_norms(bert, "biencoder", accumulate=5, equal_passes=equal_passes)
    assert gradient_norms(bert, "biencoder", accumulate=9, equal_passes=equal_passes) == pytest.approx(whole)
