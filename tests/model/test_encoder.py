"""Inference in the precision of a hardware profile."""

import pytest
import torch

from reasonir.model.embedding_cache import identity_of
from reasonir.model.export import export
from reasonir.types import Pair, Text
from tests.helpers import HEADS, SENTENCES, load

FOLDERS = {"yes_no": "decoder"}


def outputs(encoder):
    """The values of texts, or the scores of pairs."""
    if encoder.head.reads_pairs:
        return encoder.score_pairs([Pair(Text(text), Text(SENTENCES[0])) for text in SENTENCES])
    return encoder.encode([Text(text) for text in SENTENCES], "document").values_TD


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("head", HEADS)
def test_inference_rounds_as_the_profile_does_and_gives_float32(request, head, precision):
    encoder = load(request.getfixturevalue(FOLDERS.get(head, "bert")), head).eval()
    exact, name = outputs(encoder), identity_of(encoder)
    encoder.precision = precision
    rounded = outputs(encoder)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert identity_of(encoder) != name  # embeddings of another precision aren't reused


def test_an_export_is_compared_in_float32_whatever_the_precision(bert, tmp_path):
    encoder = load(bert, "biencoder").eval()
    encoder.precision = "bf16-mixed"
    export(encoder, tmp_path / "model")
    assert encoder.precision == "bf16-mixed"
