"""Scores of every query with each of its documents by a reranker, whatever head reads the pairs.

The set is named by the hash of the checkpoint's files, wherever they lie, so each checkpoint's scores are made once.
Queries are scored in blocks, in the order of the rows. Until the set is complete each block's scores lie in a file, so
that a scoring that was killed goes on where it was, and memory holds one block.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from reasonir.data.prepared import TEACHER, digest_of, example_of, notes_of, read, read_manifest, write_set
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.loss.base import LABEL
from reasonir.model.backbone import Model
from reasonir.model.caching_encoder import MUCH, CachingEncoder
from reasonir.model.fingerprint import identity_of
from reasonir.teacher.report import TeacherTally, sentence
from reasonir.types import Example, Pair, Text
from reasonir.utils.files import atomic_path, exclusive
from reasonir.utils.ranges import NonNegative, Positive, Rule, Validated

log = logging.getLogger(__name__)
_NAME = Rule(
    lambda name: name != LABEL and re.fullmatch(r"[\w.-]+", name) is not None,
    f"letters, digits, '.', '_' or '-', and not {LABEL!r}",
)


@dataclass(frozen=True, slots=True)
class Reranking(Validated):
    """Teaches by scoring pairs.

    Attributes:
        model: reads the pairs.
        hardware: where it runs.
        name: of the teacher, by which losses know it.
        scale: the head's "logit", or its sigmoid, the "probability".
        run: the tracked run that `model` is taken from, where it is.
        seed: draws parameters that the checkpoint doesn't bring.
        block: queries scored at a time.
    """

    model: Model
    hardware: Hardware
    name: Annotated[str, _NAME] = "reranker"
    scale: Literal["logit", "probability"] = "logit"
    run: str | None = None
    seed: NonNegative = 0
    block: Positive = 256

    @property
    def columns(self) -> frozenset[str]:
        """Its own name."""
        return frozenset({self.name})

    def problems(self) -> Iterable[str]:
        """A model that reads no pairs."""
        if not self.model.reads_pairs:
            named = f"run={self.run}" if self.run else f"model.path={self.model.path}"
            yield (
                f"{named} has the head of a retriever, which reads no pairs: choose a reranker, such as "
                "model@teacher.model=gte_reranker"
            )

    def check_available(self) -> None:
        """See `Teacher.check_available`."""
        self.model.locate()

    def add_scores(self, own: Path, home: Path) -> Path:
        """See `Teacher.add_scores`."""
        rows, manifest = read(own), read_manifest(own)
        if f"{TEACHER}{self.name}" in rows.column_names:
            raise InputError(f"{own} has a teacher {self.name!r} already: call this one otherwise (teacher.name=...)")
        identity = {"source": "taught", "of": manifest["identity"], "teacher": self._identity()}
        kept = home / "cache" / "teachers" / digest_of(identity)
        tally = TeacherTally()
        with exclusive(kept):  # the first process to end would remove what another one reads
            folder = write_set(
                f"{own.name.rsplit('-', 1)[0]}-{self.name}",
                identity,
                lambda: self._examples(rows, kept, tally),
                home,
                what="Scoring",
                total=len(rows),
                notes=lambda: {**notes_of(manifest), "teacher": {"name": self.name, **tally.to_dict()}},
            )
            shutil.rmtree(kept, ignore_errors=True)
        log.info("%s", sentence(read_manifest(folder)["teacher"]))
        return folder

    def _identity(self) -> Mapping[str, Any]:
        return {**identity_of(self.model), "seed": self.seed, "name": self.name, "scale": self.scale}

    def _examples(self, rows: Any, kept: Path, tally: TeacherTally) -> Iterator[Example]:
        reader: CachingEncoder | None = None
        if kept.is_dir():
            log.info("Going on with the scores that lie in %s", kept)
        for start in range(0, len(rows), self.block):
            stop = min(len(rows), start + self.block)
            block = [example_of(rows[number]) for number in range(start, stop)]
            file = kept / f"{start}-{stop}.npy"
            if file.is_file():
                scores_P = np.load(file)
            else:
                reader = reader or CachingEncoder(
                    self.model.load(seed=self.seed).to(self.hardware.resolve().torch_device)
                )
                scores_P = self._scores(reader, block)
                with atomic_path(file) as partial, partial.open("wb") as stream:
                    np.save(stream, scores_P)
            scores = iter(scores_P.tolist())
            for example in block:
                documents = tuple(
                    replace(document, teachers={**document.teachers, self.name: next(scores)})
                    for document in example.documents
                )
                found = replace(example, documents=documents)
                tally.add(*([each.teachers[self.name] for each in side] for side in (found.positives, found.negatives)))
                yield found
        if reader is not None and reader.pair_queries.share > MUCH:
            log.warning(
                "The teacher read %.0f %% of the pairs without a part of their query: raise "
                "teacher.model.head.max_length",
                100 * reader.pair_queries.share,
            )

    def _scores(self, reader: CachingEncoder, block: Sequence[Example]) -> np.ndarray:
        """scores_P of the documents of every example, one example after the other."""
        pairs = [
            Pair(Text(example.query, example.instruction), Text(document.text, document.instruction))
            for example in block
            for document in example.documents
        ]
        logits_P = reader.score_pairs(pairs)
        scores_P = logits_P if self.scale == "logit" else logits_P.double().sigmoid()
        return scores_P.float().numpy()
