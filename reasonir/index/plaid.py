"""Approximate search for late interaction by PLAID (Santhanam et al. 2022, arXiv:2205.09707), with fast-plaid.

Every vector is stored as its nearest centroid and a residual of a few bits. A query retrieves the documents of the
centroids nearest to its vectors, orders them by centroids alone, and scores the first `candidates` with their decoded
vectors. If that gives a query fewer documents than requested, more centroids are probed, in the end all of them, so
that every ranking is complete. Excluded documents are compensated by as many further candidates; if they are most of
the corpus, only the others are searched.

The corpus is encoded once, into a file in half precision, which the index is built from and its recall is measured
with; files are removed with the index. fast-plaid samples documents with torch's global random state, which is seeded
here and restored, so that builds are reproducible and a training run isn't affected. PyLate's wrapper class isn't used:
it reads its table of ids from the disk for each search and can't probe more centroids.

Shape letters: L vectors of a query, D vector size, C centroids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from reasonir.errors import InputError
from reasonir.index.base import Form, excluded_positions, incompatibility
from reasonir.index.pooling import Pooling
from reasonir.index.stored import IndexFolder, StoredVectors
from reasonir.index.topk import report, sampled
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, PlainTexts, Run, Text
from reasonir.utils.progress import progress
from reasonir.utils.random_state import kept_random_state
from reasonir.utils.ranges import Positive, Seed, Validated

log = logging.getLogger(__name__)
_MIN_VECTORS = 10
_SCORED_TOGETHER = 1 << 26
"""Similarities of query vectors and centroids that are padded at a time: 128 MiB."""


@dataclass(slots=True)
class Plaid(Validated):
    """Ranks by MaxSim of compressed vectors.

    Attributes:
        encoder: the model; its head gives many vectors per text.
        pooling: reduces the vectors of a document.
        bits: bits per number of a residual.
        n_centroids: None takes 16 times the square root of the number of vectors, rounded down to a power of two.
        iterations: iterations of k-means.
        n_probe: centroids probed per query vector.
        candidates: documents decoded per query, never fewer than its ranking has.
        seed: seed of the k-means sample and of its start.
        folder: parent of the index's temporary folder; None is the system's.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    pooling: Pooling = field(default_factory=Pooling)
    bits: Literal[1, 2, 4, 8] = 4
    n_centroids: Positive | None = None
    iterations: Positive = 4
    n_probe: Positive = 8
    candidates: Positive = 1024
    seed: Seed = 42
    folder: str | None = None
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _plaid: Any = field(init=False, default=None)
    _folder: IndexFolder = field(init=False)
    _encoded: StoredVectors = field(init=False)
    _stored: StoredVectors = field(init=False)
    _centroids: int = field(init=False, default=0)
    name: ClassVar[str] = "plaid"
    package: ClassVar[str] = "fast_plaid"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = "many"

    def problems(self) -> Iterable[str]:
        """Yield an incompatibility with the head."""
        if fault := incompatibility(type(self), type(self.encoder.head), self.pooling.pool_factor):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus and index its vectors.

        Raises:
            InputError: there are too few vectors, or their size can't be packed.
        """
        from fast_plaid.search import FastPlaid

        self.corpus = corpus
        self._folder = IndexFolder(self.name, self.folder)
        folder = self._folder.path
        device = str(self.encoder.device) if self.encoder.device.type == "cuda" else "cpu"
        self._plaid = FastPlaid(str(folder), device=device, low_memory=False)
        self._encoded = StoredVectors(folder / "encoded")
        self._stored = StoredVectors(folder / "pooled") if self.pooling.pools else self._encoded
        texts = PlainTexts(corpus.texts)
        for block, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            self._encoded.append(representation)
            if self.pooling.pools:
                self._stored.append(self.pooling(representation, start=block.start))
        if self._stored.vectors < _MIN_VECTORS:
            raise InputError(
                f"index=plaid needs at least {_MIN_VECTORS} vectors, the corpus has {self._stored.vectors}: "
                "choose index=exact"
            )
        if self._stored.size % 8:
            raise InputError(
                f"index=plaid needs a vector size divisible by 8, the model's is {self._stored.size}: "
                "change model.head.embedding_size, or choose index=exact"
            )
        self._compress()
        log.info("Indexed %d documents (%d centroids, %d bits)", len(corpus), self._centroids, self.bits)

    def _compress(self) -> None:
        """Compute the centroids and write the codes of every vector."""
        from fast_plaid import fast_plaid_rust
        from fast_plaid.search.fast_plaid import compute_kmeans

        documents, (device,) = list(self._stored.documents()), self._plaid.devices
        with torch.inference_mode(), kept_random_state():
            torch.manual_seed(self.seed)
            centroids_CD = compute_kmeans(
                documents,
                dim=self._stored.size,
                device=device,
                kmeans_niters=self.iterations,
                max_points_per_centroid=256,
                seed=self.seed,
                use_triton_kmeans=False,  # its sums depend on an order that varies
                num_partitions=self.n_centroids,
            )
            fast_plaid_rust.create(
                index=self._plaid.index,
                torch_path=self._plaid.torch_path,
                device=device,
                embedding_dim=self._stored.size,
                nbits=self.bits,
                embeddings=documents,
                centroids=centroids_CD,
                batch_size=50_000,
                seed=self.seed,
                compress_only=False,
            )
        self._centroids = len(centroids_CD)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        ids = list(queries)
        excluded = excluded_positions(ids, self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        vectors = torch.split(encoded.values_TD.float().cpu(), encoded.lengths_N.tolist())
        items = progress(zip(ids, vectors, excluded, strict=True), "Searching", total=len(ids))
        run: Run = {
            query_id: {self.corpus.ids[position]: score for position, score in self._ranked(vectors_LD, k, hidden)}
            for query_id, vectors_LD, hidden in items
        }
        exact = sampled(ids, encoded, self.encoder.head.score, excluded)
        for block, documents in self._encoded.blocks():
            exact.add(np.arange(block.start, block.stop), documents.to(device=self.encoder.device))
        self.measured = report(
            "plaid", run, exact.run(self.corpus), vectors=self._stored.vectors, encoded=self._encoded.vectors
        )
        return run

    def _ranked(self, query_LD: Tensor, k: int, hidden: np.ndarray) -> list[tuple[int, float]]:
        """Return the positions of the best documents with their scores, without the hidden ones."""
        allowed = len(self.corpus) - len(hidden)
        wanted, further, subset = min(k, allowed), len(hidden), None
        if further > allowed:
            further, subset = 0, [np.setdiff1d(np.arange(len(self.corpus)), hidden).tolist()]
        padded = len(query_LD) * int(self._stored.lengths_N.max())
        excluded, probes, kept = set(hidden.tolist()), 0, list[tuple[int, float]]()
        while len(kept) < wanted:
            assert probes < self._centroids, "documents are missing after probing all centroids"
            probes = min(self._centroids, 4 * probes or self.n_probe)
            (ranked,) = self._plaid.search(
                query_LD[None],
                top_k=k + further,
                batch_size=max(1, _SCORED_TOGETHER // padded),
                n_full_scores=4 * (max(self.candidates, k) + further),  # fast-plaid decodes a quarter of them
                n_ivf_probe=probes,
                show_progress=False,
                subset=subset,
                n_processes=1,
            )
            kept = [(position, score) for position, score in ranked if position not in excluded][:k]
        return kept
