"""Columns as the head's own tokenizer lays texts out, and the fitted lengths in use."""

import json
import shutil
from functools import partial

import pytest

from reasonir.data.batches.lengths import LengthOptions
from reasonir.data.triplets import Triplets
from reasonir.model.backbone import Model
from reasonir.model.export import export
from reasonir.model.prompts import Prompts
from reasonir.planning.lengths import auto_lengths, measure
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.types import Text
from tests.helpers import HEADS, SENTENCES, load
from tests.running import run

TEXTS = [Text(text) for text in (*SENTENCES, "... !!! ???", " ".join(SENTENCES * 20))]


def model(folder, head="colbert", *, prompts=None, **options):
    return Model(str(folder), head=partial(HEADS[head].load, **options), prompts=prompts or Prompts())


def data(folder, rows, *, seed=0, **options):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = RetrievalData(
        Triplets(path=str(file), columns={}), LoaderOptions(dev_size=0, **options), home=folder, seed=seed
    )
    made.setup()
    return made


def rows(count, *, query=1, positive=1, negative=None):
    """Rows of repeated words, each text distinct."""
    made = []
    for number in range(count):
        row = {"query": f"{'why ' * query}{number}", "positive": f"{'bread ' * positive}{number}"}
        made.append(row | ({"negative": f"{'water ' * negative}{number}"} if negative else {}))
    return made


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("colbert", {}),
        ("colbert", {"query_length": 40, "document_length": 200}),
        ("colbert", {"query_expansion": True, "attend_to_expansion": True}),
        ("colbert", {"query_prefix": "", "skiplist": ["the", "no-such-word"]}),
        ("biencoder", {}),
        ("biencoder", {"max_length": 100}),
    ],
)
@pytest.mark.parametrize("name", ["bert", "qwen"])
@pytest.mark.parametrize("saved", [False, True])
def test_without_weights_texts_are_laid_out_as_with_them(request, tmp_path, name, head, options, saved):
    folder = request.getfixturevalue(name)
    prompts = Prompts(query="query: {instruction} ", document="passage: ")
    if saved:  # an exported model states its lengths, markers and prompts itself
        export(load(folder, head, model={"prompts": prompts}, **options), tmp_path / "model")
        folder, options, prompts = tmp_path / "model", {}, Prompts()
    loaded = load(folder, head, model={"prompts": prompts}, **options).head.tokenizer
    for file in folder.glob("*.safetensors"):
        if saved:
            file.unlink()
    tokenizer, positions = model(folder, head, prompts=prompts, **options).read_tokenizer(folder)
    assert positions == (512 if name == "bert" else 256)
    for side in ("query", "document"):
        expected, tokens = loaded(TEXTS, side), tokenizer(TEXTS, side)
        for part in ("ids_T", "attend_T", "keep_T", "lengths_N"):
            assert getattr(tokens, part).tolist() == getattr(expected, part).tolist()
        assert tokenizer.limit(side) == loaded.limit(side)
        whole = tokenizer.whole()(TEXTS, side).lengths_N
        assert whole.max() > tokenizer.limit(side)
        assert whole.clamp(tokenizer.least(side), tokenizer.limit(side)).tolist() == expected.lengths_N.tolist()


def test_stanford_checkpoints_are_laid_out_by_their_metadata(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "stanford")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 20, "doc_maxlen": 30}))
    tokenizer, _ = model(folder).read_tokenizer(folder)
    assert (tokenizer.query_length, tokenizer.document_length, tokenizer.expand) == (20, 30, True)
    assert tokenizer.query_prefix_id == tokenizer.tokenizer.convert_tokens_to_ids("[unused0]") is not None


def test_every_column_is_measured_with_prompts_and_markers(bert, tmp_path):
    training = data(tmp_path, rows(40, query=3, positive=10, negative=200))
    plain = measure(model(bert), training, rows=20)
    assert [(column.name, len(column.lengths_N)) for column in plain.columns] == [
        ("queries", 20),
        ("positives", 20),
        ("negatives", 20),
    ]
    queries, positives, negatives = plain.columns
    assert negatives.longest > 200 > positives.longest
    tokenizer = load(bert, "colbert").head.tokenizer
    (side, texts) = training.sample(20)["queries"]
    assert sorted(tokenizer(texts, side).lengths_N.tolist()) == queries.lengths_N.tolist()  # [CLS], marker, text, [SEP]
    prompted = measure(model(bert, prompts=Prompts(query="why is this ", document="")), training, rows=20)
    assert (prompted.columns[0].lengths_N - queries.lengths_N).tolist() == [3] * 20
    unmarked = measure(model(bert, query_prefix=""), training, rows=20)
    assert (queries.lengths_N - unmarked.columns[0].lengths_N).tolist() == [1] * 20


