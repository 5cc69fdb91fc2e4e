import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from reasonir.data.base import copy_key
from reasonir.data.demo import Demo
from reasonir.data.prepared import Prepared, example_of, prepare, read, read_manifest, validate
from reasonir.errors import InputError
from reasonir.types import Document, Example


@dataclass
class Given:
    """A source of given examples."""

    given: list
    mark: str = "1"
    name: str = "given"
    asked: int = 0

    def identity(self):
        return {"mark": self.mark}

    def examples(self):
        self.asked += 1
        yield from self.given

    def dev(self):
        return None


EXAMPLE = Example(
    "q1",
    "why",
    (Document("a", "because", "passage", 2.0), Document("b", "no", label=0.0), Document("c", "also", label=1.0)),
    "find the cause",
    excluded=(copy_key("secret"),),
)


def test_examples_survive_the_round_trip(tmp_path):
    folder = prepare(Given([EXAMPLE, Example("q2", "how", (Document("d", "so"),))]), tmp_path)
    rows = read(folder)
    first, second = (example_of(row) for row in rows)
    assert first.documents == (EXAMPLE.documents[0], EXAMPLE.documents[2], EXAMPLE.documents[1])
    assert (first.query_id, first.query, first.instruction) == ("q1", "why", "find the cause")
    assert (first.excluded, second.excluded) == ((copy_key("secret"),), ())
    assert second.negatives == ()
    assert rows[0]["pos"] == [["passage", "because"], ["", "also"]]
    assert rows[0]["pos_keys"] == [copy_key("because"), copy_key("also")]
    assert read_manifest(folder)["counts"] == {"queries": 2, "positives": 3, "negatives": 1, "distinct_documents": 4}
    assert validate(folder)["identity"]["mark"] == "1"


def test_the_seed_schema_opens_with_datasets(tmp_path):
    from datasets import load_from_disk

    rows = load_from_disk(str(prepare(Given([EXAMPLE]), tmp_path)))
    assert {"query", "pos", "neg"} <= set(rows.column_names)
    assert isinstance(rows[0]["query"], str)


def test_a_set_is_reused_while_nothing_changed(tmp_path):
    source = Given([EXAMPLE])
    first = prepare(source, tmp_path)
    assert prepare(source, tmp_path) == first
    assert source.asked == 1
    source.mark = "2"
    assert prepare(source, tmp_path) != first
    assert source.asked == 2


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    def broken():
        yield EXAMPLE
        raise RuntimeError("the disk is gone")

    source = Given(broken())
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "given: the source gives no examples"),
        ([Example("q", 3, (Document("a", "x"),))], "query 'q': the query is 3, expected a string"),
        (
            [Example("q", "why", (Document("a", ["x"]),))],
            r"query 'q': a document is \['x'\], expected a string",
        ),
        ([Example("q", "\ud800", (Document("a", "x"),))], "half of a surrogate pair"),
        ([Example("q", "why", (Document("a", "x", None),))], "a document's instruction is None, expected a string"),
        (
            [Example("q", "why", (Document("a", "x", label=float("nan")),))],
            "a label isn't a finite number",
        ),
        ([Example("q", "why", (Document("a", "x", teachers={"t": 1e39}),))], "'teacher.t' has a number that isn't"),
        ([EXAMPLE, EXAMPLE], "query 'q1': duplicate id"),
        ([Example("q", "why", ())], "query 'q': it has no document"),
        ([Example("q", " ", (Document("a", "x"),))], "given: query 'q': the query is ' ', expected a string"),
        ([Example("q", "why", (Document("a", ""),))], "query 'q': a document is '', expected a string"),
    ],
)
def test_examples_that_no_training_can_use_are_refused(tmp_path, examples, message):
    with pytest.raises(InputError, match=message):
        prepare(Given(examples), tmp_path)


