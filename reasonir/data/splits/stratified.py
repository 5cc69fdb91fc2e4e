"""Stratified split of queries: each query in any spelling goes, with all its documents, to one part.

Two spellings of a query are equal after Unicode compatibility normalisation, in lower case, with single spaces. Parts
get their shares of every stratum (queries of about the same mean relevance). The split is a function of the queries and
the seed, not of the order of rows.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from reasonir.data.splits.shares import PARTS


def normalise(query: str) -> str:
    """Return the normalised form, which is equal for all spellings of a query.

    >>> normalise("3 WAY  TOGGLE SWITCH\u00a0")
    '3 way toggle switch'
    """
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def shuffled(queries: Sequence[str], *, seed: int) -> list[str]:
    """Return the queries in an order drawn by `seed`, independent of their given order."""
    key = str(seed).encode()
    return sorted(queries, key=lambda query: hashlib.blake2b(query.encode(), key=key, digest_size=16).digest())


def divide(means: Mapping[str, float], shares: Sequence[float], bins: Sequence[float], *, seed: int) -> dict[str, str]:
    """Return the part (train, dev, test) of each normalised query.

    Args:
        means: mean relevance of each query's documents.
        shares: shares of the parts.
        bins: upper ends of all strata but the last, ascending.
        seed: draws the queries of each part.
    """
    in_strata = sorted(shuffled(list(means), seed=seed), key=lambda query: bisect_left(bins, means[query]))
    counts = dict.fromkeys(PARTS, 0)
    part_of = {}
    for number, query in enumerate(in_strata, 1):
        # The part furthest below its share, so that every stratum is divided by the shares.
        part = max(PARTS, key=lambda name: shares[PARTS.index(name)] * number - counts[name])
        counts[part] += 1
        part_of[query] = part
    return part_of
