"""A teacher's column holds the reranker's own scores, computed once per checkpoint, even across interruptions."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from reasonir.data.prepared import example_of, prepare, read, read_manifest
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.index.bm25 import Bm25
from reasonir.inference.reranker import Reranker
from reasonir.mining.bm25 import Bm25Miner
from reasonir.mining.negatives import HardNegatives
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.model.head.colbert import ColBERT
from reasonir.model.tiny import TinyDecoder
from reasonir.teacher.none import NoTeacher
from reasonir.teacher.report import TeacherTally, sentence
from reasonir.teacher.reranker import Reranking
from reasonir.types import Pair, Text
from tests.data.test_prepared import Given
from tests.helpers import HEADS, examples

CPU = Hardware("cpu", accelerator="cpu")
GIVEN = [replace(each, instruction="find the reason") if i % 3 else each for i, each in enumerate(examples(10))]
PAIRS = 2 * len(GIVEN)


def teacher(folder, head="yes_no", *, head_options=(), **options):
    return Reranking(Model(path=str(folder), head=partial(HEADS[head].load, **dict(head_options))), CPU, **options)


def taught(folder):
    return [example_of(row) for row in read(folder)]


@pytest.fixture
def scored(monkeypatch):
    """Number of pairs per scoring call; once `limit` pairs are scored, a call fails like a power cut."""
    counts, real = [], Encoder.score_pairs

    def counting(self, pairs, **options):
        if sum(counts) >= counting.limit:
            raise RuntimeError("power cut")
        counts.append(len(pairs))
        return real(self, pairs, **options)

    counting.limit = np.inf
    monkeypatch.setattr(Encoder, "score_pairs", counting)
    return type("Scored", (), {"counts": counts, "function": counting})


@pytest.mark.parametrize("scale", ["logit", "probability"])
@pytest.mark.parametrize("head", ["yes_no", "cross_encoder", "provence"])
def test_the_column_holds_the_rerankers_scores_of_single_pairs(bert, decoder, tmp_path, head, scale):
    own = prepare(Given(GIVEN), tmp_path)
    stage = teacher(decoder if head == "yes_no" else bert, head, name="big", scale=scale, block=4)
    found = taught(stage.add_scores(own, tmp_path))
    reranker = Reranker(stage.model.load())
    for before, after in zip(taught(own), found, strict=True):
        assert [replace(document, teachers={}) for document in after.documents] == list(before.documents)
        for document in after.documents:
            pair = Pair(Text(after.query, after.instruction), Text(document.text))
            (logit,) = reranker.encoder.score_pairs([pair])
            expected = logit if scale == "logit" else logit.sigmoid()
            assert document.teachers == {"big": pytest.approx(float(expected), abs=1e-5)}
            if scale == "probability" and not after.instruction:
                assert document.teachers["big"] == pytest.approx(
                    reranker.score(after.query, [document.text])[0], abs=1e-5
                )


def test_mined_negatives_are_scored_as_well(decoder, tmp_path):
    source = Given(GIVEN)
    own = prepare(source, tmp_path)
    mined = HardNegatives(Bm25Miner(Bm25()), range_min=0, range_max=9, num_negatives=3).add_negatives(
        own, source, tmp_path
    )
    folder = teacher(decoder).add_scores(mined, tmp_path)
    assert folder.name.startswith("given-bm25-reranker-")
    counts = read_manifest(mined)["counts"]
    assert counts["negatives"] > len(GIVEN)
    assert read_manifest(folder)["counts"] == counts
    assert all(set(document.teachers) == {"reranker"} for each in taught(folder) for document in each.documents)
    assert read_manifest(folder)["mining"] == read_manifest(mined)["mining"]


def test_a_set_is_scored_once_per_checkpoint_wherever_its_files_are(decoder, tmp_path, scored):
    own = prepare(Given(GIVEN), tmp_path)
    first = teacher(decoder, block=4).add_scores(own, tmp_path)
    assert scored.counts == [8, 8, 4]
    shutil.copytree(decoder, tmp_path / "copied")
    assert teacher(tmp_path / "copied", block=3).add_scores(own, tmp_path) == first
    assert sum(scored.counts) == PAIRS
    other = TinyDecoder(path=str(tmp_path), head=ColBERT.load, vocabulary=1500).locate()
    changed = [
        teacher(other),
        teacher(decoder, scale="probability"),
        teacher(decoder, name="big"),
        teacher(decoder, head_options={"max_length": 200}),
    ]
    folders = {stage.add_scores(own, tmp_path) for stage in changed}
    assert len(folders | {first}) == len(changed) + 1
    assert sum(scored.counts) == PAIRS * (len(changed) + 1)


def test_an_interrupted_scoring_resumes(decoder, tmp_path, scored):
    stage = teacher(decoder, block=3)
    undisturbed = stage.add_scores(prepare(Given(GIVEN), tmp_path / "a"), tmp_path / "a")
    home = tmp_path / "b"
    own = prepare(Given(GIVEN), home)
    scored.counts.clear()
    scored.function.limit = 12
    with pytest.raises(RuntimeError, match="power cut"):
        stage.add_scores(own, home)
    assert scored.counts == [6, 6]
    assert [folder.name for folder in (home / "data").iterdir()] == [own.name]
    scored.function.limit = np.inf
    resumed = stage.add_scores(own, home)
    assert scored.counts == [6, 6, 6, 2]
    assert resumed.name == undisturbed.name
    assert read(resumed)[:] == read(undisturbed)[:]
    assert read_manifest(resumed)["teacher"] == read_manifest(undisturbed)["teacher"]
    assert not [each for each in (home / "cache" / "teachers").iterdir() if each.is_dir()]


def test_of_two_runs_that_start_at_once_one_scores(decoder, tmp_path, scored):
    own = prepare(Given(GIVEN), tmp_path)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: teacher(decoder, block=1).add_scores(own, tmp_path), range(2))
    assert first == second
    assert sum(scored.counts) == PAIRS


def test_a_second_teacher_has_another_name(decoder, tmp_path):
    stage = teacher(decoder)
    once = stage.add_scores(prepare(Given(GIVEN), tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"has a teacher 'reranker' already: .*\(teacher.name=\.\.\.\)"):
        stage.add_scores(once, tmp_path)
    both = taught(teacher(decoder, name="second", scale="probability").add_scores(once, tmp_path))
    for document in (document for each in both for document in each.documents):
        assert document.teachers["second"] == pytest.approx(1 / (1 + np.exp(-document.teachers["reranker"])), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "percent"}, "scale=percent: choose logit or probability"),
        ({"name": "label"}, "name=label: give letters"),
        ({"name": "a/b"}, "name=a/b: give letters"),
        ({"block": 0}, "block=0"),
        ({"head": "biencoder"}, "model.path=nowhere has the head of a retriever"),
        ({"head": "colbert", "run": "outputs/x"}, "run=outputs/x has the head of a retriever"),
    ],
)
def test_unusable_teachers_are_refused_before_anything_is_read(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        teacher("nowhere", **options)


def test_no_teacher_leaves_the_set_as_it_is(tmp_path):
    own = prepare(Given(GIVEN), tmp_path)
    assert NoTeacher().add_scores(own, tmp_path) == own


def test_the_report_by_hand():
    tally = TeacherTally()
    tally.add([1.0, 3.0], [2.0])  # the best positive scores higher
    tally.add([0.0], [-1.0, 1.0])
    tally.add([4.0], [])
    tally.add([1.0], [1.0])  # equal doesn't outscore
    assert tally.to_dict() == {
        "mean_positive": 9 / 5,
        "mean_negative": 3 / 4,
        "queries_with_negatives": 3,
        "negative_above_positives": 1 / 3,
    }
    assert "0.750 of negatives; in 33.3% of the queries with negatives" in sentence({"name": "t", **tally.to_dict()})
    alone = TeacherTally()
    alone.add([2.0], [])
    assert sentence({"name": "t", **alone.to_dict()}).endswith("mean score 2.000 of positives; there are no negatives")
