"""Exports give equal scores in the older releases of libraries here and in the newest, which have their own Python."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from reasonir.model.export import export
from reasonir.types import Pair, Text
from tests.helpers import SENTENCES, load

ROOT = Path(__file__).parents[2]
NEWEST = [python for name in ("newest", "peers") if (python := ROOT / f".venv-{name}" / "bin" / "python").is_file()]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not NEWEST, reason="make test-newest builds the environment")]
QUERIES, DOCUMENTS = list(SENTENCES[:4]), [f"{text}, {text}; and more!" for text in SENTENCES[4:9]]
OPEN = """
import json, sys
import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

kind, folder, queries, documents = json.loads(sys.argv[1])
if kind == "CrossEncoder":
    model = CrossEncoder(folder, device="cpu", activation_fn=torch.nn.Identity(), local_files_only=True)
    scores = model.predict([(query, document) for query in queries for document in documents]).tolist()
else:
    model = {"SentenceTransformer": SentenceTransformer, "MultiVectorEncoder": MultiVectorEncoder}[kind](
        folder, device="cpu", local_files_only=True
    )
    first, second = model.encode_query(queries), model.encode_document(documents)
    scores = model.similarity(first, second).flatten().tolist()
print(json.dumps(scores))
"""


def in_the_newest(kind, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = json.dumps([kind, str(folder), QUERIES, DOCUMENTS])
    done = subprocess.run([NEWEST[0], "-c", OPEN, given], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


def here(encoder):
    first = encoder.encode([Text(text) for text in QUERIES], "query")
    return encoder.head.score(first, encoder.encode([Text(text) for text in DOCUMENTS], "document")).flatten()


@pytest.mark.parametrize(
    ("checkpoint", "options"),
    [
        ("bert", {}),
        ("bert", {"query_expansion": True, "query_length": 24, "skiplist": ["the", "no-such-word"]}),
        ("bert", {"query_expansion": True, "attend_to_expansion": True, "query_prefix": "[query]"}),
        ("qwen", {"query_prefix": "", "document_prefix": ""}),  # sentence-transformers would place them elsewhere
    ],
)
def test_late_interaction(request, tmp_path, checkpoint, options):
    models = pytest.importorskip("pylate.models")
    encoder = load(request.getfixturevalue(checkpoint), "colbert", embedding_size=16, **options)
    export(encoder, tmp_path / "model")
    model = models.ColBERT(str(tmp_path / "model"), device="cpu")
    first, second = (
        model.encode(texts, is_query=texts is QUERIES, convert_to_numpy=False) for texts in (QUERIES, DOCUMENTS)
    )
    older = torch.stack([(q @ d.T).amax(1).sum() for q in first for d in second])
    torch.testing.assert_close(here(encoder), older, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(in_the_newest("MultiVectorEncoder", tmp_path / "model"), older, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpoint", ["bert", "qwen"])
def test_single_vectors(request, tmp_path, checkpoint):
    encoder = load(request.getfixturevalue(checkpoint), "biencoder")
    export(encoder, tmp_path / "model")
    found = in_the_newest("SentenceTransformer", tmp_path / "model")
    torch.testing.assert_close(found, here(encoder), rtol=1e-4, atol=1e-4)


def test_cross_encoder(bert, tmp_path):
    encoder = load(bert, "cross_encoder").eval()
    export(encoder, tmp_path / "model")
    expected = encoder.score_pairs([Pair(Text(query), Text(document)) for query in QUERIES for document in DOCUMENTS])
    found = in_the_newest("CrossEncoder", tmp_path / "model")
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
