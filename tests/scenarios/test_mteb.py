"""An exported bi-encoder judged by mteb on a local task: the same figures as ours."""

import pytest

from reasonir.eval.stats.ranking_metrics import mean, per_query
from reasonir.index.exact import Exact
from reasonir.model.export import export
from reasonir.model.prompts import Prompts
from reasonir.types import Corpus, Text
from tests.helpers import SENTENCES, load

CORPUS = {f"d{n}": f"{text}, and {SENTENCES[(n * 7 + n // 12 + 3) % 12]}" for n, text in enumerate(SENTENCES * 3)}
QUERIES = {f"q{n}": f"what is it that {text}" for n, text in enumerate(SENTENCES)}
QRELS = {f"q{n}": {f"d{(n + 12 * m + m) % 36}": 1 for m in range(3)} for n in range(12)}


def local_task():
    """The collection above as a task of mteb's."""
    from datasets import Dataset
    from mteb import TaskMetadata
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Local",
            description="A collection in memory.",
            dataset={"path": "local/local", "revision": "1"},
            type="Retrieval",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, num_proc=None, **_):
            corpus, queries = (
                Dataset.from_list([{"id": key, "text": text} for key, text in texts.items()])
                for texts in (CORPUS, QUERIES)
            )
            split = {"corpus": corpus, "queries": queries, "relevant_docs": QRELS, "top_ranked": None}
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Local()


@pytest.mark.slow
def test_an_exported_bi_encoder_gets_our_figures_in_mteb(bert, tmp_path):
    import mteb
    from sentence_transformers import SentenceTransformer

    prompts = Prompts(query="question: ", document="passage: ")
    encoder = load(bert, "biencoder", model={"prompts": prompts}, pooling="mean").eval()
    export(encoder, tmp_path / "model")
    index = Exact(encoder)
    index.build(Corpus(list(CORPUS), list(CORPUS.values())))
    run = index.search({key: Text(text) for key, text in QUERIES.items()}, 36)
    ours = mean(per_query(run, QRELS))
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    found = mteb.evaluate(theirs, local_task(), cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = found.task_results[0].scores["test"]
    assert 0.1 < ours["ndcg_at_10"] < 0.9
    for name in ("ndcg_at_10", "recall_at_10", "recall_at_100"):
        assert scores[name] == pytest.approx(ours[name], abs=1e-4), name
