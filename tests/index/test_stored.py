"""Vectors that are appended block by block are read back, whole and in blocks."""

import pytest
import torch

from reasonir.data.batch import Representation
from reasonir.index import stored


@pytest.mark.parametrize("rows", [1, 7, 1 << 16])
def test_documents_come_back_in_order(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(stored, "_ROWS", rows)
    values_TD = torch.randn(30, 8, generator=torch.Generator().manual_seed(1)).half().float()
    documents = Representation(values_TD, torch.tensor([3, 1, 11, 5, 4, 6]))
    store = stored.StoredVectors(tmp_path / "vectors")
    for part in documents.split(2):
        store.append(part)
    assert (store.vectors, store.size) == (30, 8)
    assert [len(one) for one in store.documents()] == documents.lengths_N.tolist()
    assert torch.equal(torch.cat(store.documents()).float(), values_TD)
    blocks = list(store.blocks())
    assert [index for block, _ in blocks for index in range(block.start, block.stop)] == list(range(6))
    assert torch.equal(torch.cat([part.values_TD for _, part in blocks]), values_TD)
    assert torch.cat([part.lengths_N for _, part in blocks]).tolist() == documents.lengths_N.tolist()
    assert len(blocks) == {1: 6, 7: 4, 1 << 16: 1}[rows]
