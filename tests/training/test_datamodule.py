"""Tests of the training data of a run."""

from reasonir.training.datamodule import LoaderOptions, RetrievalData
from reasonir.types import Document, Example
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
