"""Every oddity of BRIGHT is in the miniature and evaluated correctly: exclusions, copies, shared corpora, groups."""

import json

import pyarrow.parquet as pq
import pytest

from reasonir.data.demo import build_world
from reasonir.data.files.bright import GROUPS, LONG_SPLITS, SPLITS
from reasonir.errors import InputError
from reasonir.eval.bright_mini import BrightMini
from reasonir.eval.bright_mini_files import write_mini
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.index.exact import Exact
from reasonir.types import Text
from tests.helpers import load
from tests.running import run

TINY = (
    "model=tiny",
    "eval=bright_mini",
    "eval.splits=[biology]",
    "logger=csv",
    "hardware=cpu",
    "evaluation.baselines=[]",
)
ASKED = ("query", "reasoning", "id", "excluded_ids", "gold_ids_long", "gold_ids", "gold_answer")


def mini(home, **options):
    return BrightMini(path=str(home / "data" / "bright_mini"), kept=str(home / "data" / "corpora"), **options)


@pytest.fixture(scope="module")
def files(home):
    """configuration -> split -> columns."""
    folder = mini(home).folder()
    found = {}
    for file in folder.glob("*/*.parquet"):
        found.setdefault(file.parent.name, {})[file.name.split("-")[0]] = pq.read_table(file).to_pydict()
    return found


@pytest.fixture(scope="module")
def tasks(home):
    return {task.name: task for task in mini(home).tasks()}


def test_the_files_have_brights_configurations_splits_and_columns(files):
    assert {name: set(splits) for name, splits in files.items()} == {
        "documents": set(SPLITS),
        "examples": set(SPLITS),
        "long_documents": set(LONG_SPLITS),
        "gpt4_reason": set(SPLITS),
        "llama3-70b_reason": set(SPLITS),
    }
    assert all(tuple(columns) == ("id", "content") for columns in files["documents"].values())
    assert all(tuple(columns) == ASKED for columns in files["examples"].values())


def test_the_files_have_brights_oddities(files):
    documents, examples = files["documents"], files["examples"]
    ids = {split: columns["id"] for split, columns in documents.items()}
    assert all(len(each) == len(set(each)) for each in ids.values())
    assert documents["aops"] == documents["theoremqa_questions"]
    assert all(doc_id.isdigit() for doc_id in ids["theoremqa_theorems"])
    assert any(" " in doc_id for doc_id in ids["biology"])
    assert any("%27" in doc_id for doc_id in ids["psychology"])
    assert set(examples["biology"]["id"]) & set(examples["economics"]["id"])
    for split in (*GROUPS["stackexchange"], "pony"):
        assert set(map(tuple, examples[split]["excluded_ids"])) == {("N/A",)}
    assert set(map(tuple, examples["theoremqa_theorems"]["excluded_ids"])) == {()}
    for split in ("leetcode", "aops", "theoremqa_questions", "theoremqa_theorems"):
        assert set(map(tuple, examples[split]["gold_ids_long"])) == {("N/A",)}
    excluded = examples["aops"]["excluded_ids"]
    assert min(map(len, excluded)) > 2000
    assert all(len(each) > len(set(each)) for each in excluded)
    assert all(own in each for own, each in zip(examples["aops"]["id"], excluded, strict=True))
    assert {len(each) < 10 for each in examples["theoremqa_questions"]["excluded_ids"]} == {True, False}
    assert any(len(gold) > len(set(gold)) for gold in examples["theoremqa_questions"]["gold_ids"])
    assert max(map(len, examples["economics"]["gold_ids"])) > 10
    assert "" in documents["biology"]["content"]
    assert max(map(len, documents["robotics"]["content"])) > 40_000
    for split in SPLITS:
        own, gold, known = (examples[split][key] for key in ("excluded_ids", "gold_ids", "id"))
        assert not any(set(a) & set(b) for a, b in zip(own, gold, strict=True)), split
        assert set().union(*gold) <= set(ids[split])
        if split in LONG_SPLITS:
            assert set().union(*examples[split]["gold_ids_long"]) <= set(files["long_documents"][split]["id"])
        for rewritten in ("gpt4_reason", "llama3-70b_reason"):
            assert files[rewritten][split]["id"] == known
            assert not set(files[rewritten][split]["query"]) & set(examples[split]["query"])
    theorems, questions = examples["theoremqa_theorems"], examples["theoremqa_questions"]
    assert set(zip(theorems["id"], theorems["query"], strict=True)) <= set(
        zip(questions["id"], questions["query"], strict=True)
    )


