"""Benchmarks with several sets, on miniatures of their repositories in a hub cache, in the published layouts."""

import base64
import hashlib
import json
from itertools import cycle, pairwise
from math import log2

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reasonir.cli.check import problems
from reasonir.cli.configuration import build
from reasonir.data.beir import Beir
from reasonir.errors import InputError
from reasonir.eval.evaluator import read_benchmark
from reasonir.eval.results import Results, read_values
from reasonir.eval.stats.aspect_metrics import ALPHA_NDCG, ASPECT_RECALL, per_query
from reasonir.eval.systems import evaluate_systems, search_system
from reasonir.index.bm25 import Bm25
from reasonir.types import Aspect

NANOBEIR = [
    "NanoClimateFEVER",
    "NanoDBPedia",
    "NanoFEVER",
    "NanoFiQA2018",
    "NanoHotpotQA",
    "NanoMSMARCO",
    "NanoNFCorpus",
    "NanoNQ",
    "NanoQuoraRetrieval",
    "NanoSCIDOCS",
    "NanoArguAna",
    "NanoSciFact",
    "NanoTouche2020",
]
R2MED = [
    "Biology",
    "Bioinformatics",
    "Medical-Sciences",
    "MedXpertQA-Exam",
    "MedQA-Diag",
    "PMC-Treatment",
    "PMC-Clinical",
    "IIYi-Clinical",
]
WORDS = ("salt", "ice", "rivers", "glass", "copper", "bees")