def test_the_sample_is_drawn_by_the_seed_and_not_from_the_top(bert, tmp_path):
    ordered = rows(30, positive=1) + rows(30, positive=100)
    distinct = [row | {"query": f"{row['query']} {number}"} for number, row in enumerate(ordered)]
    first, again, other = (data(tmp_path, distinct, seed=seed).sample(10) for seed in (1, 1, 2))
    assert first == again != other
    lengths = [len(text.text) for text in first["positives"][1]]
    assert min(lengths) < 20 < 500 < max(lengths)


@pytest.mark.parametrize(
    ("head", "options", "expected"),
    [
        ("colbert", {}, {"query_length": 32, "document_length": 205}),
        ("colbert", {"query_length": 50}, {"document_length": 205}),
        ("biencoder", {}, {"max_length": 204}),
        ("biencoder", {"max_length": 64}, {}),
    ],
)
def test_unset_lengths_are_fitted(bert, tmp_path, head, options, expected):
    recipe = model(bert, head, **options)
    measured = measure(recipe, data(tmp_path, rows(20, positive=20, negative=200)), rows=500)
    fitted = auto_lengths(recipe, measured, LengthOptions(percentile=1.0))
    assert fitted.keys() == expected.keys()
    assert all(abs(fitted[name] - expected[name]) <= 2 for name in expected)
    loaded = model(bert, head, **options, **fitted).load().head.tokenizer
    used = {**options, **fitted}
    assert loaded.limit("document") == used.get("document_length", used.get("max_length"))


def test_no_fitted_length_exceeds_the_positions(qwen, tmp_path):
    folder = shutil.copytree(qwen, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    measured = measure(model(folder), data(tmp_path, rows(20)), rows=500)
    assert auto_lengths(model(folder), measured, LengthOptions()) == {"query_length": 32, "document_length": 64}


def test_without_a_tokenizer_lengths_are_estimated_and_none_is_fitted(bert, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(bert / "config.json", bare)
    for folder in (bare, tmp_path / "nowhere"):
        measured = measure(model(folder), data(tmp_path, rows(20, positive=20)), rows=500)
        assert measured.counted == "characters"
        assert auto_lengths(model(folder), measured, LengthOptions()) == {}


# -- as commands -----------------------------------------------------------------------------------------------------

AUTO = (
    "model=tiny",
    "hardware=cpu",
    "logger=csv",
    "data=demo",
    "data.variants=1",
    "eval=demo",
    "evaluation.baselines=[]",
    "loader.batch_size=4",
    "loader.workers=0",
    "trainer.max_steps=1",
    "lengths.auto=true",
)


def test_fitted_lengths_are_planned_tracked_exported_and_kept_by_a_resumed_run(home):
    done = run("train", *AUTO, home=home)
    assert done.status == 0, done.err
    plan = json.loads((done.folder / "plan.json").read_text())
    fitted = plan["auto_lengths"]
    assert fitted["query_length"] == plan["lengths"]["queries"]["p95"] == plan["lengths"]["queries"]["limit"] > 32
    assert fitted["document_length"] == 128  # the floor
    saved = json.loads((done.folder / "model" / "config_sentence_transformers.json").read_text())
    protocol = json.loads((done.folder / "results.json").read_text())["protocol"]
    for name, length in fitted.items():
        assert f"{name}: {length}" in (done.folder / "config.yaml").read_text()
        assert saved[name] == protocol[name] == length
    again = run("train", f"resume={done.folder}", "trainer.max_steps=2", "lengths.percentile=0.1", home=home)
    assert again.status == 0, again.err
    assert json.loads((done.folder / "plan.json").read_text())["auto_lengths"] == fitted
    assert json.loads((done.folder / "results.json").read_text())["protocol"]["query_length"] == fitted["query_length"]


def test_each_job_of_a_sweep_fits_its_own(home):
    done = run("train", "-m", *AUTO, "lengths.percentile=0.1,1.0", "dry_run=true", home=home)
    assert done.status == 0, done.err
    plans = [json.loads(file.read_text()) for file in sorted((home / "multirun").glob("*/*/plan.json"))]
    first, second = (plan["auto_lengths"]["query_length"] for plan in plans[-2:])
    assert first < second


def test_a_dry_run_without_a_tokenizer_reports_that_none_is_fitted(home, hub):
    done = run("train", "model=qwen", "hardware=t4", "lengths.auto=true", "dry_run=true", "data=demo", home=home)
    assert done.status == 0, done.err
    assert "can't be reached, so no length is taken" in done.err
    assert "lengths are estimated at four characters per token" in done.out
    assert json.loads((done.folder / "plan.json").read_text())["auto_lengths"] == {}
