"""Approximate search for late interaction by PLAID (Santhanam et al. 2022, arXiv:2205.09707), as fast-plaid has it.

Every vector is stored as its nearest centroid and a residual of a few bits. A query takes the documents of the
centroids nearest to its vectors, orders them by centroids alone, and scores the first `candidates` with their decoded
vectors. Where that gives a query fewer documents than asked for, more centroids are probed, all of them in the end, so
that every ranking is complete. Excluded documents are made up for by as many further candidates, or, where they are
most of the corpus, the others are searched alone.

The corpus is encoded once, into a file in half precision that the index is built from and its recall measured with;
files are removed with the index. fast-plaid draws its sample of documents from torch's global random state, which is
seeded here and put back, so that two builds agree and a training run isn't disturbed. PyLate's class around it isn't
used: it reads its table of ids from the disk for each search and can't probe more.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from reasonir.errors import InputError
from reasonir.index.base import excluded_places, misfit
from reasonir.index.pooling import Pooling
from reasonir.index.stored import StoredVectors
from reasonir.index.topk import report, sampled
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, PlainTexts, Run, Text
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegative, Positive, Validated

log = logging.getLogger(__name__)
_FEWEST = 10
_SCORED_TOGETHER = 1 << 26
"""Similarities of query vectors and centroids that are padded at a time: 128 MiB."""


@dataclass(slots=True)
class Plaid(Validated):
    """Ranks by MaxSim of compressed vectors.

    Attributes:
        encoder: the model; its head gives many vectors a text.
        pooling: makes fewer vectors of a document's.
        bits: of each number of a residual.
        n_centroids: None takes 16 times the square root of the number of vectors, down to a power of two.
        iterations: of the k-means that finds them.
        n_probe: centroids that a query's vector looks at.
        candidates: documents whose vectors are decoded for a query, never fewer than its ranking has.
        seed: of the sample that k-means sees, and of its start.
        folder: where files lie as long as the index lives; None is the system's temporary folder.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    pooling: Pooling = field(default_factory=Pooling)
    bits: Literal[1, 2, 4, 8] = 4
    n_centroids: Positive | None = None
    iterations: Positive = 4
    n_probe: Positive = 8
    candidates: Positive = 1024
    seed: NonNegative = 42
    folder: str | None = None
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _plaid: Any = field(init=False, default=None)
    _encoded: StoredVectors = field(init=False)
    _held: StoredVectors = field(init=False)
    _centroids: int = field(init=False, default=0)
    name: ClassVar[str] = "plaid"
    neural: ClassVar[bool] = True
    single_vector: ClassVar[bool | None] = False

    def problems(self) -> Iterable[str]:
        """A head whose vectors it can't hold."""
        if fault := misfit(type(self), type(self.encoder.head), self.pooling.pool_factor):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus and index its vectors.

        Raises:
            InputError: there are too few vectors, or of a size that can't be packed.
        """
        self.corpus = corpus
        self._plaid, folder = self._empty()
        self._encoded = StoredVectors(folder / "encoded")
        self._held = StoredVectors(folder / "pooled") if self.pooling.pools else self._encoded
        texts = PlainTexts(corpus.texts)
        for block, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            self._encoded.append(representation)
            if self.pooling.pools:
                self._held.append(self.pooling(representation, start=block.start))
        if self._held.vectors < _FEWEST:
            raise InputError(
                f"index=plaid learns its codes from {_FEWEST} vectors at least, the corpus has {self._held.vectors}: "
                "choose index=exact"
            )
        if self._held.size % 8:
            raise InputError(
                f"index=plaid packs eight numbers of a vector together, vectors here have {self._held.size}: "
                "give a model.head.embedding_size that eight divides, or choose index=exact"
            )
        self._compress()
        log.info("Indexed %d documents (%d centroids, %d bits)", len(corpus), self._centroids, self.bits)

    def _empty(self) -> tuple[Any, Path]:
        """An index without documents, and its folder, which goes when the index does."""
        from fast_plaid.search import FastPlaid

        try:
            folder = Path(tempfile.mkdtemp(prefix="reasonir-plaid-", dir=self.folder))
        except OSError as error:
            raise InputError(f"index.folder={self.folder}: {error.strerror}: give one that can be written") from None
        device = str(self.encoder.device) if self.encoder.device.type == "cuda" else "cpu"
        plaid = FastPlaid(str(folder), device=device, low_memory=False)
        weakref.finalize(plaid, shutil.rmtree, folder, ignore_errors=True)
        return plaid, folder

    def _compress(self) -> None:
        """Find the centroids and write the codes of every vector."""
        from fast_plaid import fast_plaid_rust
        from fast_plaid.search.fast_plaid import compute_kmeans

        documents, (device,) = list(self._held.documents()), self._plaid.devices
        with torch.inference_mode(), _random_state(self.seed):
            centroids_CD = compute_kmeans(
                documents,
                dim=self._held.size,
                device=device,
                kmeans_niters=self.iterations,
                max_points_per_centroid=256,
                seed=self.seed,
                use_triton_kmeans=False,  # its sums depend on the order in which they happen to be taken
                num_partitions=self.n_centroids,
            )
            fast_plaid_rust.create(
                index=self._plaid.index,
                torch_path=self._plaid.torch_path,
                device=device,
                embedding_dim=self._held.size,
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
        excluded = excluded_places(ids, self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        vectors = torch.split(encoded.values_TD.float().cpu(), encoded.lengths_N.tolist())
        each = progress(zip(ids, vectors, excluded, strict=True), "Searching", total=len(ids))
        run: Run = {
            query_id: {self.corpus.ids[place]: score for place, score in self._ranked(vectors_LD, k, places)}
            for query_id, vectors_LD, places in each
        }
        exact = sampled(ids, encoded, self.encoder.head.score, excluded)
        for block, documents in self._encoded.blocks():
            exact.add(np.arange(block.start, block.stop), documents.to(device=self.encoder.device))
        self.measured = report(
            "plaid", run, exact.run(self.corpus), vectors=self._held.vectors, encoded=self._encoded.vectors
        )
        return run

    def _ranked(self, query_LD: Tensor, k: int, hidden: np.ndarray) -> list[tuple[int, float]]:
        """The best documents' positions with their scores, without the hidden ones."""
        allowed = len(self.corpus) - len(hidden)
        wanted, further, subset = min(k, allowed), len(hidden), None
        if further > allowed:
            further, subset = 0, [np.setdiff1d(np.arange(len(self.corpus)), hidden).tolist()]
        padded = len(query_LD) * int(self._held.lengths_N.max())
        out, probes, kept = set(hidden.tolist()), 0, list[tuple[int, float]]()
        while len(kept) < wanted:
            assert probes < self._centroids, "all centroids were probed and documents are missing"
            probes = min(self._centroids, 4 * probes or self.n_probe)
            (found,) = self._plaid.search(
                query_LD[None],
                top_k=k + further,
                batch_size=max(1, _SCORED_TOGETHER // padded),
                n_full_scores=4 * (max(self.candidates, k) + further),  # fast-plaid decodes a quarter of them
                n_ivf_probe=probes,
                show_progress=False,
                subset=subset,
                n_processes=1,
            )
            kept = [(place, score) for place, score in found if place not in out][:k]
        return kept


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """Everything that torch and numpy draw in the block comes from `seed`; what they draw after it is as it was."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