def parquet(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


def jsonl(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def corpus(name, key="_id", text="text"):
    return [{key: f"{name}-d{n}", text: f"{word} in {name}"} for n, word in enumerate(WORDS)]


def queries(name, key="_id", text="text", n=3):
    return [{key: f"{name}-q{i}", text: f"about {WORDS[i]}"} for i in range(n)]


def qrels(name, query="query-id", document="corpus-id", score=None, n=3):
    rows = [{query: f"{name}-q{i}", document: f"{name}-d{i}"} for i in range(n)]
    return rows if score is None else [{**row, score: 1} for row in rows]


def nano(folder, names, *, candidates=False):
    """A repository with a split per set, as sentence-transformers' and HAKARI-Bench's are."""
    for name in names:
        parquet(folder / f"corpus/{name}-00000-of-00001.parquet", corpus(name))
        parquet(folder / f"queries/{name}-00000-of-00001.parquet", queries(name))
        parquet(folder / f"qrels/{name}-00000-of-00001.parquet", qrels(name))
        if candidates:
            listed = [{"query-id": f"{name}-q{i}", "corpus-ids": [f"{name}-d{i}", f"{name}-d5"]} for i in range(3)]
            parquet(folder / f"bm25/{name}-00000-of-00001.parquet", listed)
    return folder


def r2med(folder, name):
    parquet(folder / "corpus/corpus-00000-of-00001.parquet", corpus(name, "id"))
    parquet(folder / "query/query-00000-of-00001.parquet", queries(name, "id"))
    parquet(folder / "qrels/qrels-00000-of-00001.parquet", qrels(name, "q_id", "p_id", "score"))
    return folder


def limit(folder, name):
    jsonl(folder / "corpus.jsonl", [{**row, "title": ""} for row in corpus(name)])
    jsonl(folder / "queries.jsonl", queries(name))
    jsonl(folder / "qrels.jsonl", qrels(name, score="score"))
    return folder


def mteb(folder, name, *, subset="", cipher=lambda text: text):
    """A repository as mteb publishes them; a subset's name is in front of its configurations'."""
    prefix = f"{subset}-" if subset else ""
    for part, rows in (("corpus", corpus(name, "id")), ("queries", queries(name, "id"))):
        enciphered = [{**row, "text": cipher(row["text"]), "title": ""} for row in rows]
        parquet(folder / f"{prefix}{part}/test-00000-of-00001.parquet", enciphered)
    parquet(folder / f"{prefix}qrels/test-00000-of-00001.parquet", qrels(name, score="score"))
    return folder


def bright_like(folder, splits, *, aspects=False):
    """Integer ids of queries, as BRIGHT-Pro has them."""
    for split in splits:
        parquet(folder / f"documents/{split}-00000-of-00001.parquet", corpus(split, "id", "content"))
        rows = [
            {
                "id": i,
                "query": f"about {WORDS[i]} or {WORDS[i + 1]}",
                "gold_ids": [f"{split}-d{i}", f"{split}-d{i + 1}"],
                "excluded_ids": ["N/A"],
            }
            for i in range(0, 4, 2)
        ]
        parquet(folder / f"examples/{split}-00000-of-00001.parquet", rows)
        if aspects:
            of = [
                {"id": f"{split}-{i}-a{n}", "weight": 1 + 2 * n, "supporting_docs": [f"{split}-d{i + n}"]}
                for i in range(0, 4, 2)
                for n in range(2)
            ]
            parquet(folder / f"aspects/{split}-00000-of-00001.parquet", of)
    return folder


def benchmark(composed, *overrides):
    config = composed("evaluate", "run=x", *overrides)
    assert problems(config) == []
    return build(config.eval)


def bm25(chosen, tmp_path):
    results = Results({"headline": chosen.headline}, chosen.groups)
    evaluate_systems(read_benchmark(chosen), {"bm25": search_system(Bm25(), depth=10)}, results)
    results.write(tmp_path / "results", evaluated="bm25")
    return results


def test_nanobeir_is_thirteen_sets_with_their_mean_and_its_published_rows(tmp_path, hub, composed):
    hub(nano(tmp_path / "a", NANOBEIR), "sentence-transformers/NanoBEIR-en", "dataset")
    chosen = benchmark(composed, "eval=nanobeir")
    results = bm25(chosen, tmp_path)
    assert list(results.values) == NANOBEIR
    assert results.figures()["nanobeir"]["bm25"]["ndcg_at_10"] == 1
    standings = chosen.leaderboard.standings(results, "bm25")
    assert [row.model for row in standings.rows][:2] == ["bm25 (here)", "LateOn"]
    assert results.protocol["tasks"]["NanoNQ"]["licence"] == "each set's own"


def test_nanobeir_is_read_from_its_makers_repositories_too(tmp_path, hub, composed):
    for name in NANOBEIR:
        folder = nano(tmp_path / name, ["train"])
        hub(folder, f"zeta-alpha-ai/{name}", "dataset")
    chosen = benchmark(composed, "eval=nanobeir", "eval.path=zeta-alpha-ai", "eval.split=train", "eval.revision=null")
    assert [task.name for task in chosen.tasks()] == NANOBEIR


def test_a_nano_set_of_any_name_gives_all_its_splits_and_its_candidates(tmp_path, hub, composed):
    hub(
        nano(tmp_path / "a", ["NanoBrightPony", "NanoBrightAops"], candidates=True),
        "hakari-bench/NanoBRIGHT",
        "dataset",
    )
    chosen = benchmark(composed, "eval=nanobright", "eval.candidates=bm25")
    first, second = chosen.tasks()
    assert (first.name, second.name) == ("NanoBrightAops", "NanoBrightPony")
    assert first.candidates["NanoBrightAops-q1"] == ["NanoBrightAops-d1", "NanoBrightAops-d5"]
    assert first.protocol["candidates"] == "bm25"
    assert bm25(chosen, tmp_path).runs["NanoBrightAops"]["bm25"]["NanoBrightAops-q1"].keys() == {
        "NanoBrightAops-d1",
        "NanoBrightAops-d5",
    }
    with pytest.raises(InputError, match=r"has no dense/ for split NanoBrightAops: choose other candidates, or null"):
        list(benchmark(composed, "eval=nanobright", "eval.candidates=dense").tasks())


def test_r2meds_columns_and_folders_are_read(tmp_path, hub, composed):
    for name in R2MED:
        hub(r2med(tmp_path / name, name), f"R2MED/{name}", "dataset")
    overrides = [f"eval.revision.{name}=null" for name in R2MED]
    assert bm25(benchmark(composed, "eval=r2med", *overrides), tmp_path).figures()["r2med"]["bm25"]["ndcg_at_10"] == 1


def test_qrels_in_the_folder_itself_are_those_of_the_test_split(tmp_path, hub, composed):
    hub(limit(tmp_path / "LIMIT", "LIMIT"), "orionweller/LIMIT", "dataset")
    chosen = benchmark(composed, "eval=limit", "eval.revision=null")
    results = bm25(chosen, tmp_path)
    assert chosen.headline == "recall_at_2"
    assert results.figures()["limit"]["bm25"]["recall_at_2"] == 1
    with pytest.raises(InputError, match=r"split=dev: .* has no qrels of that split: choose one of test"):
        list(benchmark(composed, "eval=limit", "eval.revision=null", "eval.split=dev").tasks())


def test_a_packed_set_of_mteb_is_read(tmp_path, hub, composed):
    hub(mteb(tmp_path / "a", "fresh"), "mteb/FreshStackRetrieval", "dataset")
    assert bm25(benchmark(composed, "eval=freshstack", "eval.revision=null"), tmp_path).figures()


@pytest.mark.parametrize("encrypted", [True, False])
def test_encrypted_texts_are_deciphered_where_they_are_encrypted(tmp_path, hub, composed, encrypted):
    canary = composed("evaluate", "run=x", "eval=browsecomp_plus").eval.canary
    key = hashlib.sha256(canary.encode()).digest()

    def cipher(text):
        return base64.b64encode(bytes(a ^ b for a, b in zip(text.encode(), cycle(key), strict=False))).decode()

    for subset in ("gold_only", "gold_and_evidence"):
        mteb(tmp_path / "a", subset, subset=subset, cipher=cipher if encrypted else str)
    hub(tmp_path / "a", "mteb/BrowseCompPlusRetrieval", "dataset")
    first, second = benchmark(composed, "eval=browsecomp_plus", "eval.revision=null").tasks()
    assert (first.name, second.name) == ("gold_only", "gold_and_evidence")
    assert first.corpus.texts[1] == "ice in gold_only"
    assert second.queries["gold_and_evidence-q0"].text == "about salt"


def test_texts_of_which_some_are_encrypted_are_refused(tmp_path, composed):
    mteb(tmp_path / "a", "x", subset="gold_only")
    texts = corpus("x", "id")
    key = hashlib.sha256(b"p").digest()
    texts[0]["text"] = base64.b64encode(bytes(a ^ b for a, b in zip(b"salt", key, strict=False))).decode()
    parquet(tmp_path / "a/gold_only-corpus/test-00000-of-00001.parquet", texts)
    chosen = benchmark(
        composed, "eval=browsecomp_plus", f"eval.path={tmp_path / 'a'}", "eval.sets=[gold_only]", "eval.canary=p"
    )
    with pytest.raises(InputError, match=r"5 of 6 texts aren't encrypted, 'x-d1' for one"):
        list(chosen.tasks())


def test_a_subset_that_is_missing_is_answered_with_those_that_are_there(tmp_path, composed):
    for subset in ("de", "en"):
        mteb(tmp_path / "a", subset, subset=subset)
        limit(tmp_path / "b" / subset, subset)
    for folder in ("a", "b"):
        path = f"eval.path={tmp_path / folder}"
        for stated in ((), ("eval.subset=fr",)):
            with pytest.raises(InputError, match=r"holds several collections: choose eval.subset from de, en"):
                list(benchmark(composed, "eval=beir", path, *stated).tasks())
        (task,) = benchmark(composed, "eval=beir", path, "eval.subset=de").tasks()
        assert task.corpus.texts[0] == "salt in de"
        assert task.name == f"{folder}-de"


def test_data_takes_a_subset_too(tmp_path):
    mteb(tmp_path / "a", "de", subset="de")
    source = Beir(str(tmp_path / "a"), split="test", subset="de")
    assert source.name == "a-de-test"
    assert [example.query for example in source.examples()] == ["about salt", "about ice", "about rivers"]
    assert len(list(source.collection())) == len(WORDS)
    assert source.identity()["files"].keys() == {
        f"de-{part}/test-00000-of-00001.parquet" for part in ("corpus", "queries", "qrels")
    }


def test_several_collections_are_given_by_their_names(tmp_path, composed):
    for name in ("scifact", "fiqa"):
        limit(tmp_path / name, name)
    chosen = benchmark(composed, "eval=beir", f"eval.path={tmp_path}", "eval.sets=[scifact,fiqa]", "eval.title=mine")
    results = bm25(chosen, tmp_path)
    assert list(results.values) == ["scifact", "fiqa"]
    assert results.figures()["mine"]["bm25"]["ndcg_at_10"] == 1
    assert [row.rows for row in chosen.leaderboards.values()] == [()]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval=beir"], "eval.path=BeIR: give the folder or hub id"),
        (["eval=beir", "eval.path='x/*'"], "eval.sets=null: path=x/* needs the names"),
        (["eval=nanobeir", "eval.sets=[NanoNQ,NanoNQ]"], "name each set once"),
        (["eval=limit", "eval.metric=recall"], "eval.metric=recall: choose one of ndcg_at_1"),
        (["eval=suite", "eval.include=[nanobier]"], "(did you mean 'nanobeir'?)"),
        (["eval=suite", "+eval@eval.benchmarks.x=geometry"], "eval.benchmarks.x"),
        (["eval=tempo", "eval.splits=[biology]"], "eval.splits names 'biology': choose from bitcoin"),
        (["eval=bright_pro", "eval.long=true"], "eval.long=True"),
    ],
)
def test_sets_that_cannot_be_are_refused(composed, overrides, message):
    assert message in "\n".join(problems(composed("evaluate", "run=x", *overrides)))


