"""Span scores of documents of any length against one pass over short ones, and the contents of blocks."""

import pytest
import torch

from reasonir.errors import InputError
from reasonir.model.span_scoring import _blocks, score_spans
from reasonir.types import Pair, Text
from tests.helpers import load

SENTENCES = ["Warm air rises.", "It cools there, slowly, and then more quickly.", "Rain falls.", "Bees dance! " * 12]


def pair(sentences, separator=" ", query="why does it rain"):
    """A document of these sentences, each a span."""
    text, spans = "", []
    for sentence in sentences:
        text += separator if text else "Weather\n\n"
        spans.append((len(text), len(text) + len(sentence)))
        text += sentence
    return Pair(Text(query), Text(text + "\n"), tuple(spans))


@pytest.fixture(scope="module")
def encoder(bert):
    return load(bert, "provence", max_length=40).eval()


def test_a_short_document_is_read_at_once(encoder):
    document = pair(SENTENCES[:3])
    (scores,) = score_spans(encoder, [document])
    numbered = Pair(document.query, document.document, document.spans, (0.0, 1.0, 2.0))
    tokens, span = encoder.head.tokenizer([numbered])
    read = encoder.represent(tokens)
    probability = encoder.head.token_logits(read).values_TD[:, 0].sigmoid()
    assert scores.score == pytest.approx(encoder.head.scores(read).item(), abs=1e-6)
    assert scores.keep == pytest.approx([probability[span == number].mean().item() for number in range(3)], abs=1e-6)


@pytest.mark.parametrize("separator", [" ", "\n", ""])
@pytest.mark.parametrize("count", [1, 4, 9, 23])
def test_blocks_hold_every_character_once_and_end_with_spans(encoder, separator, count):
    document = pair((SENTENCES * 6)[:count], separator)
    blocks = list(_blocks(encoder.head.tokenizer, document))
    assert "".join(block.document.text for block in blocks) == document.document.text
    tokens, _ = encoder.head.tokenizer(blocks)
    wanted = [len(encoder.head.tokenizer.offsets(block.document)) for block in blocks]
    assert (tokens.kept_N - 1).tolist() == wanted  # nothing is cut off
    texts = {}
    for block in blocks:
        for (start, end), number in zip(block.spans, block.span_labels, strict=True):
            texts[number] = texts.get(number, "") + block.document.text[start:end]
    assert texts == {float(n): document.document.text[start:end] for n, (start, end) in enumerate(document.spans)}
    short = [number for number, (start, end) in enumerate(document.spans) if end - start < 60]
    assert all(sum(number in block.span_labels for block in blocks) == 1 for number in short)


def test_a_long_document_is_scored_by_its_blocks(encoder):
    document = pair(SENTENCES * 3)
    blocks = list(_blocks(encoder.head.tokenizer, document))
    assert len(blocks) > 3
    (scores,) = score_spans(encoder, [document])
    assert scores.score == pytest.approx(encoder.score_pairs(blocks).max().item(), abs=1e-6)
    sums, counts = torch.zeros(12), torch.zeros(12)
    for block in blocks:
        tokens, span = encoder.head.tokenizer([block])
        probability = encoder.head.token_logits(encoder.represent(tokens)).values_TD[:, 0].sigmoid()
        for number in block.span_labels:
            sums[int(number)] += probability[span == number].sum()
            counts[int(number)] += (span == number).sum()
    assert scores.keep == pytest.approx((sums / counts).tolist(), abs=1e-6)
    several = score_spans(encoder, [pair(SENTENCES[:1]), document, pair([])], budget=50)
    assert several[1].keep == pytest.approx(scores.keep, abs=1e-6)
    assert several[2].keep == ()


def test_a_long_query_leaves_documents_their_share(encoder):
    (scores,) = score_spans(encoder, [pair(SENTENCES, query="rain " * 60)])
    assert all(scores.tokens)  # every sentence is read


def test_a_model_that_is_too_short_for_blocks_is_named(bert):
    encoder = load(bert, "provence", max_length=30).eval()
    with pytest.raises(InputError, match=r"model.head.max_length=30 leaves 14 tokens for documents"):
        score_spans(encoder, [pair(SENTENCES, query="rain " * 60)])