def test_its_queries_are_the_demos_test_queries(files):
    trained = {told.text for part in ("train", "dev") for told in build_world(0, 1).situations[part]}
    tested = {told.text for told in build_world(0, 1).situations["test"]}
    asked = {query for columns in files["examples"].values() for query in columns["query"]}
    assert asked == tested
    assert not asked & trained


def test_a_seed_gives_the_same_files_and_another_one_others(tmp_path):
    first, again, other = write_mini(tmp_path / "a", 0), write_mini(tmp_path / "b", 0), write_mini(tmp_path / "a", 1)
    assert first.name == again.name != other.name
    for file in first.rglob("*.parquet"):
        assert file.read_bytes() == (again / file.relative_to(first)).read_bytes()
    name = "examples/biology-00000-of-00001.parquet"
    assert (first / name).read_bytes() != (other / name).read_bytes()


def test_the_corpus_is_shared_and_copies_are_relevant_by_the_corrected_judgements(tasks):
    assert tasks["aops"].corpus is tasks["theoremqa_questions"].corpus
    assert tasks["theoremqa_questions"].qrels["TheoremQA_jianyu_xu/question_0.json"] == {
        "TheoremQA_xinyi/confounding.json": 1
    }
    for name in (*GROUPS["stackexchange"], "theoremqa_questions"):
        official, corrected = tasks[name].qrels, tasks[name].judgements["corrected"]
        texts = dict(zip(tasks[name].corpus.ids, tasks[name].corpus.texts, strict=True))
        expected = {
            query_id: {d: 1 for d, text in texts.items() if text in {texts[gold] for gold in labels}}
            for query_id, labels in official.items()
        }
        assert {q: dict(sorted(labels.items())) for q, labels in corrected.items()} == {
            q: {d: 1 for d in sorted(labels) if d not in tasks[name].excluded[q]} for q, labels in expected.items()
        }
        assert corrected != official


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
def test_thousands_of_exclusions_rank_as_the_full_score_matrix(bert, tasks, head):
    encoder, task = load(bert, head), tasks["aops"]
    index = Exact(encoder)
    index.build(task.corpus)
    run_ = index.search(task.queries, 1000, exclude=task.excluded)
    documents = encoder.encode([Text(text) for text in task.corpus.texts], "document")
    scores_QN = encoder.head.score(encoder.encode(list(task.queries.values()), "query"), documents)
    for query_id, scores_N in zip(task.queries, scores_QN.tolist(), strict=True):
        allowed = {d: s for d, s in zip(task.corpus.ids, scores_N, strict=True) if d not in task.excluded[query_id]}
        assert len(allowed) == len(task.corpus) - 2101
        assert run_[query_id] == pytest.approx(allowed, abs=1e-5)
        values = per_query({query_id: run_[query_id]}, {query_id: task.qrels[query_id]})[query_id]
        (gold,) = task.qrels[query_id]
        rank = 1 + sum((score, d) > (run_[query_id][gold], gold) for d, score in run_[query_id].items())
        assert values["mrr"] == pytest.approx(1 / rank)


def test_copies_get_equal_scores(bert, tasks):
    index = Exact(load(bert, "colbert"))
    index.build(tasks["economics"].corpus)
    (query_id, query), *_ = tasks["economics"].queries.items()
    found = index.search({query_id: query}, 1000)[query_id]
    assert set(found) == set(tasks["economics"].corpus.ids)
    assert len({found[doc_id] for doc_id in tasks["economics"].qrels[query_id]}) == 1


