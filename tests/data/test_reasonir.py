"""ReasonIR's data: positives resolved against BRIGHT, dropped rows counted, and the levels of decontamination."""

import json

import pytest

from reasonir.data.base import Rejected
from reasonir.data.prepared import prepare, read, read_manifest, validate
from reasonir.data.reasonir import ReasonIR
from reasonir.data.splits.decontamination import Overlap
from reasonir.errors import InputError
from reasonir.types import Example
from tests.running import run

INSTRUCTION = "Given this reasoning-intensive query, find relevant documents that could help answer the question. "
DOCUMENTS = {
    "biology": {
        "bees/a b_0.txt": "Bees dance to tell where flowers are.",
        "empty.txt": "  ",
        "copy.txt": "Salt melts ice.",
    },
    "pony": {"Pony/1.txt": "Salt melts ice."},
    "aops": {"camel_1": "The sum of the roots is minus b over a.", "own": "What are the roots?"},
    "theoremqa_questions": {"camel_1": "The sum of the roots is minus b over a.", "own": "What are the roots?"},
    "theoremqa_theorems": {"5": "Theorem five: every group of prime order is cyclic."},
}
LONG = "why do bees move in figures of eight when they come home to the hive in the evening"


def hq(query, positive, negative="A wrong text that is long enough to be a passage."):
    return {"query": [INSTRUCTION, query], "pos": [["", positive]], "neg": [["", negative]]}


HQ = [
    hq("How do bees talk?", "bees/a b_0.txt"),
    hq("What of the roots?", "camel_1"),
    hq("Which groups are cyclic?", "5"),
    hq("How do bees talk?", "copy.txt", "Another wrong text, about the waggle of wagtails."),  # groups with the first
    hq("How do bees talk?", "bees/a b_0.txt"),  # the first again
    hq("Empty document", "empty.txt"),
    hq("  ", "camel_1"),
    {"query": "a bare string", "pos": [["", "camel_1"]], "neg": []},
    {"query": [INSTRUCTION, "Malformed positive"], "pos": ["camel_1"], "neg": []},
    {"query": [INSTRUCTION, "Malformed list"], "pos": "camel_1", "neg": []},
    {"query": [INSTRUCTION, "Malformed negative"], "pos": [["", "own"]], "neg": [["only one"], ["", ""]]},
    hq("Equal to its negative", "Pony/1.txt", "Salt melts ice."),
]
VL = [
    {"query": ["", "A long query " * 9], "pos": [["", "5"]], "neg": [["", "executive"]]},  # labels, no ids
    {
        "query": ["", "Another long query"],
        "pos": [["", "A passage that answers it in full."]],
        "neg": [["", "Another one."]],
    },
]
COUNTS = {
    "duplicate_row": 1,
    "empty_negative": 1,
    "empty_positive": 1,
    "empty_query": 1,
    "malformed_negative": 1,
    "malformed_positive": 2,
    "malformed_query": 1,
    "negative_equals_positive": 1,
    "without_positive": 3,
}


def put(folder, hq_rows=HQ, documents=DOCUMENTS):
    for subset, rows in (("hq", hq_rows), ("vl", VL)):
        (folder / "reasonir" / subset).mkdir(parents=True, exist_ok=True)
        (folder / "reasonir" / subset / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for split, texts in documents.items():
        (folder / "bright" / split).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"id": key, "content": text}) for key, text in texts.items()]
        (folder / "bright" / split / "documents.jsonl").write_text("\n".join(lines))
    return folder


def examples_of_bright(folder, **rows):
    from reasonir.data.files.bright import SPLITS

    for split in SPLITS:
        (folder / "bright" / split).mkdir(exist_ok=True)
        row = {"id": "0", "query": f"unrelated {split}", "gold_ids": ["nothing"], "excluded_ids": ["N/A"]}
        (folder / "bright" / split / "examples.jsonl").write_text(json.dumps(row | rows.get(split, {})))


def source(folder, **options):
    given = {"revision": None, "documents": str(folder / "bright"), "documents_revision": None, **options}
    return ReasonIR(str(folder / "reasonir"), **given)


def split(found):
    found = list(found)
    examples = {each.query: each for each in found if isinstance(each, Example)}
    return examples, [each for each in found if isinstance(each, Rejected)]


def test_every_malformed_shape_is_counted(tmp_path):
    folder = prepare(source(put(tmp_path)), tmp_path)
    manifest = validate(folder)
    assert {kind: entry["count"] for kind, entry in manifest["report"].items()} == COUNTS
    assert manifest["counts"]["queries"] == 5
    assert manifest["report"]["empty_positive"]["first"] == [
        f"{tmp_path / 'reasonir' / 'hq' / 'train.jsonl'}, line 6: biology:empty.txt"
    ]
    assert read_manifest(folder)["identity"]["licence"].startswith("CC BY-NC 4.0")


