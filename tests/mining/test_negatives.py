"""Mined negatives against tables worked out by hand and against loops over every document."""

from dataclasses import dataclass, field, replace

import pytest

from reasonir.data.base import copy_key
from reasonir.data.beir import Beir
from reasonir.data.prepared import example_of, prepare, read, read_manifest
from reasonir.errors import InputError
from reasonir.index.bm25 import Bm25
from reasonir.mining.bm25 import Bm25Miner
from reasonir.mining.negatives import HardNegatives
from reasonir.types import Corpus, Document, Example, Text
from tests.data import test_beir as beir
from tests.data.test_prepared import Given
from tests.helpers import SENTENCES

SCORES = {"p": 5.0, "a": 9.0, "b": 8.0, "c": 4.9, "d": 4.5, "e": 3.0, "f": 1.0}


@dataclass
class Table:
    """A searcher with a fixed score per text, the same for every query."""

    scores: dict
    name: str = "table"
    opened: int = 0
    asked: list = field(default_factory=list)

    def identity(self):
        return {"scores": self.scores}

    def open(self, corpus):
        self.opened += 1
        self.text = dict(zip(corpus.ids, corpus.texts, strict=True))
        return self

    def search(self, queries, k):
        ranking = sorted(self.text, key=lambda doc_id: -self.scores[self.text[doc_id]])[:k]
        return {query_id: {doc_id: self.scores[self.text[doc_id]] for doc_id in ranking} for query_id in queries}

    def score(self, queries, documents):
        self.asked += [(query_id, self.text[doc_id]) for query_id, doc_ids in documents.items() for doc_id in doc_ids]
        return {q: {doc_id: self.scores[self.text[doc_id]] for doc_id in doc_ids} for q, doc_ids in documents.items()}


def example(number=0, *, query="why", positives=("p",), negatives=(), excluded=()):
    documents = [Document(f"{number}.{text}", text) for text in positives]
    documents += [Document(f"{number}.{text}", text, label=0.0) for text in negatives]
    return Example(f"q{number}", query, tuple(documents), excluded=tuple(map(copy_key, excluded)))


def others(*texts):
    """An example that brings the texts into the set: its own documents are all relevant."""
    return example(99, query="other", positives=texts)


def mine(home, examples, scores=SCORES, searcher=None, **options):
    """The texts mined for each query, and the manifest's report."""
    options = {"range_min": 0, "range_max": 99, "sampling": "first", "num_negatives": 99, **options}
    source = Given(examples, mark=repr((examples, sorted(scores.items()))))
    own = prepare(source, home)
    folder = HardNegatives(searcher or Table(scores), **options).add_negatives(own, source, home)
    before = {row["query_id"]: set(row["neg_ids"]) for row in read(own)}
    mined = {}
    for each in map(example_of, read(folder)):
        mined[each.query_id] = [
            document.text for document in each.negatives if document.doc_id not in before[each.query_id]
        ]
    return mined, read_manifest(folder)["mining"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "abcdef"),
        ({"range_min": 2, "range_max": 4}, "cd"),
        ({"num_negatives": 2}, "ab"),
        ({"max_score": 4.9}, "def"),
        ({"absolute_margin": 0.0}, "cdef"),
        ({"absolute_margin": 0.5}, "ef"),
        ({"relative_margin": 1.0}, "cdef"),
        ({"relative_margin": 0.95}, "def"),
        ({"relative_margin": 0.95, "absolute_margin": 1.0, "max_score": 2.0}, "f"),
        ({"relative_margin": 0.95, "range_min": 0, "range_max": 5}, "de"),
    ],
)
def test_each_rule_by_hand(tmp_path, options, expected):
    mined, _ = mine(tmp_path, [example(), others(*"abcdef")], **options)
    assert "".join(mined["q0"]) == expected


def test_the_positives_score_is_computed_whatever_its_rank(tmp_path):
    """The window ends at rank 3; the positive, last of all, is scored by itself."""
    searcher = Table({**SCORES, "p": 8.5, "z": 0.5})
    mined, _ = mine(
        tmp_path,
        [example(positives=("z",)), others(*"abcdef")],
        searcher=searcher,
        range_min=0,
        range_max=1,
        absolute_margin=0.0,
        block=1,
    )
    assert mined["q0"] == []
    assert ("q0", "z") in searcher.asked


@pytest.mark.parametrize(("positive", "expected"), [("highest", "cde"), ("lowest", "e")])
def test_of_several_positives_the_highest_or_the_lowest_counts(tmp_path, positive, expected):
    mined, _ = mine(tmp_path, [example(positives=("p", "d")), others(*"abce")], relative_margin=1.0, positive=positive)
    assert "".join(mined["q0"]) == expected.replace("d", "")


