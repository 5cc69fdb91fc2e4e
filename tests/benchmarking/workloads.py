"""Small workload for each head, on an export, as in a benchmark."""

from functools import partial

from reasonir.benchmarking.base import Workload
from reasonir.engine.step import Budget
from reasonir.model.backbone import Model
from reasonir.model.export import export
from tests.helpers import HEADS, SENTENCES, load

LENGTHS = {
    "colbert": {"query_length": 32, "document_length": 64},
    "biencoder": {"max_length": 64},
    "cross_encoder": {"max_length": 64},
    "yes_no": {"max_length": 200},
}


def workload_of(checkpoint, head, folder, *, budget=(300, 400)):
    """Return six queries with a positive and two negatives each, one to forty sentences long."""
    encoder = load(checkpoint, head, **LENGTHS[head])
    export(encoder, folder)
    tokenizer = encoder.head.tokenizer
    queries = [f"{SENTENCES[i]} {i}" for i in range(6)]
    documents = [[f"{SENTENCES[i + k]}, {i} {k}; " * (1 + 13 * ((i + k) % 4)) for i in range(6)] for k in (1, 3, 6)]
    return Workload(
        Model(str(folder), head=partial(HEADS[head].load, **LENGTHS[head])),
        [queries, *documents],
        getattr(encoder.head, "temperature", 1.0),
        {"query": tokenizer.limit("query"), "document": tokenizer.limit("document")},
        "cpu",
        Budget(*budget),
    )
