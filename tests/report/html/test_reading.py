"""Marks of passages: matches add up to MaxSim, struck sentences are those that a pruner drops."""

import pytest

from reasonir.inference.pruner import Pruner
from reasonir.report.html.page import ShownPiece
from reasonir.report.html.reading import THRESHOLD, marked, plainly, reading_of
from reasonir.types import Text
from tests.helpers import SENTENCES, load

QUERY = Text("Why does the kettle whistle?")
DOCUMENTS = ["The kettle whistles: steam, under pressure, leaves it.", "Ovens dry the dough.", "... !!! ???"]


def shown(passage):
    return "".join(piece.text for piece in passage.pieces)


@pytest.mark.parametrize("options", [{}, {"query_expansion": True, "query_length": 24}, {"document_prefix": ""}])
@pytest.mark.parametrize("name", ["bert", "qwen"])
def test_matches_add_up_to_the_score_and_shade_what_they_match(request, name, options):
    encoder = load(request.getfixturevalue(name), "colbert", **options)
    reading, show = reading_of(encoder)
    assert reading == "matches"
    passages = show(QUERY, DOCUMENTS)
    scores = encoder.head.score(
        encoder.encode([QUERY], "query"), encoder.encode([Text(text) for text in DOCUMENTS], "document")
    )[0]
    vectors = int(encoder.head.tokenizer([QUERY], "query").kept_N[0])
    for passage, score, text in zip(passages, scores.tolist(), DOCUMENTS, strict=True):
        assert len(passage.matches) == vectors
        assert sum(match.similarity for match in passage.matches) == pytest.approx(score, rel=1e-4)
        assert shown(passage) == text
        shaded = {piece.text for piece in passage.pieces if piece.level}
        assert shaded <= {match.document for match in passage.matches}
        assert max((piece.level for piece in passage.pieces), default=0) in (0, 5)


def test_token_spans_match_their_characters(bert):
    tokenizer = load(bert, "colbert", query_length=20, document_length=12).head.tokenizer
    for side, text in (("query", QUERY), ("document", Text(" ".join(SENTENCES)))):
        string, places, names = tokenizer.vector_offsets(text, side)
        assert len(places) == len(names) == int(tokenizer([text], side).kept_N[0])
        for (start, end), token in zip(places, names, strict=True):
            assert string[start:end].lower() == ("" if token.startswith("[") else token.removeprefix("##").lower())


def test_struck_sentences_are_those_that_the_pruner_drops(bert):
    encoder = load(bert, "provence", max_length=32)
    long = " ".join(f"{sentence.capitalize()}." for sentence in SENTENCES[:4])
    reading, show = reading_of(encoder)
    assert reading == "sentences"
    texts = [*DOCUMENTS, long, ""]
    *passages, blank = show(QUERY, texts)
    assert shown(blank) == ""
    for passage, left in zip(passages, Pruner(encoder).prune(QUERY, texts[:-1]), strict=True):
        struck = {piece.text for piece in passage.pieces if piece.struck}
        assert struck == {sentence.text for sentence in left.dropped}
        assert {piece.text for piece in passage.pieces if piece.hint} == struck | {each.text for each in left.kept}
    assert Pruner(encoder).threshold == THRESHOLD


def test_a_query_that_leaves_no_room_gives_passages_without_marks(bert):
    encoder = load(bert, "provence", max_length=32)
    (passage,) = reading_of(encoder)[1](Text(" ".join(SENTENCES)), [" ".join(SENTENCES)])
    assert not any(piece.hint for piece in passage.pieces)


def test_other_heads_mark_nothing(bert):
    assert reading_of(load(bert, "biencoder")) == ("plain", plainly)
    assert reading_of(load(bert, "cross_encoder")) == ("plain", plainly)
    assert reading_of(None) == ("plain", plainly)
    assert [shown(passage) for passage in plainly(QUERY, ["", "a b"])] == ["", "a b"]


def test_a_long_document_is_cut_to_the_window_with_most_weight():
    text = "x" * 2000
    marks = [
        (start, start + 5, weight, ShownPiece("", level=1)) for start, weight in ((10, 1.0), (1500, 2.0), (1600, 0.5))
    ]
    passage = marked(text, marks)
    assert (passage.before, passage.after) == (1300, 0)
    assert len(shown(passage)) == 700
    assert sum(piece.level for piece in passage.pieces) == 2
    assert (marked(text, marks[:1]).before, marked(text, []).after) == (0, 1300)
