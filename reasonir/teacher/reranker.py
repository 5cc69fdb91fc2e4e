"""Teacher scores of every query with each of its documents, by a reranker with any head.

The set is named by the hash of the checkpoint's files, wherever they are, so each checkpoint scores it once. Queries
are scored in blocks, in row order. Until the set is complete, each block's scores are kept in a file, so that an
interrupted run resumes and memory holds one block.

Shape letters: P query-document pairs of a block.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor

from reasonir.data.prepared import TEACHER, digest_of, example_of, notes_of, read, read_manifest, write_set
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.loss.base import LABEL
from reasonir.model.backbone import Model
from reasonir.model.caching_encoder import MAX_CUT, CachingEncoder
from reasonir.model.fingerprint import identity_of
from reasonir.teacher.report import TeacherTally, sentence
from reasonir.types import Example, Pair, Text
from reasonir.utils.files import exclusive
from reasonir.utils.ranges import Positive, Rule, Seed, Validated
from reasonir.utils.tensor_files import read_tensors, write_tensors

log = logging.getLogger(__name__)
_NAME = Rule(
    lambda name: name != LABEL and re.fullmatch(r"[\w.-]+", name) is not None,
    f"letters, digits, '.', '_' or '-', and not {LABEL!r}",
)


@dataclass(frozen=True, slots=True)
class Reranking(Validated):
    """Teacher that scores pairs with a reranker.

    Attributes:
        model: the reranker.
        hardware: device that it runs on.
        name: the teacher's name, as in loss.target.
        scale: the head's "logit", or its sigmoid, the "probability".
        run: the tracked run that `model` comes from, if any.
        seed: draws parameters that the checkpoint lacks.
        block: queries scored at a time.
    """

    model: Model
    hardware: Hardware
    name: Annotated[str, _NAME] = "reranker"
    scale: Literal["logit", "probability"] = "logit"
    run: str | None = None
    seed: Seed = 0
    block: Positive = 256

    @property
    def columns(self) -> frozenset[str]:
        """See `Teacher.columns`."""
        return frozenset({self.name})

    @property
    def bounded(self) -> bool:
        """See `Teacher.bounded`."""
        return self.scale == "probability"

    def problems(self) -> Iterable[str]:
        """Yield a message for a model that reads no pairs."""
        if not self.model.reads_pairs:
            key = f"run={self.run}" if self.run else f"model.path={self.model.path}"
            yield (
                f"{key} has the head of a retriever, which reads no pairs: choose a reranker, such as "
                "model@teacher.model=gte_reranker"
            )

    def check_available(self) -> None:
        """See `Teacher.check_available`."""
        self.model.locate()

    def add_scores(self, prepared: Path, home: Path) -> Path:
        """See `Teacher.add_scores`."""
        rows, manifest = read(prepared), read_manifest(prepared)
        if f"{TEACHER}{self.name}" in rows.column_names:
            raise InputError(f"{prepared} has a teacher {self.name!r} already: choose another name (teacher.name=...)")
        identity = {"source": "taught", "of": manifest["identity"], "teacher": self._identity()}
        cache = home / "cache" / "teachers" / digest_of(identity)
        tally = TeacherTally()
        with exclusive(cache):  # otherwise the first process to end would remove files that another one reads
            folder = write_set(
                f"{prepared.name.rsplit('-', 1)[0]}-{self.name}",
                identity,
                lambda: self._examples(rows, cache, tally),
                home,
                what="Scoring",
                total=len(rows),
                notes=lambda: {**notes_of(manifest), "teacher": {"name": self.name, **tally.to_dict()}},
            )
            shutil.rmtree(cache, ignore_errors=True)
        log.info("%s", sentence(read_manifest(folder)["teacher"]))
        return folder

    def _identity(self) -> Mapping[str, Any]:
        return {**identity_of(self.model), "seed": self.seed, "name": self.name, "scale": self.scale}

    def _examples(self, rows: Any, cache: Path, tally: TeacherTally) -> Iterator[Example]:
        encoder: CachingEncoder | None = None
        if cache.is_dir():
            log.info("Resuming with the scores in %s", cache)
        for start in range(0, len(rows), self.block):
            stop = min(len(rows), start + self.block)
            block = [example_of(rows[number]) for number in range(start, stop)]
            file = cache / f"{start}-{stop}.safetensors"
            scores_P = _cached(file)
            if scores_P is None:
                encoder = encoder or CachingEncoder(
                    self.model.load(seed=self.seed).to(self.hardware.resolve().torch_device)
                )
                scores_P = self._scores(encoder, block)
                write_tensors(file, {"scores": scores_P})
            scores = iter(scores_P.tolist())
            for example in block:
                documents = tuple(
                    replace(document, teachers={**document.teachers, self.name: next(scores)})
                    for document in example.documents
                )
                scored = replace(example, documents=documents)
                sides = (scored.positives, scored.negatives)
                tally.add(*([document.teachers[self.name] for document in side] for side in sides))
                yield scored
        if encoder is not None and encoder.pair_queries.share > MAX_CUT:
            log.warning(
                "The teacher truncated the query of %.0f %% of the pairs: raise teacher.model.head.max_length",
                100 * encoder.pair_queries.share,
            )

    def _scores(self, encoder: CachingEncoder, block: Sequence[Example]) -> Tensor:
        """Return scores_P of the documents of all examples, in order."""
        pairs = [
            Pair(Text(example.query, example.instruction), Text(document.text, document.instruction))
            for example in block
            for document in example.documents
        ]
        logits_P = encoder.score_pairs(pairs)
        scores_P = logits_P if self.scale == "logit" else logits_P.double().sigmoid()
        return scores_P.float()


def _cached(file: Path) -> Tensor | None:
    """Return the scores_P of a block in the cache, None if there are none or they are damaged."""
    if not file.is_file():
        return None
    try:
        return read_tensors(file, remedy="these pairs are scored again").tensors["scores"]
    except InputError as error:
        log.warning("%s", error)
        return None