def test_damage_is_detected(tmp_path):
    folder = prepare(Given([EXAMPLE]), tmp_path)
    (arrow,) = folder.glob("data-*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-20])
    with pytest.raises(InputError, match="don't match the manifest"):
        validate(folder)
    (folder / "manifest.json").write_text(json.dumps({"identity": {"format": 0}}))
    with pytest.raises(InputError, match="has format 0, this version reads 3"):
        read(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="isn't a prepared set"):
        read(folder)


def test_the_demo_corpus_is_valid(home):
    counts = validate(prepare(Demo(), home))["counts"]
    assert counts["queries"] == counts["positives"] == 560


def test_a_prepared_set_is_a_source_itself(tmp_path):
    first = prepare(Given([EXAMPLE]), tmp_path)
    source = Prepared(str(first))
    again = prepare(source, tmp_path)
    assert again != first
    assert again.name.startswith("given-")
    assert [example_of(row) for row in read(again)] == [example_of(row) for row in read(first)]
    with pytest.raises(InputError, match="isn't a prepared set"):
        prepare(Prepared(str(tmp_path)), tmp_path)


def test_copies_of_a_positive_are_no_negatives_and_are_counted(tmp_path):
    copies = (Document("b", " Because\n it RAINS", label=0.0), Document("c", "because it snows", label=0.0))
    folder = prepare(Given([Example("q", "why", (Document("a", "because it rains"), *copies))]), tmp_path)
    assert read(folder)[0]["neg_ids"] == ["c"]
    rejected = read_manifest(folder)["report"]["negative_equals_positive"]
    assert rejected == {"count": 1, "first": ["q:  Because\n it RAINS"]}


def changed(folder, change):
    """The same prepared set with its rows changed, as a user's script does it."""
    rows = read(folder).map(change, load_from_cache_file=False)
    rows.save_to_disk(str(folder.with_name("changed")))
    (folder.with_name("changed") / "manifest.json").write_text((folder / "manifest.json").read_text())
    return folder.with_name("changed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, r"row 0 .query 'q1'.: 'query' lacks a value"),
        ({"pos": None}, r"row 0 .query 'q1'.: 'pos' lacks a value"),
        ({"pos": [["", None]]}, "'pos' lacks a value"),
        ({"pos": [["only one"]]}, r"a document of 'pos' isn't \[instruction, text\]"),
        ({"query": " "}, "the query is ' ', expected a string"),
        ({"labels": [float("inf"), 0.0, 0.0]}, "'labels' has a number that isn't finite"),
        ({"labels": []}, "'labels' and the documents differ in number"),
        ({"more": 1}, "has other columns than a prepared set"),
    ],
)
def test_rows_changed_by_a_user_are_checked(tmp_path, change, message):
    folder = changed(prepare(Given([EXAMPLE]), tmp_path), lambda _: change)
    with pytest.raises(InputError, match=message):
        prepare(Prepared(str(folder)), tmp_path)


def test_rows_changed_without_a_fault_are_refused_unless_the_checksums_are_given_up(tmp_path):
    folder = changed(prepare(Given([EXAMPLE]), tmp_path), lambda _: {"query": "wherefore"})
    with pytest.raises(InputError, match=r"don't match the manifest .*delete the entries arrow, bytes and sha256"):
        prepare(Prepared(str(folder)), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {key: value for key, value in manifest.items() if key not in ("arrow", "bytes", "sha256")}
    (folder / "manifest.json").write_text(json.dumps(kept))
    assert read(prepare(Prepared(str(folder)), tmp_path))[0]["query"] == "wherefore"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("data-*.arrow")).unlink(),
        lambda folder: alter(next(folder.glob("data-*.arrow")), b"because", b"becauze"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: alter(folder / "manifest.json", b'"positives": 2', b'"positives": 3'),
        lambda folder: (folder / "manifest.json").write_text(""),
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "dataset_info.json").unlink(),
    ],
)
def test_a_damaged_set_is_made_again_with_a_word(tmp_path, caplog, damage):
    source = Given([EXAMPLE])
    folder = prepare(source, tmp_path)
    whole = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.json"}
    damage(folder)
    with pytest.raises(InputError, match="prepare it again"):
        read(folder)
    assert prepare(source, tmp_path) == folder
    assert "is damaged and made again" in caplog.text
    assert source.asked == 2
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.json"} == whole
    assert [path.name for path in (tmp_path / "data").iterdir()] == [folder.name]


def alter(file, old, new):
    """Change bytes of a file that are there."""
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))


def test_two_commands_prepare_a_set_once(tmp_path):
    sources = [Given([EXAMPLE]), Given([EXAMPLE])]
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda source: prepare(source, tmp_path), sources)
    assert first == second
    assert sum(source.asked for source in sources) == 1


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"identity": 3}', "\x00", '{"identity": {"format": 2}}'])
def test_a_manifest_changed_by_a_user_is_refused(tmp_path, manifest):
    folder = prepare(Given([EXAMPLE]), tmp_path)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=r"prepare (it )?again"):
        read(folder)