def test_positives_are_resolved_and_instructions_stay_apart(tmp_path):
    examples, _ = split(source(put(tmp_path)).examples())
    bees = examples["How do bees talk?"]
    assert bees.instruction == INSTRUCTION.strip()
    assert [(d.doc_id, d.text) for d in bees.positives] == [
        ("biology:bees/a b_0.txt", "Bees dance to tell where flowers are."),
        ("biology:copy.txt", "Salt melts ice."),
    ]
    assert len(bees.negatives) == 2
    assert examples["Which groups are cyclic?"].positives[0].text.startswith("Theorem five")
    assert len({example.query_id for example in examples.values()}) == len(examples)


def test_labels_are_never_looked_up_as_ids(tmp_path):
    examples, rejected = split(source(put(tmp_path), subsets=["vl"]).examples())
    assert [each.kind for each in rejected] == ["label_like"]
    assert list(examples) == ["Another long query"]
    kept, _ = split(source(tmp_path, subsets=["vl"], label_words=0).examples())
    assert kept["A long query " * 9].positives[0].text == "5"


def test_too_many_unresolved_positives_fail_and_leave_nothing(tmp_path):
    put(tmp_path, [*HQ, hq("Gone?", "gone_1"), hq("Gone too?", "gone_2")])
    with pytest.raises(InputError) as refused:
        prepare(source(tmp_path), tmp_path)
    assert "2 of 12 positives name no document" in str(refused.value)
    assert "line 13: 'gone_1'" in str(refused.value)
    assert list((tmp_path / "data").iterdir()) == []
    for allowed in (2, 0.2):
        report = read_manifest(prepare(source(tmp_path, max_unresolved=allowed), tmp_path))["report"]
        assert report["unresolved_positive"]["count"] == 2


def test_one_id_with_two_texts_is_an_error(tmp_path):
    changed = DOCUMENTS | {"theoremqa_questions": {"camel_1": "Something else."}}
    put(tmp_path, documents=changed)
    with pytest.raises(InputError, match="id 'camel_1' has another text than 'aops:camel_1'"):
        list(source(tmp_path).examples())


@pytest.mark.parametrize(
    ("level", "gone"),
    [
        ("none", set()),
        ("gold", {"Equal to its negative"}),
        ("excluded", {"Equal to its negative", "What of the roots?"}),
        ("queries", {"Equal to its negative", "What of the roots?", LONG}),
    ],
)
def test_each_level_of_decontamination_goes_further(tmp_path, level, gone):
    put(tmp_path, [*HQ[:3], HQ[-1], hq(LONG, "bees/a b_0.txt")])
    examples_of_bright(
        tmp_path,
        biology={"gold_ids": ["copy.txt"]},  # Pony/1.txt is a copy of it
        aops={"excluded_ids": ["camel_1"]},
        pony={"query": f"Please tell me: {LONG}?"},
    )
    whole, _ = split(source(tmp_path).examples())
    examples, rejected = split(source(tmp_path, decontaminate=level).examples())
    assert whole.keys() - examples.keys() == gone
    assert {each.kind for each in rejected if "contaminated" in each.kind} == (
        set()
        if level == "none"
        else {"contaminated_positive"} | ({"contaminated_query"} if level == "queries" else set())
    )
    assert source(tmp_path, decontaminate=level).identity()["decontaminate"] == level


def test_short_queries_are_duplicates_only_when_equal():
    overlap = Overlap.of(["the Roots of it"], share=0.3)
    assert overlap.matches("The roots of it!")
    assert not overlap.matches("the roots of them")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsets": ["hard"]}, "subsets[0]=hard: choose hq or vl"),
        ({"decontaminate": "all"}, "decontaminate=all: choose none, gold, excluded or queries"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, message):
    with pytest.raises(InputError) as refused:
        source(tmp_path, **options)
    assert message in str(refused.value)


def test_the_command_prepares_and_reports(tmp_path, home):
    put(tmp_path)
    given = (f"data.path={tmp_path / 'reasonir'}", f"data.documents={tmp_path / 'bright'}")
    done = run("prepare", "data=reasonir", "data.subsets=[hq,vl]", *given, home=home)
    assert done.status == 0, done.err
    assert "Left out: 1 label like" in done.err
    rows = read(next((home / "data").glob("reasonir-hq-vl-*")))
    assert len(rows) == 6
    again = run("prepare", "data=reasonir", "data.subsets=[hq,vl]", *given, home=home)
    assert "is up to date" in again.err


def test_a_model_trains_on_it_and_carries_the_level_of_decontamination(tmp_path, home):
    put(tmp_path)
    examples_of_bright(tmp_path)
    given = (f"data.path={tmp_path / 'reasonir'}", f"data.documents={tmp_path / 'bright'}", "data.decontaminate=gold")
    options = ("loader.dev_size=0", "loader.batch_size=4", "loader.workers=0", "trainer.max_steps=2", "logger=csv")
    done = run("train", "experiment=demo_tiny", "data=reasonir", *given, *options, "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    assert "decontaminate: gold" in (done.folder / "config.yaml").read_text()
    assert (done.folder / "model" / "model.safetensors").is_file()
