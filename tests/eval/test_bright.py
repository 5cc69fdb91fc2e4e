"""BRIGHT's protocol on a few rows of its shape: exclusions, "N/A", ids with spaces, duplicates, shared corpora."""

import gzip
import json

import pytest

from reasonir.errors import InputError
from reasonir.eval.bright import Bright
from reasonir.eval.instructions import Instructions
from reasonir.eval.results import Results
from reasonir.eval.systems import evaluate_systems, run_file_system, search_system
from reasonir.index.bm25 import Bm25
from reasonir.types import Text
from tests.running import run

DOCUMENTS = {
    "biology": [("a/b c_0.txt", "bees dance to tell"), ("a/b c_1.txt", "bees dance to tell"), ("d.txt", "salt melts")],
    "aops": [("camel_1", "sum of powers"), ("camel_2", "roots of a polynomial"), ("q1", "what is the sum of powers")],
}
DOCUMENTS["theoremqa_questions"] = DOCUMENTS["aops"]
EXAMPLES = {
    "biology": [
        {"id": "0", "query": "why do bees dance", "gold_ids": ["a/b c_0.txt"], "excluded_ids": ["N/A"]},
        {"id": "1", "query": "why does salt melt ice", "gold_ids": ["d.txt", "d.txt"], "excluded_ids": ["N/A"]},
    ],
    "aops": [
        {"id": "q1", "query": "sum of powers", "gold_ids": ["camel_2"], "excluded_ids": ["q1", "camel_1", "q1", "gone"]}
    ],
    "theoremqa_questions": [{"id": "q1", "query": "polynomial roots", "gold_ids": ["camel_2"], "excluded_ids": ["q1"]}],
}


def put(folder, split, documents=None, examples=None, **more):
    (folder / split).mkdir(parents=True, exist_ok=True)
    rows = [{"id": key, "content": text} for key, text in (documents or DOCUMENTS[split])]
    (folder / split / "documents.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with gzip.open(folder / split / "examples.jsonl.gz", "wt") as stream:
        stream.write("\n".join(json.dumps({"gold_ids_long": ["N/A"], **row}) for row in examples or EXAMPLES[split]))
    for name, text in more.items():
        (folder / split / f"{name}.txt").write_text(text)


@pytest.fixture
def folder(tmp_path):
    for split in DOCUMENTS:
        put(tmp_path, split)
    return tmp_path


def bright(folder, *splits, **options):
    return Bright(str(folder), splits=splits or tuple(DOCUMENTS), kept=str(folder / "kept"), **options)


def test_rows_become_tasks(folder):
    biology, aops, questions = bright(folder).tasks()
    assert [task.name for task in (biology, aops, questions)] == ["biology", "aops", "theoremqa_questions"]
    assert biology.qrels == {"0": {"a/b c_0.txt": 1}, "1": {"d.txt": 1}}
    assert biology.excluded == {"0": frozenset(), "1": frozenset()}
    assert aops.excluded == {
        "q1": frozenset({"q1", "camel_1"})
    }  # one that the corpus doesn't have is nothing to remove
    assert aops.corpus is questions.corpus
    assert biology.protocol["protocol"] == "bright-official"
    assert biology.protocol["revision"] == "local"


def test_copies_of_a_relevant_document_are_relevant_by_the_corrected_judgements(folder):
    (biology,) = bright(folder, "biology").tasks()
    assert biology.judgements["corrected"]["0"] == {"a/b c_0.txt": 1, "a/b c_1.txt": 1}
    put(folder, "biology", qrels_fixed="0\t0\ta/b c_1.txt\t1\n1 0 d.txt 1\n")
    (biology,) = bright(folder, "biology").tasks()
    assert biology.judgements == {"corrected": {"0": {"a/b c_1.txt": 1}, "1": {"d.txt": 1}}}


def test_excluded_documents_are_removed_before_the_cut_and_a_shared_corpus_is_searched_once(folder):
    asked = []

    class Counting(Bm25):
        def search(self, queries, k, *, exclude=None):
            asked.append(sorted(queries))
            return super().search(queries, k, exclude=exclude)

    tasks = list(bright(folder).tasks())
    results = evaluate_systems(
        tasks, {"bm25": search_system(Counting(), depth=1)}, Results(groups=bright(folder).groups)
    )
    assert asked == [["0", "1"], ["0:q1", "1:q1"]]
    assert results.runs["aops"]["bm25"]["q1"].keys() <= {"camel_2"}
    assert results.runs["theoremqa_questions"]["bm25"]["q1"].keys() == {"camel_2"}
    figures = results.figures()
    assert figures["biology"]["bm25"]["ndcg_at_10"] == 1.0
    assert "bright" not in figures  # a mean of twelve needs twelve


def test_group_means_are_unweighted_means_of_their_splits(folder):
    benchmark = bright(folder)
    results = Results(groups={"both": ["biology", "aops"], "more": ["biology", "pony"]})
    evaluate_systems(list(benchmark.tasks()), {"bm25": search_system(Bm25(), depth=10)}, results)
    figures = results.figures()
    expected = (figures["biology"]["bm25"]["mrr"] + figures["aops"]["bm25"]["mrr"]) / 2
    assert figures["both"]["bm25"]["mrr"] == pytest.approx(expected)
    assert "more" not in figures
    assert len(benchmark.groups["bright"]) == 12
    assert benchmark.groups["bright_coding_corrected"] == ["leetcode_corrected", "pony_corrected"]


def test_a_run_file_is_evaluated_without_documents(folder, tmp_path):
    (folder / "aops" / "documents.jsonl").unlink()
    trec = tmp_path / "run.txt.gz"
    with gzip.open(trec, "wt") as stream:
        stream.write("q1 Q0 q1 1 9 x\nq1 Q0 camel_1 2 8 x\nq1 Q0 with space.txt 3 7 x\nq1 Q0 camel_2 4 7 x\n")
    (aops,) = bright(folder, "aops").tasks(corpus=False)
    results = evaluate_systems([aops], {"x": run_file_system({"aops": trec}, depth=2)}, Results(), searched=False)
    assert results.runs["aops"]["x"] == {"q1": {"with space.txt": 7.0, "camel_2": 7.0}}
    assert results.figures()["aops"]["x"]["mrr"] == 0.5  # ties go to the larger id


def test_the_command_evaluates_run_files_by_split(folder, tmp_path, home):
    put(folder, "biology", qrels_fixed="0 0 a/b c_1.txt 1\n1 0 d.txt 1\n")
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "aops.trec").write_text("q1 Q0 camel_2 1 1.0 x\n")
    (runs / "biology.trec").write_text("0 Q0 a/b c_1.txt 1 1.0 x\n")
    given = ("eval=bright", f"eval.path={folder}", "eval.splits=[aops,biology]", "logger=csv")
    done = run("evaluate", *given, f"trec={runs}", home=home)
    assert done.status == 0, done.err
    found = json.loads((done.folder / "results.json").read_text())
    assert found["results"]["aops"]["runs"]["ndcg_at_10"] == 1.0
    assert found["results"]["biology"]["runs"]["ndcg_at_10"] == 0.0
    assert found["results"]["biology_corrected"]["runs"]["ndcg_at_10"] == 0.5
    (runs / "biology.trec").rename(runs / "b.trec")
    done = run("evaluate", *given, f"trec={runs}", home=home)
    assert done.status == 2
    assert "task biology: no file names it" in done.err


