"""Prepared sets: the examples of a source as memory-mapped Arrow, with a manifest.

One row per query. `query`, `pos` and `neg` (lists of [instruction, text]) have the schema of the ReasonIR trainers.
Further columns are ids, a 64-bit key of every text, which copies share (`copy_key`), the keys of excluded documents
and, where there is a guide, of masked ones, the source (rows of one source of a mixture are consecutive), and, for the
positives followed by the negatives, labels, labelled spans and one column of scores per teacher. A set is written to a
temporary folder and renamed once it is complete; the folder's name has a fingerprint of everything the examples depend
on, so a set is reused exactly while nothing changed. `datasets.load_from_disk` opens it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from reasonir.data.base import HasNotes, Rejected, Source, copy_key
from reasonir.data.files.records import digests
from reasonir.errors import InputError, raise_errors
from reasonir.types import Document, Example, Task
from reasonir.utils.files import atomic_folder, exclusive
from reasonir.utils.progress import progress
from reasonir.utils.state import read_json, write_json
from reasonir.utils.values import MAX_NUMBER, check_text

log = logging.getLogger(__name__)

FORMAT = 3
MANIFEST = "manifest.json"
TEACHER = "teacher."
"""Prefix of the names of teacher columns."""
MASKED = "masked_keys"
_STAGES = ("mined", "taught")
_EXAMPLES = 5
_ENTRIES = ("fingerprint", "identity", "counts", "sources", "report")
_ARROW = "data-*.arrow"
_VERIFIED = 16 << 30
_AGAIN = "prepare it again, which replaces it"
_ON_PURPOSE = f"; if you changed it on purpose, delete the entries arrow, bytes and sha256 of its {MANIFEST}"
Manifest = dict[str, Any]


def prepare(source: Source, home: Path) -> Path:
    """Return the folder of the source's prepared set under `home`, writing it unless it exists.

    Raises:
        InputError: an error in the source.
    """
    notes = source.notes if isinstance(source, HasNotes) else dict
    return write_set(source.name, source.identity(), source.examples, home, notes=notes)


def write_set(
    name: str,
    identity: Mapping[str, Any],
    examples: Callable[[], Iterable[Example | Rejected]],
    home: Path,
    *,
    what: str = "Preparing",
    total: int | None = None,
    notes: Callable[[], Mapping[str, Any]] = dict,
) -> Path:
    """Return the folder of the prepared set under `home`, writing it unless it exists.

    Args:
        name: start of the folder's name.
        identity: everything the examples depend on.
        examples: called if the set must be written.
        home: folder whose data/ holds the prepared sets.
        what: description next to the progress bar.
        total: number of examples; None if unknown.
        notes: called after the last example; its values go into the manifest.

    Raises:
        InputError: an error in the source, or an example that training can't use.
    """
    identity = {"format": FORMAT, **identity}
    fingerprint = digest_of(identity)
    folder = home / "data" / f"{name}-{fingerprint}"
    if _fault_in(folder) is None:
        log.info("Prepared set %s is up to date", folder)
        return folder
    with exclusive(home / "cache" / folder.name):  # commands that need the same set wait for it
        if (fault := _fault_in(folder)) is None:
            return folder
        if folder.is_dir():
            log.warning("The prepared set is damaged and made again: %s", fault)
        with atomic_folder(folder, replaces=True) as partial:
            report = Report()
            kept = report.filter(_readable(examples(), name))
            counts, sources = _write(progress(kept, what, total=total), partial, name, report)
            manifest = {
                "fingerprint": fingerprint,
                "identity": identity,
                "counts": counts,
                "sources": sources,
                "report": report.to_dict(),
                **notes(),
                "arrow": _arrow_digests(partial),
                "bytes": _bytes(partial),
            }
            write_json(partial / MANIFEST, manifest)
    log.info("Prepared %s: %s", folder, ", ".join(f"{count} {what}" for what, count in counts.items()))
    for source, counts in sources.items() if len(sources) > 1 else ():
        log.info("Of %s: %s", source, ", ".join(f"{count} {what}" for what, count in counts.items()))
    report.log()
    return folder


def _fault_in(folder: Path) -> str | None:
    """Return what is wrong with a prepared set, None if it can be used."""
    try:
        read(folder)
    except InputError as error:
        return str(error)
    return None


def fingerprint_of(source: Source) -> str:
    """Return the fingerprint of a source's prepared set, which covers everything its examples depend on."""
    return digest_of(source.identity())


def digest_of(identity: Mapping[str, Any]) -> str:
    """Return the fingerprint of a prepared set with this identity."""
    return hashlib.sha256(json.dumps({"format": FORMAT, **identity}, sort_keys=True).encode()).hexdigest()[:16]