def test_a_relative_limit_keeps_its_distance_on_negative_scores(tmp_path):
    scores = {"p": -1.0, "a": -0.5, "b": -1.04, "c": -1.06}
    mined, _ = mine(tmp_path, [example(), others("a", "b", "c")], scores, relative_margin=0.95)
    assert mined["q0"] == ["c"]


def test_ineligible_documents_are_never_taken_and_leave_no_gap_in_the_ranks(tmp_path):
    examples = [
        example(0, query="a", positives=("p",), negatives=("d",), excluded=("b",)),
        example(1, query="a", positives=("c",)),
        others("b", " a ", "e", "f"),
    ]
    scores = {**SCORES, " a ": 9.0}
    mined, report = mine(tmp_path, examples, scores, range_min=0, range_max=2)
    assert mined["q0"] == [
        "e",
        "f",
    ]  # not a: the query; b: excluded; c: relevant to the same query; d: its own negative
    assert mined["q1"] == ["b", "d"]
    assert report["removed"]["excluded"] == 1
    assert report["removed"]["already_negative"] == 1


def test_equal_texts_are_one_document_whatever_their_ids(tmp_path):
    twins = Example("q5", "five", (Document("x", "p"), Document("y", "e", label=0.0), Document("z", "e ", label=0.0)))
    mined, _ = mine(tmp_path, [example(), twins], {**SCORES, "e ": 3.0})
    assert mined["q0"] == ["e"]


def test_own_negatives_stay_or_are_replaced(tmp_path):
    source = Given([example(negatives=("d",)), others("a", "e")], mark="own")
    own = prepare(source, tmp_path)
    texts = {}
    for replace_own in (False, True):
        stage = HardNegatives(
            Table(SCORES), range_min=0, range_max=99, sampling="first", num_negatives=2, replace_own=replace_own
        )
        (first, *_) = map(example_of, read(stage.add_negatives(own, source, tmp_path)))
        texts[replace_own] = [document.text for document in first.negatives]
        assert [document.text for document in first.positives] == ["p"]
    assert texts == {False: ["d", "a", "e"], True: ["a", "d"]}


def test_short_documents_are_no_negatives(tmp_path):
    scores = {"p": 5.0, "one two": 3.0, "one two three": 2.0}
    mined, report = mine(tmp_path, [example(), others("one two", "one two three")], scores, min_words=3)
    assert mined["q0"] == ["one two three"]
    assert report["removed"]["min_words"] == 2  # "p" for the other query


def test_draws_depend_on_seed_and_row_alone(tmp_path):
    texts = [chr(97 + i) * 2 for i in range(26)]
    scores = {"p": 99.0, **{text: float(i) for i, text in enumerate(texts)}}
    given = [*(example(i, query=f"w{i}") for i in range(7)), others(*texts)]
    options = {"sampling": "random", "num_negatives": 3, "range_min": 1, "range_max": 20}
    drawn, report = mine(tmp_path / "a", given, scores, block=1024, **options)
    assert drawn == mine(tmp_path / "b", given, scores, block=2, **options)[0]
    assert drawn != mine(tmp_path / "a", given, scores, seed=1, **options)[0]
    assert len({tuple(found) for found in drawn.values()}) > 3
    assert all(found == sorted(found, reverse=True) for found in drawn.values())
    assert all(set(found) <= set(texts[6:25]) for query_id, found in drawn.items() if query_id != "q99")
    assert sum(report["ranks"]["bins"].values()) == 21


def test_the_report_by_hand(tmp_path):
    _, report = mine(
        tmp_path, [example(), others(*"abcdef")], range_min=1, range_max=5, relative_margin=0.95, num_negatives=2
    )
    # q0: b to f in the window, b and c too high; q99: p alone, at rank 1, is skipped.
    assert report["queries"] == 2
    assert report["negatives"] == 2
    assert report["without"] == 0.5
    assert report["given"] == {"0": 1, "2": 1}
    assert report["candidates"] == 4
    assert report["removed"] == {"relevant": 7, "relative_margin": 2}
    assert report["ranks"] == {"median": 4.5, "bins": {"4-4": 1, "5-5": 1}}
    assert report["examples"] == [{"query": "why", "positive": "p", "negative": "d", "rank": 4, "score": 4.5}]


