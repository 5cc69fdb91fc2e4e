"""Approximate search for late interaction by MUVERA (Dhulipala et al. 2024, arXiv:2405.19504), with FAISS.

The vectors of a text become one vector, its fixed-dimensional encoding, such that the inner product of a query's and a
document's approximates their MaxSim. FAISS finds the `candidates` with the largest inner products; these are scored by
MaxSim of all their vectors, so that the scores of a ranking are exact and only documents can be missing. Excluded
documents are hidden from FAISS. Documents with equal texts are encoded once and get the same score.

Memory holds the encodings alone. The vectors are written to a file in half precision, from which candidates are scored
and recall is measured; it is removed with the index.

Shape letters: T vectors of all texts, N texts, M a selection of them, D vector size, K hyperplanes, B = 2^K cells, P
size of a projected vector, F size of an encoding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.index.base import Form, excluded_positions, incompatibility
from reasonir.index.dedup import Duplicates
from reasonir.index.faiss import VectorIndex
from reasonir.index.pooling import Pooling
from reasonir.index.stored import IndexFolder, StoredVectors
from reasonir.index.topk import TopK, report, sampled
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, PlainTexts, Run, Side, Text
from reasonir.utils.progress import progress
from reasonir.utils.ranges import Positive, Seed, Validated

log = logging.getLogger(__name__)


class _Division(NamedTuple):
    """Hyperplanes, projection of vectors, and the place and sign of each number of the cells in the encoding."""

    planes_DK: Tensor
    projection_DP: Tensor
    target_F: Tensor
    sign_F: Tensor


@dataclass(frozen=True, slots=True)
class FixedEncoding(Validated):
    """Encodes many vectors as one, whose inner products approximate MaxSim.

    Random hyperplanes divide the space into cells. A query's vectors are added up in each cell, a document's are
    averaged, and a cell without a vector takes the document's vector from the nearest cell (the first vector, of
    several cells at the same Hamming distance). A query's vector thus meets document vectors in its direction. Several
    divisions are concatenated, their estimates averaged.

    Attributes:
        repetitions: divisions of the space (R_reps).
        k_sim: hyperplanes of a division, which has 2^k_sim cells.
        d_proj: size that vectors are reduced to by a random projection in each division; smaller vectors are kept.
        d_final: size that the whole is reduced to by a count sketch; None, or one that isn't smaller, keeps it.
        seed: seed of hyperplanes and projections.
    """

    repetitions: Positive = 20
    k_sim: Annotated[int, Ge(0), Le(12)] = 3
    d_proj: Positive = 16
    d_final: Positive | None = None
    seed: Seed = 42

    def __call__(self, texts: Representation, side: Side) -> np.ndarray:
        """Return encodings_NF of the texts, in float32: a query's for `query`, a document's for `document`."""
        values_TD = texts.values_TD.float().cpu()
        encodings_NF = torch.zeros(len(texts), self.size(values_TD.shape[1]))
        for repetition in range(self.repetitions):
            division = self._division(repetition, values_TD.shape[1])
            cell_T = (values_TD @ division.planes_DK > 0).long() @ (2 ** torch.arange(self.k_sim))
            projected_TP = values_TD @ division.projection_DP
            part_NF = self._cells(projected_TP, cell_T, texts.lengths_N, fill=side == "document").flatten(1)
            encodings_NF.index_add_(1, division.target_F, part_NF * division.sign_F)
        return np.asarray((encodings_NF / self.repetitions**0.5).numpy())

    def size(self, vector_size: int) -> int:
        """Return the size of an encoding of vectors of a size."""
        whole = self.repetitions * (1 << self.k_sim) * min(self.d_proj, vector_size)
        return min(whole, self.d_final or whole)

    def _division(self, repetition: int, vector_size: int) -> _Division:
        """Draw a division of the space."""
        draw = np.random.default_rng((self.seed, repetition))
        planes_DK = torch.from_numpy(draw.standard_normal((vector_size, self.k_sim), dtype=np.float32))
        projection_DP = torch.eye(vector_size)
        if self.d_proj < vector_size:
            projection_DP = _signs(draw, vector_size, self.d_proj) / self.d_proj**0.5
        part, size = (1 << self.k_sim) * projection_DP.shape[1], self.size(vector_size)
        if size == self.repetitions * part:
            return _Division(planes_DK, projection_DP, torch.arange(part) + repetition * part, torch.ones(part))
        return _Division(planes_DK, projection_DP, torch.from_numpy(draw.integers(size, size=part)), _signs(draw, part))

    def _cells(self, values_TP: Tensor, cell_T: Tensor, lengths_N: Tensor, *, fill: bool) -> Tensor:
        """Return each text's sums by cell (N, B, P), or its means with empty cells filled."""
        texts, cells, rows = len(lengths_N), 1 << self.k_sim, len(values_TP)
        slot_T = torch.repeat_interleave(lengths_N) * cells + cell_T
        sums_SP = torch.zeros(texts * cells, values_TP.shape[1]).index_add_(0, slot_T, values_TP)
        if fill:
            # An occupied cell offers its first row; each hyperplane between it and another cell costs `rows`.
            offer_S = torch.full((texts * cells,), rows * (self.k_sim + 1))
            offer_S.scatter_reduce_(0, slot_T, torch.arange(rows), "amin")
            for plane in range(self.k_sim):
                other_S = offer_S.view(-1, 2, 2**plane).flip(1).flatten()
                offer_S = torch.minimum(offer_S, other_S + rows)
            count_S = torch.bincount(slot_T, minlength=texts * cells)
            sums_SP /= count_S.clamp(min=1)[:, None]
            empty_S = count_S == 0
            sums_SP[empty_S] = values_TP[offer_S[empty_S] % rows]
        return sums_SP.view(texts, cells, -1)


