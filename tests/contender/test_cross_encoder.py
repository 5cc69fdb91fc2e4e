"""Both ways to train a cross-encoder have one loss and the same gradients, parameter by parameter."""

from functools import partial

import pytest

import reasonir.model.head.cross_encoder as head
from reasonir.contender.base import Workload
from reasonir.contender.cross_encoder import CrossEncoder
from reasonir.contender.ours import Ours
from reasonir.contender.race import _without_dropout
from reasonir.model.backbone import Model
from tests.helpers import SENTENCES, gradients, largest_difference, load

LENGTH = 64


@pytest.fixture(scope="module")
def workload(bert, tmp_path_factory):
    """Six queries with a positive and two negatives each, one to forty sentences long, on an export."""
    folder = tmp_path_factory.mktemp("export")
    load(bert, "cross_encoder", max_length=LENGTH).save(folder)
    queries = list(SENTENCES[:6])
    documents = [[f"{SENTENCES[i + k]} " * (1 + 13 * ((i + k) % 4)) for i in range(6)] for k in (1, 3, 6)]
    model = Model(str(folder), head=partial(head.CrossEncoder.load, max_length=LENGTH))
    return Workload(model, [queries, *documents], 1.0, "cpu", (150, 400))


def step(contender, workload):
    """The loss and every gradient by the classifier's own names."""
    model, loss = contender.load(workload)
    model.train()
    _without_dropout(model)
    value = loss()
    value.backward()
    found = {}
    for name, gradient in gradients(model).items():
        for ours, theirs in (("backbone.", "bert."), ("head.classifier.", ""), ("model.", "")):
            if name.startswith(ours):
                found[theirs + name.removeprefix(ours)] = gradient
    return value.item(), found


@pytest.mark.parametrize("recompute", [False, True])
def test_our_step_is_that_of_sentence_transformers(workload, recompute):
    lengths_P = workload.batch(load(workload.model.path, "cross_encoder", max_length=LENGTH).head).tokens.lengths_N
    assert lengths_P.min() < LENGTH / 2
    assert lengths_P.max() == LENGTH
    assert [document.label for document in workload.examples[0].documents] == [1.0, 0.0, 0.0]
    ours, our_gradients = step(Ours(recompute), workload)
    theirs, their_gradients = step(CrossEncoder(), workload)
    assert "bert.pooler.dense.weight" in our_gradients
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert largest_difference(our_gradients, their_gradients) < 5e-5
