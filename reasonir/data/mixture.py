"""Mixture of several named sources.

Ids are prefixed with the source's name, so they are unique. Queries and relevant documents of one source's dev or test
set never train on another source: examples with an equal text are dropped and counted by source. The proportions of the
sources are applied when batches are drawn (`taken`), so changing them needs no new prepared set.

The best checkpoint is selected by one metric: on one source's own development queries (`dev_source`), or on queries
held out of the whole mixture, in whole components across sources. A mean over development sets of different size and
difficulty would be hard to interpret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from reasonir.data.base import Rejected, Source, Tested, copy_key, is_streamed
from reasonir.data.splits.shares import drop_held_out
from reasonir.errors import InputError, did_you_mean
from reasonir.types import Example, Task
from reasonir.utils.ranges import Positive, PositiveFloat, Seed, Validated


@dataclass(frozen=True, slots=True)
class Mixture(Validated):
    """Examples of several sources, source after source.

    Attributes:
        sources: sources by name.
        n_samples: maximum number of examples per source, drawn by `seed`; sources that aren't named keep all.
        upsample_factor: how often an epoch takes each item of a source; 1 for sources that aren't named.
        weights: proportions of the sources in an epoch, instead of factors.
        dev_source: source whose own development queries select the best checkpoint; None holds out queries of all.
        seed: of `n_samples`.
    """

    sources: Mapping[str, Source]
    n_samples: Mapping[str, Positive] | None = None
    upsample_factor: Mapping[str, PositiveFloat] | None = None
    weights: Mapping[str, PositiveFloat] | None = None
    dev_source: str | None = None
    seed: Seed = 0

    def problems(self) -> Iterable[str]:
        """Yield messages about unknown sources and contradicting proportions."""
        if not self.sources:
            yield "sources is empty: add some, +data@data.sources.<name>=<an option of data> for each"
        for name, source in self.sources.items():
            if not hasattr(source, "examples"):
                yield f"sources.{name} isn't a source: choose one, +data@data.sources.{name}=..."
            elif is_streamed(source):
                yield f"sources.{name}.stream=true: a mixture is prepared as a whole: set it to false"
        for key in ("n_samples", "upsample_factor", "weights"):
            for name in getattr(self, key) or {}:
                yield from self._unknown(name, f"{key}.{name}")
        if self.dev_source is not None:
            yield from self._unknown(self.dev_source, f"dev_source={self.dev_source}")
        if self.weights and self.upsample_factor:
            yield "weights and upsample_factor both set the proportions: give one"
        for name in self.sources:
            if self.weights and name not in self.weights:
                yield f"weights has none for {name}: give every source a weight"

    @property
    def name(self) -> str:
        """Names of the sources."""
        return f"mixture-{'-'.join(self.sources)}"

    def identity(self) -> Mapping[str, Any]:
        """Return the sources' identities, and how many of their examples are sampled."""
        sources = {name: dict(source.identity()) for name, source in self.sources.items()}
        return {"source": "mixture", "sources": sources, "n_samples": dict(self.n_samples or {}), "seed": self.seed}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield each source's examples, and what is dropped in between."""
        held = {name: _held_out_keys(source) for name, source in self.sources.items()}
        for name, source in self.sources.items():
            elsewhere = frozenset().union(*(keys for other, keys in held.items() if other != name))
            for item in self._sampled(name, _without(elsewhere, source)):
                if isinstance(item, Rejected):
                    yield replace(item, kind=f"{name}/{item.kind}")
                else:
                    yield _prefixed(item, name)

    def dev(self) -> Task | None:
        """Return the development task of `dev_source`; None without one.

        Raises:
            InputError: that source has none.
        """
        if self.dev_source is None:
            return None
        task = self.sources[self.dev_source].dev()
        if task is None:
            raise InputError(
                f"data.dev_source={self.dev_source}: it has no development queries: set its dev_split or splits, or "
                "remove dev_source"
            )
        return task

    def tests(self) -> Iterator[Task]:
        """Yield the test tasks of every source that has some, named after the source."""
        for name, source in self.sources.items():
            tasks = list(source.tests()) if isinstance(source, Tested) else []
            for task in tasks:
                yield replace(task, name=name if len(tasks) == 1 else f"{name}-{task.name}")

    def taken(self, items: Mapping[str, int]) -> Mapping[str, int]:
        """Return the items of each source per epoch: by factors, or by weights with the total unchanged."""
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

    def _sampled(self, name: str, items: Iterable[Example | Rejected]) -> Iterator[Example | Rejected]:
        """Yield all rejected items, and `n_samples` examples in their order (Vitter 1985, algorithm R)."""
        most = (self.n_samples or {}).get(name)
        draw = np.random.default_rng([self.seed, crc32(name.encode())])
        kept: list[tuple[int, Example]] = []
        seen = 0
        for item in items:
            if most is None or isinstance(item, Rejected):
                yield item
                continue
            slot = seen if seen < most else int(draw.integers(seen + 1))
            if slot < most:
                kept[slot : slot + 1] = [(seen, item)]
            seen += 1
        yield from (example for _, example in sorted(kept, key=lambda numbered: numbered[0]))


def _held_out_keys(source: Source) -> frozenset[int]:
    """Return the keys of the queries of a source's own dev and test tasks, and of their relevant documents."""
    keys: set[int] = set()
    dev = source.dev()
    for task in [*([dev] if dev else []), *(source.tests() if isinstance(source, Tested) else [])]:
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        keys.update(copy_key(query.text) for query in task.queries.values())
        for labels in task.qrels.values():
            keys.update(copy_key(texts[doc_id]) for doc_id, label in labels.items() if label > 0)
    return frozenset(keys)


def _without(held: frozenset[int], source: Source) -> Iterator[Example | Rejected]:
    """Yield a source's items without what other sources hold out."""
    for item in source.examples():
        if isinstance(item, Rejected):
            yield item
        else:
            yield from drop_held_out(item, held)


def _prefixed(example: Example, name: str) -> Example:
    documents = tuple(replace(document, doc_id=f"{name}/{document.doc_id}") for document in example.documents)
    return replace(example, query_id=f"{name}/{example.query_id}", documents=documents, source=name)