def origin_of(manifest: Manifest) -> str:
    """Return the fingerprint of the source's own set, before mining and teachers added to it."""
    identity = manifest["identity"]
    while identity.get("source") in _STAGES:
        identity = identity["of"]
    return digest_of(identity)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared set as a source, so that sets mined or scored with one model can train another.

    Attributes:
        path: folder of the set.
    """

    path: str

    @property
    def name(self) -> str:
        """Name of the set, without its fingerprint."""
        return self._folder.name.rsplit("-", 1)[0]

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser().absolute()

    def identity(self) -> Mapping[str, Any]:
        """Return the set's own identity, and the hashes of its files."""
        identity = read_manifest(self._folder)["identity"]
        return {"source": "prepared", "of": identity, "files": _arrow_digests(self._folder)}

    def examples(self) -> Iterator[Example]:
        """Yield the examples of the rows.

        Raises:
            InputError: rows were changed, so that training can't use them; lists the first faults.
        """
        raise_errors(list(islice(_faults_of(self._folder), _EXAMPLES)), "fault in the prepared set")
        yield from map(example_of, read(self._folder))

    def dev(self) -> Task | None:
        """Return None: part of the rows is held out."""
        return None


def _readable(items: Iterable[Example | Rejected], name: str) -> Iterator[Example | Rejected]:
    """Yield the items of the source `name`.

    Raises:
        InputError: an example's texts aren't texts, or a label isn't a number.
    """
    for item in items:
        if isinstance(item, Example):
            pairs = [[document.instruction, document.text] for document in item.documents]
            faults = [*_text_faults({"query": item.query, "instruction": item.instruction, "pos": pairs, "neg": []})]
            if not all(abs(document.label) <= MAX_NUMBER for document in item.documents):
                faults.append("a label isn't a finite number")
            if faults:
                raise InputError(f"{name}: query {item.query_id!r}: {'; '.join(faults)}: fix it in the source")
        yield item


class Report:
    """Report of the rejected parts of a source: a count by kind, with the first few of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    @classmethod
    def of(cls, rejected: Iterable[Rejected]) -> Report:
        """Return the report of these parts."""
        report = cls()
        for part in rejected:
            report.add(part)
        return report

    def add(self, rejected: Rejected) -> None:
        """Count a rejected part."""
        self.counts[rejected.kind] += 1
        if len(first := self.first.setdefault(rejected.kind, [])) < _EXAMPLES:
            first.append(f"{rejected.location}: {rejected.detail[:120]}")

    def filter(self, items: Iterable[Example | Rejected]) -> Iterator[Example]:
        """Yield the examples and count the rejected items."""
        for item in items:
            if isinstance(item, Example):
                yield item
            else:
                self.add(item)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the manifest."""
        return {kind: {"count": count, "first": self.first[kind]} for kind, count in sorted(self.counts.items())}

    def lines(self) -> list[str]:
        """Return each kind with its count."""
        return [f"{count} {kind.replace('_', ' ')}" for kind, count in self.counts.items()]

    def log(self) -> None:
        """Log the counts, one line per kind."""
        for line, first in zip(self.lines(), self.first.values(), strict=True):
            log.info("Left out: %s, for instance %s", line, first[0])


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a prepared set.

    Raises:
        InputError: the folder isn't a prepared set, or has another format.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} isn't a prepared set (it has no {MANIFEST}): {_AGAIN}")
    manifest = read_json(folder / MANIFEST, keys=("identity",), remedy=_AGAIN)
    version = manifest["identity"].get("format") if isinstance(manifest["identity"], dict) else None
    if version != FORMAT:
        raise InputError(f"{folder} has format {version}, this version reads {FORMAT}: {_AGAIN}")
    if missing := [key for key in _ENTRIES if key not in manifest]:
        raise InputError(f"{folder / MANIFEST} lacks the entry {missing[0]!r}: {_AGAIN}")
    return manifest


def notes_of(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest's entries besides those of every manifest."""
    return {key: value for key, value in manifest.items() if key not in (*_ENTRIES, "arrow", "bytes")}


def read(folder: Path) -> Any:
    """Return the rows of a prepared set, memory-mapped: a `datasets.Dataset`.

    Its files are verified once per process, those of a set above 16 GiB by their size alone: `validate` verifies them.

    Raises:
        InputError: see `read_manifest`; or the rows are missing, damaged, or of other columns.
    """
    manifest = read_manifest(folder)
    rows = _open(folder, manifest)
    if (size := _bytes(folder)) != manifest.get("bytes", size):
        counts = f"{size} bytes instead of {manifest['bytes']}"
        raise InputError(f"{folder}: the Arrow files don't match the manifest ({counts}): {_AGAIN}{_ON_PURPOSE}")
    if size <= _VERIFIED:
        _refuse_altered(folder, manifest)
    return rows


def _open(folder: Path, manifest: Manifest) -> Any:
    """Return the rows of a prepared set whose files may have been changed."""
    from datasets import load_from_disk

    try:
        rows = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} can't be opened ({error}): {_AGAIN}") from error
    if rows.features != _features(rows.column_names):
        raise InputError(f"{folder} has other columns than a prepared set ({rows.features}): {_AGAIN}")
    if len(rows) != (count := manifest["counts"].get("queries")):
        raise InputError(f"{folder} has {len(rows)} rows, its manifest {count}: {_AGAIN}")
    return rows


