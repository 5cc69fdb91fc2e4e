"""What a card says of a run's model besides its files, on texts of its evaluation: examples, and compressed vectors."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.eval.compressed import Compressed, compressed
from reasonir.eval.evaluator import read_benchmark
from reasonir.inference.loading import read_encoder
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.runs.components import build_saved
from reasonir.runs.folder import saved_config, saved_data, saved_eval
from reasonir.types import PlainTexts, Task, Text

_QUERY = "why does it rain"
_DOCUMENTS = ("Warm air rises, cools and gives up its water.", "Copper conducts.", "Bees dance.")
"""Texts without an evaluation's."""
EXAMPLES: Sequence[Mapping[str, Any]] = ({"source_sentence": _QUERY, "sentences": list(_DOCUMENTS)},)
_SAMPLED_QUERIES, _SAMPLED_DOCUMENTS = 8, 32
_EXAMPLES, _LOOKED_AT, _LONGEST = 3, 200, 300


@dataclass(frozen=True, slots=True)
class Measured:
    """What a card says beyond the run's files.

    Attributes:
        examples: queries with texts, as the hub's widget of sentence similarity reads them.
        compressed: forms of the vectors with their metrics.
        queries: texts that graphs for other runtimes are compared on.
        documents: texts that they are compared on.
    """

    examples: Sequence[Mapping[str, Any]] = EXAMPLES
    compressed: Sequence[Compressed] = ()
    queries: Sequence[Text] = (Text(_QUERY),)
    documents: Sequence[Text] = tuple(map(Text, _DOCUMENTS))


def evaluation_tasks(run: Path, *, home: Path, trust_remote_code: bool = False) -> list[Task]:
    """Read the tasks of a run's evaluation again.

    Args:
        run: the run's folder.
        home: root of the prepared sets.
        trust_remote_code: build classes of the run's own code.

    Raises:
        InputError: the run's configuration isn't trusted, or its data is missing or changed.
    """
    benchmark = build_saved(saved_eval(run, trust_remote_code=trust_remote_code), trust_remote_code=trust_remote_code)
    if benchmark.needs_held_out:
        from reasonir.training.datamodule import held_out_data, loader_of

        source = build_saved(saved_data(run, trust_remote_code=trust_remote_code), trust_remote_code=trust_remote_code)
        data = held_out_data(source, loader_of(run), home=home, seed=saved_config(run)["seed"], run=run)
        benchmark = benchmark.with_held_out(data)
    return read_benchmark(benchmark)


def measure(run: Path, *, home: Path, trust_remote_code: bool = False) -> Measured:
    """Measure a run's model on the tasks of its evaluation, on a GPU if there is one.

    Raises:
        InputError: as `evaluation_tasks`, with the option that leaves this out.
    """
    try:
        tasks = evaluation_tasks(run, home=home, trust_remote_code=trust_remote_code)
    except InputError as error:
        raise InputError(f"{error}\nmeasure=false makes the card without the evaluation's texts") from error
    encoder = read_encoder(run, device="auto", trust_remote_code=trust_remote_code)
    head = encoder.head
    dense = head.single_vector and not head.reads_pairs and not head.sparse
    found = compressed(CachingEncoder(encoder), tasks) if dense else ()
    (first, *_) = tasks
    queries = _spaced(list(first.queries.values()), _SAMPLED_QUERIES)
    documents = _spaced(PlainTexts(first.corpus.texts), _SAMPLED_DOCUMENTS)
    return Measured([*_examples(first)] or EXAMPLES, found, queries, documents)


def _spaced(texts: Sequence[Text], most: int) -> list[Text]:
    """Return at most `most` texts, evenly spaced."""
    count = min(most, len(texts))
    return [texts[index * len(texts) // count] for index in range(count)]


def _examples(task: Task) -> Iterator[Mapping[str, Any]]:
    """Yield short queries with a relevant document, and those of the other queries."""
    relevant = {
        query_id: {doc_id for doc_id, label in task.qrels.get(query_id, {}).items() if label >= task.relevant_from}
        for query_id in list(task.queries)[:_LOOKED_AT]
    }
    wanted = frozenset[str]().union(*relevant.values())
    text_of = {
        doc_id: task.corpus.texts[position] for position, doc_id in enumerate(task.corpus.ids) if doc_id in wanted
    }
    pairs = [
        (task.queries[query_id].text, min((text_of[doc_id] for doc_id in known), key=len))
        for query_id, doc_ids in relevant.items()
        if (known := doc_ids & text_of.keys())
    ]
    chosen = sorted(pairs, key=lambda pair: sum(map(len, pair)))[:_EXAMPLES]
    for query, document in chosen:
        texts = dict.fromkeys([document, *(other for _, other in chosen)])
        yield {"source_sentence": _short(query), "sentences": [_short(text) for text in texts]}


def _short(text: str) -> str:
    return textwrap.shorten(text, _LONGEST, placeholder=" …")
