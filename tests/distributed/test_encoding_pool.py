"""Documents encoded by two gloo ranks: the rankings of rank 0 equal those of one process bit for bit."""

import json

import pytest
import torch

from reasonir.distributed.encoding_pool import broadcast_weights, join_pool, run_together
from reasonir.index.exact import Exact
from reasonir.model import encoder as encoder_module
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.model.embedding_cache import Disk
from reasonir.model.encoder import Encoder
from reasonir.types import Corpus, Text
from tests.distributed.test_ranks import on_two_ranks
from tests.helpers import SENTENCES, load

QUERIES = {f"q{i}": Text(text) for i, text in enumerate(SENTENCES[:4])}
CORPUS = Corpus([f"d{i}" for i in range(40)], [f"{SENTENCES[i % 12]} {i}" for i in range(40)])


def search(encoder, **options):
    reader = CachingEncoder(encoder, **options)
    index = Exact(reader)
    index.build(CORPUS)
    return index.search(QUERIES, 40), reader.documents


def on_each(rank, bert, folder, head):
    encoder_module._SORTED_TOGETHER = 7
    encoder, read = load(bert, head), []
    represent = Encoder.represent
    Encoder.represent = lambda self, tokens, **options: read.append(len(tokens)) or represent(self, tokens, **options)
    alone = search(encoder) if rank == 0 else None
    read.clear()
    rankings = []
    group = join_pool()

    def work(backend):
        stores = ({}, {"store": Disk(folder)}, {"store": Disk(folder)})  # the last one has everything
        rankings.extend(search(encoder, backend=backend, **kept) for kept in stores)
        stream = CachingEncoder(encoder, backend=backend).stream([Text(text) for text in CORPUS.texts], "document")
        next(stream)
        stream.close()  # blocks that other ranks still encode are fetched

    run_together(group, encoder, work)
    assert all(ranking == alone for ranking in rankings)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(rank)
    broadcast_weights(group, encoder)
    total = sum(float(value.double().sum()) for value in encoder.state_dict().values())
    (folder / f"{rank}.json").write_text(json.dumps({"read": read, "total": total, "rankings": len(rankings)}))


@pytest.mark.parametrize("head", ["colbert", "splade"])
def test_two_ranks_rank_as_one_process_and_share_the_encoding(bert, tmp_path, head):
    on_two_ranks(on_each, bert, tmp_path, head)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first["rankings"], second["rankings"]) == (3, 0)
    assert first["read"] == [4, 7, 7, 7] * 2 + [7]  # queries, every other block of documents
    assert second["read"] == [7, 7, 5] * 2 + [7]
    assert first["total"] == second["total"]
