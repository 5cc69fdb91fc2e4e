"""Several sources as one, each under a name.

Ids are put under the source's name, so equal ids never meet. What one source asks in dev or test the others may not
teach: their examples with such a query or relevant document (equal texts) are left out and counted by source. How much
of which source a pass takes is decided when batches are drawn (`taken`), so that asks for no other prepared set.

Checkpoints are chosen by one figure: that of one source's own development queries (`dev_source`), or of queries held
out of the whole mixture, which stand for what is trained; whole components are held out, across sources. A mean over
development sets of unlike size and difficulty would be a figure of nothing in particular.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from reasonir.data.base import Rejected, Source, Tested, content_key
from reasonir.data.splits.shares import drop_held_out
from reasonir.errors import InputError, did_you_mean
from reasonir.types import Example, Task
from reasonir.utils.ranges import NonNegative, Positive, PositiveFloat, Validated


@dataclass(frozen=True, slots=True)
class Mixture(Validated):
    """The examples of several sources, source after source.

    Attributes:
        sources: by name.
        n_samples: at most so many examples of a source, drawn by `seed`.
        upsample_factor: how often a pass takes a source's items; once where a source isn't named.
        weights: the proportions in which a pass takes the sources, in place of factors.
        dev_source: the source whose own development queries choose checkpoints; None holds queries of all out.
        seed: of `n_samples`.
    """

    sources: Mapping[str, Source]
    n_samples: Mapping[str, Positive] | None = None
    upsample_factor: Mapping[str, PositiveFloat] | None = None
    weights: Mapping[str, PositiveFloat] | None = None
    dev_source: str | None = None
    seed: NonNegative = 0

    def problems(self) -> Iterable[str]:
        """Sources that aren't there, and two ways to say how much of them is taken."""
        if not self.sources:
            yield "sources is empty: add some, +data@data.sources.<name>=<an option of data> for each"
        for name, source in self.sources.items():
            if not hasattr(source, "examples"):
                yield f"sources.{name} isn't a source: choose one, +data@data.sources.{name}=..."
        for key in ("n_samples", "upsample_factor", "weights"):
            for name in getattr(self, key) or {}:
                yield from self._unknown(name, f"{key}.{name}")
        if self.dev_source is not None:
            yield from self._unknown(self.dev_source, f"dev_source={self.dev_source}")
        if self.weights and self.upsample_factor:
            yield "weights and upsample_factor both say how much of a source is taken: give one"
        for name in self.sources:
            if self.weights and name not in self.weights:
                yield f"weights says nothing of {name}: give every source a weight"

    @property
    def name(self) -> str:
        """The sources' names."""
        return f"mixture-{'-'.join(self.sources)}"

    def identity(self) -> Mapping[str, Any]:
        """The sources' identities, and how many of their examples are taken."""
        sources = {name: dict(source.identity()) for name, source in self.sources.items()}
        return {"source": "mixture", "sources": sources, "n_samples": dict(self.n_samples or {}), "seed": self.seed}

    def examples(self) -> Iterator[Example | Rejected]:
        """Each source's examples, what was left out of them in between."""
        held = {name: _asked(source) for name, source in self.sources.items()}
        for name, source in self.sources.items():
            elsewhere = frozenset().union(*(keys for other, keys in held.items() if other != name))
            for each in self._sampled(name, _allowed(source, elsewhere)):
                if isinstance(each, Rejected):
                    yield replace(each, kind=f"{name}/{each.kind}")
                else:
                    yield _named(each, name)

    def dev(self) -> Task | None:
        """The development task of `dev_source`; None without one.

        Raises:
            InputError: that source brings none.
        """
        if self.dev_source is None:
            return None
        task = self.sources[self.dev_source].dev()
        if task is None:
            raise InputError(
                f"data.dev_source={self.dev_source}: it brings no development queries: set its dev_split or splits, or "
                "leave dev_source out"
            )
        return task

    def tests(self) -> Iterator[Task]:
        """The test tasks of every source that keeps some, under the source's name."""
        for name, source in self.sources.items():
            found = list(source.tests()) if isinstance(source, Tested) else []
            for task in found:
                yield replace(task, name=name if len(found) == 1 else f"{name}-{task.name}")

    def taken(self, items: Mapping[str, int]) -> Mapping[str, int]:
        """How many items of each source a pass takes: by factors, or by weights as many in all as there are."""
        if not self.weights:
            factors = self.upsample_factor or {}
            return {name: max(1, round(count * factors.get(name, 1))) for name, count in items.items()}
        share = sum(items.values()) / sum(self.weights[name] for name in items)
        return {name: max(1, round(share * self.weights[name])) for name in items}

    def _unknown(self, name: str, key: str) -> Iterator[str]:
        if name not in self.sources:
            yield (
                f"{key}: sources has no {name!r}{did_you_mean(name, self.sources)}; it has {', '.join(self.sources)}"
            )

    def _sampled(self, name: str, found: Iterable[Example | Rejected]) -> Iterator[Example | Rejected]:
        """What was found, with `n_samples` of its examples in their order (Vitter 1985, algorithm R)."""
        most = (self.n_samples or {}).get(name)
        draw = np.random.default_rng([self.seed, crc32(name.encode())])
        kept: list[tuple[int, Example]] = []
        seen = 0
        for each in found:
            if most is None or isinstance(each, Rejected):
                yield each
                continue
            place = seen if seen < most else int(draw.integers(seen + 1))
            if place < most:
                kept[place : place + 1] = [(seen, each)]
            seen += 1
        yield from (example for _, example in sorted(kept, key=lambda numbered: numbered[0]))


def _asked(source: Source) -> frozenset[int]:
    """The keys of the queries of a source's own dev and test tasks, and of the documents that answer them."""
    keys: set[int] = set()
    dev = source.dev()
    for task in [*([dev] if dev else []), *(source.tests() if isinstance(source, Tested) else [])]:
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        keys.update(content_key(query.text) for query in task.queries.values())
        for judged in task.qrels.values():
            keys.update(content_key(texts[doc_id]) for doc_id, label in judged.items() if label > 0)
    return frozenset(keys)


def _allowed(source: Source, elsewhere: frozenset[int]) -> Iterator[Example | Rejected]:
    """What a source gives, without what is asked elsewhere."""
    for each in source.examples():
        if isinstance(each, Rejected):
            yield each
        else:
            yield from drop_held_out(each, elsewhere)


def _named(example: Example, name: str) -> Example:
    documents = tuple(replace(document, doc_id=f"{name}/{document.doc_id}") for document in example.documents)
    return replace(example, query_id=f"{name}/{example.query_id}", documents=documents, source=name)