def test_a_set_is_mined_once_for_the_same_options(tmp_path):
    source = Given([example(), others(*"abc")])
    own = prepare(source, tmp_path)
    searcher = Table(SCORES)
    first = HardNegatives(searcher, range_min=0, range_max=9).add_negatives(own, source, tmp_path)
    assert HardNegatives(searcher, range_min=0, range_max=9, block=1).add_negatives(own, source, tmp_path) == first
    assert searcher.opened == 1
    assert first.name.startswith("given-table-")
    for change in (
        {"range_min": 0, "range_max": 8},
        {"range_min": 0, "range_max": 9, "seed": 1},
        {"range_min": 0, "range_max": 9, "relative_margin": 0.9},
    ):
        assert HardNegatives(searcher, **change).add_negatives(own, source, tmp_path) != first
    searcher.scores = {**SCORES, "a": 0.1}
    assert HardNegatives(searcher, range_min=0, range_max=9).add_negatives(own, source, tmp_path) != first
    source.mark = "other"
    assert (
        HardNegatives(searcher, range_min=0, range_max=9).add_negatives(prepare(source, tmp_path), source, tmp_path)
        != first
    )


def test_nothing_mined_is_a_mistake_and_leaves_no_set(tmp_path):
    with pytest.raises(InputError, match=r"no negative for any query: 0 candidates at ranks 11 to 100 of 7 documents"):
        mine(tmp_path, [example(), others(*"abcdef")], range_min=10, range_max=100)
    message = r"7 candidates .*removed: 7 not below max_score; skip fewer \(mining.range_min\)"
    with pytest.raises(InputError, match=message):
        mine(tmp_path, [example(), others(*"abcdef")], max_score=0.5, range_min=0, range_max=6)
    assert len(list((tmp_path / "data").iterdir())) == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"relative_margin": 0.9}, {"absolute_margin": 0.5, "positive": "lowest"}, {"range_min": 2, "range_max": 5}],
)
def test_bm25_against_loops_over_every_document(tmp_path, options):
    """Scores of every pair, sorted, filtered and cut, one rule after the other."""
    texts = [f"{sentence} {SENTENCES[i * 5 % 12]}" for i, sentence in enumerate(SENTENCES)]
    positives = {i: (texts[(i + 1) % 12], texts[(i + 4) % 12]) for i in range(12)}
    queries = [f"{SENTENCES[(i + 1) % 12]} {SENTENCES[(i + 4) % 12]}" for i in range(12)]
    given = [example(i, query=query, positives=positives[i]) for i, query in enumerate(queries)]
    source = Given(given)
    rules = {
        "range_min": 0,
        "range_max": 6,
        "absolute_margin": None,
        "relative_margin": None,
        "positive": "highest",
        **options,
    }
    stage = HardNegatives(Bm25Miner(Bm25()), sampling="first", num_negatives=3, block=5, **rules)
    folder = stage.add_negatives(prepare(source, tmp_path), source, tmp_path)
    index = Bm25()
    index.build(Corpus(texts, texts))
    for number, found in enumerate(map(example_of, read(folder))):
        (scores,) = index.scores([Text(given[number].query)])
        score = dict(zip(texts, scores.tolist(), strict=True))
        ranked = sorted(
            (text for text in texts if score[text] > 0 and text not in positives[number]), key=lambda t: -score[t]
        )
        window = ranked[rules["range_min"] : rules["range_max"]]
        best = (max if rules["positive"] == "highest" else min)(score[text] for text in positives[number])
        if rules["relative_margin"] is not None:
            window = [text for text in window if score[text] < rules["relative_margin"] * best]
        if rules["absolute_margin"] is not None:
            window = [text for text in window if score[text] < best - rules["absolute_margin"]]
        assert [round(score[d.text], 4) for d in found.negatives] == [round(score[text], 4) for text in window[:3]]


def test_a_collection_is_searched_beyond_its_labelled_documents(tmp_path):
    source = Beir(str(beir.write(tmp_path / "col", qrels=[("q1", "d1", 1), ("q2", "d 2", 1)])))
    stage = HardNegatives(
        Table({"Salt lowers the freezing point": 1.0, "water expands": 2.0, "ice floats": 3.0}),
        range_min=0,
        range_max=1,
    )
    first, second = map(example_of, read(stage.add_negatives(prepare(source, tmp_path), source, tmp_path)))
    assert first.negatives == second.negatives == (Document("d3", "ice floats", label=0.0),)


def test_labels_of_one_query_arent_passed_to_another(tmp_path):
    labelled = Document("a", "a", label=0.0, teachers={"big": 0.9}, spans=((0, 1),), span_labels=(1.0,))
    given = [replace(example(), documents=(Document("p", "p", teachers={"big": 1.0}),))]
    given += [replace(others(), documents=(Document("z", "z", teachers={"big": 1.0}), labelled))]
    source = Given(given)
    stage = HardNegatives(Table({**SCORES, "z": 0.1}), range_min=0, range_max=1, sampling="first")
    first, second = map(example_of, read(stage.add_negatives(prepare(source, tmp_path), source, tmp_path)))
    assert first.negatives == (Document("a", "a", label=0.0),)
    assert second.negatives[0] == replace(labelled, teachers={})