def test_instructions_and_rewritten_queries(folder, tmp_path):
    (aops,) = bright(folder, "aops", instructions=Instructions("Given a {task} post", {"pony": "x"})).tasks()
    assert aops.queries["q1"] == Text("sum of powers", "Given a aops post")
    rewritten = tmp_path / "mine.jsonl"
    rewritten.write_text(
        '{"split": "aops", "id": "q1", "query": "Newton"}\n{"split": "pony", "id": "q1", "query": "x"}'
    )
    (aops,) = bright(folder, "aops", queries=str(rewritten)).tasks()
    assert aops.queries["q1"].text == "Newton"
    (aops,) = bright(folder, "aops", queries=str(rewritten), expansion="append").tasks()
    assert aops.queries["q1"].text == "sum of powers\n\nNewton"
    assert aops.protocol["queries"].endswith("(append)")


@pytest.mark.parametrize(
    ("documents", "examples", "message"),
    [
        ([("a", "x"), ("a", "y")], None, "id 'a' has two different texts"),
        (None, [{"id": "0", "query": "q", "gold_ids": ["N/A"], "excluded_ids": []}], "query '0' has no gold_ids"),
        (None, [{"id": "0", "query": "q", "gold_ids": "d.txt"}], "'gold_ids' is 'd.txt', expected a list of ids"),
        (None, [EXAMPLES["biology"][0]] * 2, "duplicate query id '0'"),
        (None, [{"id": "0", "query": " ", "gold_ids": ["d.txt"]}], "'query' is ' ', expected a string"),
    ],
)
def test_contradictory_files_are_refused(tmp_path, documents, examples, message):
    put(tmp_path, "biology", documents, examples)
    with pytest.raises(InputError) as refused:
        list(bright(tmp_path, "biology").tasks())
    assert message in str(refused.value)


def test_wrong_options_and_missing_splits_are_named(folder):
    with pytest.raises(InputError, match=r"splits names 'bio': choose from biology"):
        Bright(splits=["bio"])
    with pytest.raises(InputError, match=r"splits names 'aops'"):
        Bright(splits=["aops"], long=True)
    with pytest.raises(InputError, match="has no examples of split pony"):
        list(bright(folder, "pony").tasks(corpus=False))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "q1", "query": ["x"]}', r"line 2: 'query' is \['x'\], expected a string"),
        ('{"id": ["q1"], "query": "x"}', r"line 2: 'id' is \['q1'\], expected a string or a whole number"),
        ('{"id": "q1", "query": "other"}', "line 2: query 'q1' has a second text"),
    ],
)
def test_rewritten_queries_are_checked(folder, tmp_path, row, message):
    (tmp_path / "mine.jsonl").write_text('{"id": "q1", "query": "Newton"}\n' + row)
    with pytest.raises(InputError, match=message):
        list(bright(folder, "aops", queries=str(tmp_path / "mine.jsonl")).tasks())
    (tmp_path / "mine.jsonl").write_text('{"id": "q1", "query": "Newton", "split": null}\n' * 2)
    (aops,) = bright(folder, "aops", queries=str(tmp_path / "mine.jsonl")).tasks()
    assert aops.queries["q1"].text == "Newton"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gold_ids": "x"}, "'gold_ids' is 'x', expected a list of ids"),
        ({"gold_ids": [["x"]]}, r"an item of 'gold_ids' is \['x'\], expected a string or a whole number"),
        ({"excluded_ids": [None]}, "an item of 'excluded_ids' is None, expected a string or a whole number"),
        ({"query": 3}, "'query' is 3, expected a string"),
        ({"id": None}, "'id' is None, expected a string or a whole number"),
    ],
)
def test_malformed_queries_are_named(folder, changed, message):
    put(folder, "aops", examples=[{**row, **changed} for row in EXAMPLES["aops"]])
    with pytest.raises(InputError, match=f"line 1: {message}"):
        list(bright(folder, "aops").tasks())