def test_the_command_evaluates_all_splits_and_reports_truncation(home):
    done = run("evaluate", "model=tiny", "eval=bright_mini", "logger=csv", "hardware=cpu", home=home)
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    assert set(document["results"]) >= {*SPLITS, *(f"{split}_corrected" for split in SPLITS), "bright"}
    assert set(document["results"]["bright"]) == {"random", "bm25", "untrained"}
    protocol = document["protocol"]
    assert (protocol["headline"], protocol["embeddings"], protocol["query_length"]) == ("ndcg_at_10", "float32", 128)
    assert protocol["tasks"]["aops"]["protocol"] == "bright-official"
    assert set(protocol["truncation"]) == set(SPLITS)
    robotics = protocol["truncation"]["robotics"]
    assert robotics["queries"]["texts"] == 15
    assert robotics["documents"]["lost"] > 10_000  # the very long one
    assert protocol["truncation"]["aops"]["queries"]["texts"] == 10
    many = [split for split, sides in protocol["truncation"].items() if sides["queries"]["cut"] > 0.05]
    assert ("Queries longer than 128 tokens were truncated" in done.err) == bool(many)
    assert "were truncated" in run("evaluate", *TINY, "model.head.query_length=40", home=home).err


def test_whole_documents_are_evaluated_by_recall_at_1(home):
    done = run("evaluate", *TINY, "eval.splits=[pony,biology]", "eval.long=true", home=home)
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    assert document["protocol"]["headline"] == "recall_at_1"
    assert document["protocol"]["tasks"]["pony"]["setting"] == "long"
    values = document["intervals"]["biology"]["untrained"]
    assert values["recall_at_1"]["mean"] == document["results"]["biology"]["untrained"]["recall_at_1"]
    assert "Recall@1" in done.out


def test_cached_embeddings_give_the_same_results_and_nothing_is_encoded_twice(home, monkeypatch):
    from reasonir.model.encoder import Encoder

    plain = run("evaluate", *TINY, home=home)
    first = run("evaluate", *TINY, "evaluation.embedding_cache=float32", home=home)
    monkeypatch.setattr(Encoder, "represent", None)
    monkeypatch.setattr("reasonir.commands.evaluate.write_report", lambda *given, **named: None)  # reads what it shows
    again = run("evaluate", *TINY, "evaluation.embedding_cache=float32", home=home)
    assert again.status == 0, again.err
    assert "Caching embeddings in" in again.err
    results = [json.loads((done.folder / "results.json").read_text()) for done in (plain, first, again)]
    assert results[0] == results[1] == results[2]


def test_instructions_that_no_prompt_takes_are_warned_of(home):
    ignored = run("evaluate", *TINY, "eval/instructions=e5", home=home)
    assert "instructions are ignored: the query prompt ('') has no {instruction}" in ignored.err
    taken = run("evaluate", *TINY, "eval/instructions=e5", "model/prompts=instruct", home=home)
    assert "ignored" not in taken.err
    protocol = json.loads((taken.folder / "results.json").read_text())["protocol"]
    assert protocol["query_prompt"] == "Instruct: {instruction}\nQuery: "
    assert protocol["tasks"]["biology"]["instruction"].startswith("Given a biology post")


def test_mteb_is_another_protocol(home, composed):
    from reasonir.cli.configuration import build

    benchmark = build(composed("evaluate", "model=tiny", "eval=bright_mteb", f"eval.path={mini(home).folder()}").eval)
    (task,) = [task for task in benchmark.tasks(corpus=False) if task.name == "pony"]
    assert task.protocol["protocol"] == "mteb-1.1"
    assert {text.instruction for text in task.queries.values()} == {
        "Represent this Pony question for searching relevant passages: "
    }


def test_rewritten_queries_help_bm25_as_in_bright(home):
    from reasonir.eval.results import Results
    from reasonir.eval.systems import evaluate_systems, search_system
    from reasonir.index.bm25 import Bm25

    def figure(**options):
        benchmark = mini(home, **options)
        found = evaluate_systems(
            list(benchmark.tasks()), {"bm25": search_system(Bm25(), depth=1000)}, Results(groups=benchmark.groups)
        )
        return found.figures()["bright"]["bm25"]["ndcg_at_10"]

    assert figure() < 0.1
    assert figure(queries="gpt4_reason") > figure(queries="llama3-70b_reason") > 0.2


def test_wrong_options_are_named(home):
    for option, message in (
        ({"protocol": "mteb"}, "protocol=mteb: choose bright-official or mteb-1.1"),
        ({"metric": "ndcg"}, "metric=ndcg: choose one of ndcg_at_1"),
        ({"queries": "gpt5_reason"}, "has no gpt5_reason of split biology"),
    ):
        with pytest.raises(InputError) as refused:
            list(mini(home, **option).tasks())
        assert message in str(refused.value)