def validate(folder: Path) -> Manifest:
    """Check a prepared set row by row against its schema and manifest, and return the manifest.

    Raises:
        InputError: the set is damaged; lists the first ten faults.
    """
    manifest = read_manifest(folder)
    _refuse_altered(folder, manifest)
    raise_errors(list(islice(_faults_of(folder), 2 * _EXAMPLES)), "fault in the prepared set")
    return manifest


def _refuse_altered(folder: Path, manifest: Manifest) -> None:
    if (present := _arrow_digests(folder)) != manifest.get("arrow", present):
        raise InputError(f"{folder}: the Arrow files don't match the manifest ({present}): {_AGAIN}{_ON_PURPOSE}")


def _faults_of(folder: Path) -> Iterator[str]:
    """Yield the faults of a prepared set's rows."""
    for number, row in enumerate(_open(folder, read_manifest(folder))):
        for fault in _faults(row):
            yield f"{folder}, row {number} (query {row['query_id']!r}): {fault}"


def example_of(row: Mapping[str, Any]) -> Example:
    """Return the example of a row."""
    teachers = {name.removeprefix(TEACHER): row[name] for name in row if name.startswith(TEACHER)}
    documents = tuple(
        Document(
            doc_id,
            text,
            instruction,
            label,
            {name: scores[index] for name, scores in teachers.items()},
            tuple((start, end) for start, end in spans),
            tuple(span_labels),
        )
        for index, (doc_id, (instruction, text), label, spans, span_labels) in enumerate(
            zip(
                row["pos_ids"] + row["neg_ids"],
                row["pos"] + row["neg"],
                row["labels"],
                row["spans"],
                row["span_labels"],
                strict=True,
            )
        )
    )
    excluded = tuple(row["excluded_keys"])
    masked = tuple(row[MASKED]) if MASKED in row else None
    return Example(row["query_id"], row["query"], documents, row["instruction"], row["source"], excluded, masked)


def row_of(example: Example) -> dict[str, Any]:
    """Return the row of an example."""
    positives, negatives = example.positives, example.negatives
    documents = (*positives, *negatives)
    teachers = sorted({name for document in documents for name in document.teachers})
    return {
        "query_id": example.query_id,
        "source": example.source,
        "instruction": example.instruction,
        "query": example.query,
        "pos": [[document.instruction, document.text] for document in positives],
        "neg": [[document.instruction, document.text] for document in negatives],
        "pos_ids": [document.doc_id for document in positives],
        "neg_ids": [document.doc_id for document in negatives],
        "labels": [document.label for document in documents],
        "spans": [[list(span) for span in document.spans] for document in documents],
        "span_labels": [list(document.span_labels) for document in documents],
        "query_key": copy_key(example.query),
        "pos_keys": [copy_key(document.text) for document in positives],
        "neg_keys": [copy_key(document.text) for document in negatives],
        "excluded_keys": list(example.excluded),
        **({} if example.masked is None else {MASKED: list(example.masked)}),
        **{f"{TEACHER}{name}": [document.teachers.get(name) for document in documents] for name in teachers},
    }


def _features(columns: Iterable[str]) -> Any:
    """Return the types of a set with these columns."""
    from datasets import Features, List, Value

    pairs, strings, keys = List(List(Value("large_string"))), List(Value("string")), List(Value("int64"))
    numbers = List(Value("float32"))
    return Features(
        {
            "query_id": Value("string"),
            "source": Value("string"),
            "instruction": Value("string"),
            "query": Value("large_string"),
            "pos": pairs,
            "neg": pairs,
            "pos_ids": strings,
            "neg_ids": strings,
            "labels": numbers,
            "spans": List(List(List(Value("int32")))),
            "span_labels": List(numbers),
            "query_key": Value("int64"),
            "pos_keys": keys,
            "neg_keys": keys,
            "excluded_keys": keys,
            **({MASKED: keys} if MASKED in columns else {}),
            **{name: numbers for name in columns if name.startswith(TEACHER)},
        }
    )


