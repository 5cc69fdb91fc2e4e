"""Pruning as a user calls it."""

import pytest
import torch

from reasonir.errors import InputError
from reasonir.inference.pruner import Pruner
from reasonir.model.export import export
from reasonir.types import Pair, Text
from reasonir.utils.sentences import sentences
from tests.helpers import load

TEXTS = ["Warm air rises. It cools.\n\nRain falls. ", "Bees dance.", "A lever trades. " * 40]


@pytest.fixture(scope="module")
def pruner(bert, tmp_path_factory):
    """A pruner saved and loaded, whose layers are large enough to tell sentences apart."""
    encoder = load(bert, "provence", max_length=48)
    torch.manual_seed(3)
    with torch.no_grad():
        encoder.head.keep.weight.normal_(std=0.3)
        encoder.head.classifier.classifier.weight.normal_(std=3.0)
    folder = tmp_path_factory.mktemp("pruner")
    export(encoder, folder)
    return Pruner.load(str(folder), max_length=48, threshold=0.5)


def test_a_document_is_its_kept_sentences_and_the_probabilities_of_all(pruner):
    found = pruner.prune("why does it rain", TEXTS)
    assert [pruned.position for pruned in found] == [0, 1, 2]
    for text, pruned in zip(TEXTS, found, strict=True):
        both = sorted((*pruned.kept, *pruned.dropped), key=lambda each: each.start)
        assert tuple((each.start, each.end) for each in both) == sentences(text)
        assert all(text[each.start : each.end] == each.text for each in both)
        assert all(each.probability > 0.5 for each in pruned.kept)
        assert all(each.probability <= 0.5 for each in pruned.dropped)
        assert pruned.text.split() == " ".join(each.text for each in pruned.kept).split()
        assert pruned.compression == pytest.approx(1 - len(pruned.text) / max(1, len(text.strip())))
    probabilities = [each.probability for pruned in found for each in (*pruned.kept, *pruned.dropped)]
    assert min(probabilities) < 0.5 < max(probabilities)
    score = pruner.encoder.score_pairs([Pair(Text("why does it rain"), Text(TEXTS[0]))]).sigmoid().item()
    assert found[0].score == pytest.approx(score, abs=1e-5)


def test_everything_kept_is_the_document_itself(pruner):
    found = Pruner(pruner.encoder, threshold=0.0).prune("rain", TEXTS[:2])
    assert [pruned.text for pruned in found] == [text.strip() for text in TEXTS[:2]]
    assert [pruned.compression for pruned in found] == [0, 0]
    nothing = Pruner(pruner.encoder, threshold=0.9999999).prune("rain", TEXTS[:1], titles=["Weather"])[0]
    assert (nothing.text, nothing.title, nothing.compression, nothing.kept) == ("", "", 1.0, ())


def test_the_best_come_in_their_order_or_first(pruner):
    every = pruner.prune("rain", TEXTS[:3])
    order = sorted(range(3), key=lambda place: -every[place].score)
    assert len({pruned.score for pruned in every}) == 3
    assert [pruned.position for pruned in pruner.prune("rain", TEXTS[:3], reorder=True)] == order
    assert [pruned.position for pruned in pruner.prune("rain", TEXTS[:3], top_k=2)] == sorted(order[:2])


def test_titles_are_read_and_kept_with_their_documents(pruner):
    (plain,), (titled,) = (pruner.prune("rain", TEXTS[:1], titles=titles) for titles in (None, ["Weather"]))
    assert plain.score != titled.score
    everything = Pruner(pruner.encoder, threshold=0.0).prune("rain", TEXTS[:1], titles=["Weather"])[0]
    assert (everything.title, everything.text) == ("Weather", TEXTS[0].strip())
    with pytest.raises(InputError, match="1 titles for 2 texts"):
        pruner.prune("rain", TEXTS[:2], titles=["Weather"])


def test_own_sentences_can_be_given(pruner):
    halves = Pruner(pruner.encoder, threshold=0.0, split=lambda text: [(0, 4), (5, 9)])
    (found,) = halves.prune("rain", ["abcd efgh"])
    assert [each.text for each in found.kept] == ["abcd", "efgh"]


@pytest.mark.parametrize("ranges", [[(0, 99)], [(-1, 3)], [(3, 3)], [(4, 2)], [(0, 4), (3, 6)], [(5, 9), (0, 4)]])
def test_sentences_that_are_not_in_the_text_are_refused(pruner, ranges):
    with pytest.raises(InputError, match=r"split gives .* for 'abcd efgh': give ranges in it, in order and apart"):
        Pruner(pruner.encoder, split=lambda text: ranges).prune("rain", ["abcd efgh"])
    with pytest.raises(InputError, match="split is None: give a function"):
        Pruner(pruner.encoder, split=None)