def test_tempo_is_read_in_brights_layout(tmp_path, hub, composed):
    from reasonir.eval.tempo import Tempo

    domains = [split for splits in Tempo.kinds.values() for split in splits]
    assert len(domains) == 13
    hub(bright_like(tmp_path / "a", domains), "tempo26/Tempo", "dataset")
    chosen = benchmark(composed, "eval=tempo", "eval.revision=null", f"eval.kept={tmp_path}")
    results = bm25(chosen, tmp_path)
    assert results.figures()["tempo"]["bm25"]["ndcg_at_10"] == 1
    assert chosen.leaderboard.standings(results, "bm25").rows[1].model == "DIVER-Retriever"


def test_bright_pro_is_scored_by_its_aspects(tmp_path, hub, composed):
    from reasonir.eval.bright_pro import BrightPro

    (splits,) = BrightPro.kinds.values()
    hub(bright_like(tmp_path / "a", splits, aspects=True), "yale-nlp/Bright-Pro", "dataset")
    chosen = benchmark(composed, "eval=bright_pro", "eval.revision=null", f"eval.kept={tmp_path}")
    results = bm25(chosen, tmp_path)
    assert chosen.headline == ALPHA_NDCG
    (task, *_) = chosen.tasks()
    assert {aspect.weight for aspect in task.aspects["0"]} == {0.25, 0.75}
    figures = results.figures()["bright_pro"]["bm25"]
    assert figures[ASPECT_RECALL] == 1
    values = read_values(tmp_path / "results")["biology"]["bm25"]["0"]
    swapped = (0.25 + 0.75 / log2(3)) / (0.75 + 0.25 / log2(3))  # the lighter aspect first: ties go by the larger id
    assert values[ALPHA_NDCG] in (1, pytest.approx(swapped))
    assert chosen.leaderboard.standings(results, "bm25").metric == ALPHA_NDCG