def _write(
    examples: Iterable[Example], folder: Path, name: str, report: Report
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Write the rows, and return counts over all and by source (`name` for examples without one)."""
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter

    sources: dict[str, dict[str, int]] = {}
    documents: set[int] = set()
    raw = folder / "raw" / "rows.arrow"
    raw.parent.mkdir()
    rows = _checked(examples, name, report)
    first = next(rows)
    with ArrowWriter(path=str(raw), features=_features(first)) as writer:
        for row in chain([first], rows):
            row["source"] = row["source"] or name
            writer.write(row)
            counts = sources.setdefault(row["source"], dict.fromkeys(("queries", "positives", "negatives"), 0))
            for what, count in (("queries", 1), ("positives", len(row["pos"])), ("negatives", len(row["neg"]))):
                counts[what] += count
            documents.update(row["pos_keys"], row["neg_keys"])
        writer.finalize()
    Dataset.from_file(str(raw)).save_to_disk(str(folder))
    shutil.rmtree(raw.parent)
    total = {what: sum(counts[what] for counts in sources.values()) for what in ("queries", "positives", "negatives")}
    return {**total, "distinct_documents": len(documents)}, sources


def _checked(examples: Iterable[Example], name: str, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the rows of readable examples, checked for what training can't use; messages call the source `name`.

    Negatives that are copies of a positive are left out, and added to the report.
    """
    seen: set[str] = set()
    columns: set[str] = set()
    for example in examples:
        row = row_of(example)
        relevant, keyed = set(row["pos_keys"]), zip(row["neg_keys"], example.negatives, strict=True)
        if copies := [document for key, document in keyed if key in relevant]:
            for document in copies:
                report.add(Rejected("negative_equals_positive", example.query_id, document.text))
            row = row_of(replace(example, documents=tuple(d for d in example.documents if d not in copies)))
        columns = columns or set(row)
        faults = [*_missing_values(row)] or [*_shape_faults(row)]
        if different := sorted(column.removeprefix(TEACHER) for column in columns ^ set(row)):
            faults.append(f"teacher {different[0]!r} has seen some queries and not others")
        if example.query_id in seen:
            faults.append("duplicate id")
        seen.add(example.query_id)
        if faults:
            raise InputError(f"{name}: query {example.query_id!r}: {'; '.join(faults)}: fix it in the source")
        yield row
    if not seen:
        raise InputError(f"{name}: the source gives no examples: check its path and split")


def _faults(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of a row that may have been changed."""
    yield from [*_missing_values(row)] or [*_text_faults(row)] or _shape_faults(row)


def _missing_values(row: Mapping[str, Any]) -> Iterator[str]:
    return (f"'{name}' lacks a value" for name, value in row.items() if _lacks_value(value))


def _shape_faults(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of a row with readable texts."""
    if not row["pos"] and not row["neg"]:
        yield "it has no document"
    for kind in ("pos", "neg"):
        if not len(row[kind]) == len(row[f"{kind}_ids"]) == len(row[f"{kind}_keys"]):
            yield f"'{kind}' and its ids differ in number"
    numbers = ["labels", *(name for name in row if name.startswith(TEACHER))]
    for name in (*numbers, "spans", "span_labels"):
        if len(row[name]) != len(row["pos"]) + len(row["neg"]):
            yield f"'{name}' and the documents differ in number"
        elif name in numbers and not all(abs(number) <= MAX_NUMBER for number in row[name]):
            yield f"'{name}' has a number that isn't finite"
    for (_, text), spans, labels in zip(row["pos"] + row["neg"], row["spans"], row["span_labels"], strict=False):
        if len(spans) != len(labels):
            yield f"{len(spans)} spans have {len(labels)} labels"
        if any(not 0 <= start < end <= len(text) for start, end in spans):
            yield "a span is outside its document"


def _lacks_value(value: Any) -> bool:
    return value is None or (isinstance(value, list) and any(map(_lacks_value, value)))


def _text_faults(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _text_fault("the query", row["query"])
    yield from _text_fault("the instruction", row["instruction"], blank=True)
    for kind in ("pos", "neg"):
        for pair in row[kind]:
            if len(pair) == 2:
                yield from _text_fault("a document's instruction", pair[0], blank=True)
                yield from _text_fault("a document", pair[1])
            else:
                yield f"a document of '{kind}' isn't [instruction, text]"


def _text_fault(what: str, value: object, *, blank: bool = False) -> Iterator[str]:
    try:
        check_text(value, what, blank=blank, remedy="give a text")
    except InputError as error:
        yield str(error)


def _arrow_digests(folder: Path) -> dict[str, str]:
    return digests(sorted(folder.glob(_ARROW)), folder)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob(_ARROW))
