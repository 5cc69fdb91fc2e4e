"""Queries divided by what they ask, not by how it is typed: each goes, with all its documents, to one part.

Two spellings of a query are one when they agree after Unicode's compatibility normalisation, in small letters, with
single spaces. Parts get their shares of every stratum (queries of about the same mean relevance). Which query goes
where is a function of the queries and the seed, not of the order of rows.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from reasonir.data.splits.shares import PARTS


def normalise(query: str) -> str:
    """What two spellings of one query have in common.

    >>> normalise("3 WAY  TOGGLE SWITCH\u00a0")
    '3 way toggle switch'
    """
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def shuffled(queries: Sequence[str], *, seed: int) -> list[str]:
    """The queries in an order that `seed` draws, whatever their order was."""
    key = str(seed).encode()
    return sorted(queries, key=lambda query: hashlib.blake2b(query.encode(), key=key, digest_size=16).digest())


def divide(means: Mapping[str, float], shares: Sequence[float], bins: Sequence[float], *, seed: int) -> dict[str, str]:
    """The part (train, dev, test) of each normalised query.

    Args:
        means: the mean relevance of each query's documents.
        shares: of the parts.
        bins: upper ends of the strata but for the last, rising.
        seed: draws the queries of each part.
    """
    in_strata = sorted(shuffled(list(means), seed=seed), key=lambda query: bisect_left(bins, means[query]))
    counts = dict.fromkeys(PARTS, 0)
    part_of = {}
    for number, query in enumerate(in_strata, 1):
        # The part that is furthest behind its share: so every run of queries, every stratum, is divided by the shares.
        part = max(PARTS, key=lambda each: shares[PARTS.index(each)] * number - counts[each])
        counts[part] += 1
        part_of[query] = part
    return part_of