def test_aspects_that_list_no_relevant_document_are_refused(tmp_path, composed):
    folder = bright_like(tmp_path / "a", ["biology"], aspects=True)
    parquet(folder / "aspects/biology-00000-of-00001.parquet", [{"id": "0-a1", "weight": 1, "supporting_docs": ["x"]}])
    chosen = benchmark(
        composed, "eval=bright_pro", f"eval.path={folder}", "eval.splits=[biology]", f"eval.kept={tmp_path}"
    )
    with pytest.raises(InputError, match=r"lists a relevant document of query '0' of biology"):
        list(chosen.tasks())
    (folder / "aspects/biology-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"has no aspects of split biology: fetch it again"):
        list(chosen.tasks())


def test_novelty_and_weights_are_discounted_as_by_hand():
    aspects = {"q": [Aspect(0.6, frozenset("ab")), Aspect(0.4, frozenset("c"))]}
    found = per_query({"q": {"a": 4, "x": 3, "b": 2}}, aspects)["q"]
    ideal = 0.6 + 0.4 / log2(3) + 0.3 / log2(4)
    assert found == {ALPHA_NDCG: pytest.approx((0.6 + 0.3 / log2(4)) / ideal), ASPECT_RECALL: 0.6}
    assert per_query({}, aspects)["q"] == {ALPHA_NDCG: 0, ASPECT_RECALL: 0}
    far = {"q": {f"x{n}": 100 - n for n in range(25)} | {"a": 1}}
    assert per_query(far, aspects)["q"] == {ALPHA_NDCG: 0, ASPECT_RECALL: 0}
    best = [
        per_query({"q": dict.fromkeys(order, 0) | {d: -n for n, d in enumerate(order)}}, aspects)["q"]
        for order in ("acb", "abc")
    ]
    assert [each[ALPHA_NDCG] for each in best] == sorted((each[ALPHA_NDCG] for each in best), reverse=True)
    assert best[0][ALPHA_NDCG] == 1
    assert all(first >= second for first, second in pairwise(each[ALPHA_NDCG] for each in best))


def test_a_suite_is_all_its_sets_with_each_benchmarks_mean_and_board(tmp_path, hub, composed):
    hub(nano(tmp_path / "nano", NANOBEIR), "sentence-transformers/NanoBEIR-en", "dataset")
    hub(limit(tmp_path / "LIMIT", "LIMIT"), "orionweller/LIMIT", "dataset")
    folder = bright_like(tmp_path / "pro", ["biology", "pony"], aspects=True)
    chosen = benchmark(
        composed,
        "eval=suite",
        "eval.include=[limit,nanobeir,bright_pro]",
        "eval.benchmarks.limit.revision=null",
        f"eval.benchmarks.bright_pro.path={folder}",
        "eval.benchmarks.bright_pro.splits=[biology]",
        f"eval.benchmarks.bright_pro.kept={tmp_path}",
    )
    results = bm25(chosen, tmp_path)
    assert list(results.values) == ["limit_LIMIT", *(f"nanobeir_{name}" for name in NANOBEIR), "bright_pro_biology"]
    figures = results.figures()
    assert figures["nanobeir"]["bm25"]["ndcg_at_10"] == 1
    assert figures["limit"]["bm25"]["recall_at_2"] == 1
    assert ALPHA_NDCG in figures["bright_pro_biology"]["bm25"]
    assert ALPHA_NDCG not in figures["limit_LIMIT"]["bm25"]
    assert ALPHA_NDCG not in read_values(tmp_path / "results")["limit_LIMIT"]["bm25"]["LIMIT-q0"]
    boards = {name: board.standings(results, "bm25") for name, board in chosen.leaderboards.items()}
    assert boards["limit"] is None
    assert boards["nanobeir"].rows[1].model == "LateOn"
    assert boards["bright_pro"].metric == ALPHA_NDCG