def _signs(draw: np.random.Generator, *shape: int) -> Tensor:
    """Return random numbers -1 and 1."""
    return torch.from_numpy(2 * draw.integers(2, size=shape) - 1).float()


@dataclass(slots=True)
class Muvera(Validated):
    """Ranks by MaxSim the documents that encodings find.

    Attributes:
        encoder: the model; its head gives many vectors per text.
        pooling: reduces the vectors of a document.
        encoding: makes one vector of many.
        kind: flat (every encoding is compared) or hnsw (a graph of neighbours).
        neighbours: neighbours of a document in hnsw's graph.
        effort: candidates that hnsw keeps while searching.
        candidates: texts scored per query, never fewer than its ranking has.
        folder: parent of the index's temporary folder; None is the system's.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    pooling: Pooling = field(default_factory=Pooling)
    encoding: FixedEncoding = field(default_factory=FixedEncoding)
    kind: Literal["flat", "hnsw"] = "flat"
    neighbours: Annotated[int, Ge(2)] = 32
    effort: Positive = 256
    candidates: Positive = 1024
    folder: str | None = None
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _distinct: Duplicates = field(init=False)
    _encodings: VectorIndex = field(init=False)
    _folder: IndexFolder = field(init=False)
    _encoded: StoredVectors = field(init=False)
    _stored: StoredVectors = field(init=False)
    name: ClassVar[str] = "muvera"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = "many"

    def problems(self) -> Iterable[str]:
        """Yield an incompatibility with the head."""
        if fault := incompatibility(type(self), type(self.encoder.head), self.pooling.pool_factor):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus, write its vectors and index its encodings, block by block."""
        self.corpus, self._distinct = corpus, Duplicates.of(corpus.texts)
        self._encodings = VectorIndex(self.kind, neighbours=self.neighbours, effort=self.effort)
        self._folder = IndexFolder(self.name, self.folder)
        self._encoded = StoredVectors(self._folder.path / "encoded")
        self._stored = StoredVectors(self._folder.path / "pooled") if self.pooling.pools else self._encoded
        texts = PlainTexts(self._distinct.texts)
        for block, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            self._encoded.append(representation)
            pooled = self.pooling(representation, start=block.start)
            if self.pooling.pools:
                self._stored.append(pooled)
            self._encodings.add(self.encoding(pooled, "document"))
        size, count = self.encoding.size(self._stored.size), len(self._encodings)
        log.info("Indexed %d texts (%s, %d numbers each, %d MiB)", count, self.kind, size, count * size >> 18)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        ids, score = list(queries), self.encoder.head.score
        excluded = excluded_positions(ids, self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        encodings_QF, documents = self.encoding(encoded, "query"), self._stored.documents()
        run: Run = {}
        for number in progress(range(len(ids)), "Searching", total=len(ids)):
            hidden, query = excluded[number], encoded.take(torch.tensor([number]))
            texts_M = self._candidates(encodings_QF[number], k, hidden)
            best = TopK([ids[number]], query, score, [hidden], k)
            if len(texts_M):
                positions_N, unique_N = self._distinct.positions(texts_M)
                best.add(positions_N, self._vectors(documents, texts_M), unique_N)
            run |= best.run(self.corpus)
        exact = sampled(ids, encoded, score, excluded)
        for block, representation in self._encoded.blocks():
            positions_N, unique_N = self._distinct.positions(np.arange(block.start, block.stop))
            exact.add(positions_N, representation.to(device=self.encoder.device), unique_N)
        self.measured = report(
            "muvera", run, exact.run(self.corpus), vectors=self._stored.vectors, encoded=self._encoded.vectors
        )
        return run

    def _candidates(self, encoding_F: np.ndarray, k: int, hidden: np.ndarray) -> np.ndarray:
        """Return the texts to score, in the order of the corpus, without those of hidden documents alone."""
        wanted = max(self.candidates, k)
        return np.sort(self._encodings.nearest(encoding_F, wanted, self._distinct.wholly_in(hidden))[1])

    def _vectors(self, documents: Sequence[Tensor], texts_M: np.ndarray) -> Representation:
        """Return the vectors of texts, in float32 on the encoder's device."""
        values_TD = torch.cat([documents[text] for text in texts_M.tolist()]).float()
        return Representation(values_TD.to(self.encoder.device), self._stored.lengths_N[torch.from_numpy(texts_M)])
