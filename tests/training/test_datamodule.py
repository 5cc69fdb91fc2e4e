"""Tests of the training data of a run."""

from reasonir.data.beir import Beir
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.types import Document, Example
from tests.data.test_beir import write
from tests.data.test_prepared import Given


def test_the_development_content_is_that_of_the_held_out_queries(tmp_path):
    source = Given([Example(f"q{n}", f"why {n}", (Document(f"d{n}", f"since {n}"),)) for n in range(40)])

    def content(seed, **options):
        data = RetrievalData(source, LoaderOptions(**options), home=tmp_path, seed=seed)
        data.hold_out()
        return data.dev_content

    assert content(1) == content(1, batch_size=8) != content(2)
    assert content(1) != content(1, dev_documents=10)
    assert content(1, dev_size=0) == ""


def test_held_out_test_queries_search_the_whole_collection(tmp_path):
    corpus = [{"_id": f"d{n}", "text": f"text {n}"} for n in range(40)]
    queries = [{"_id": f"q{n}", "text": f"why {n}"} for n in range(20)]
    judged = [(f"q{n}", f"d{n}", 1) for n in range(20)]
    source = Beir(str(write(tmp_path / "col", corpus=corpus, queries=queries, qrels=judged)))
    data = RetrievalData(source, LoaderOptions(test_size=3), home=tmp_path, seed=0, tested=True)
    data.hold_out()
    (task,) = data.tests()
    assert len(task.queries) == 3
    assert sorted(task.corpus.texts) == sorted(row["text"] for row in corpus)
