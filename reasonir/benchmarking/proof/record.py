"""Records of a proof's parts, with the figures of pytest and `reasonir.bench`, and the report of a machine and a day.

Parts of other commands on the same machine and day stay in the report; a part that is run again replaces its record.
"""

from __future__ import annotations

import json
import re
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reasonir.benchmarking import evaluation, max_batch
from reasonir.benchmarking.proof.parts import PARTS, Call
from reasonir.benchmarking.report import tables
from reasonir.runs.secrets import mask
from reasonir.utils.files import atomic_path
from reasonir.utils.state import read_json, write_json
from reasonir.utils.table import TEXT, Table

HELD, FAILED, NOT_HERE = "held", "failed", "not run here"
_VERSIONS = ("torch", "transformers", "lightning", "pylate", "sentence-transformers", "numpy")
_NAMED, _WORDS = 3, 400
"""Failed tests that a reason names, and characters of a command's last words."""


@dataclass(frozen=True, slots=True)
class Record:
    """What came of a part.

    Attributes:
        verdict: held, failed, or not run here.
        reason: of a failure, or why it isn't run here; a remark on a part that held, empty for none.
        seconds: that it took.
        commands: that it consists of.
        figures: of each command that wrote some: counts of tests, or the content of bench.json.
    """

    verdict: str
    reason: str = ""
    seconds: float = 0.0
    commands: Sequence[str] = ()
    figures: Sequence[Mapping[str, Any]] = ()

    @property
    def summary(self) -> str:
        """Verdict and reason in a line."""
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


def figures_of(call: Call, folder: Path, status: int | None, limit: float) -> tuple[dict[str, Any] | None, str]:
    """Return a command's figures, None if it wrote none, and why it failed, empty if it didn't.

    Args:
        call: the command.
        folder: of its output.
        status: its exit status; None if it was ended after `limit` seconds, the part's.
        limit: in seconds.
    """
    tests, bench = folder / "tests.xml", folder / "bench.json"
    figures, failed = None, ""
    if tests.is_file() and tests.stat().st_size:
        figures, failed = _tests(tests)
    elif bench.is_file():
        figures = json.loads(bench.read_text(encoding="utf-8"))
    if status is None:
        return figures, f"took longer than {limit:.0f} s"
    if status:
        return figures, failed or _last_words(folder / "output.log", status)
    if call.module == "pytest" and not (figures and figures["tests"]["passed"]):
        return figures, "no test was run"
    if call.figure and not all(call.figure in peer for peer in _peers(figures or {})):
        return figures, f"{call.figure} isn't known on this device: give peak_tflops=, the rate of its data sheet"
    return figures, failed


def _tests(file: Path) -> tuple[dict[str, Any] | None, str]:
    """Return counts of tests with the largest of each recorded property, and the failed ones."""
    try:
        cases = list(ET.parse(file).getroot().iter("testcase"))
    except ET.ParseError:  # pytest was ended while it wrote
        return None, f"{file.name} is incomplete"
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    largest: dict[str, float] = {}
    for each in (each for case in cases for each in case.iter("property")):
        name, value = each.attrib["name"], float(each.attrib["value"])
        largest[name] = max(value, largest.get(name, value))
    counts = {"passed": len(cases) - len(failed) - len(skipped), "failed": len(failed), "skipped": len(skipped)}
    figures = {"tests": {**counts, "largest": largest}}
    if not failed:
        return figures, ""
    names = ", ".join(case.attrib["name"] for case in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return figures, f"{len(failed)} of {len(cases)} tests failed: {names}{more}"


def _last_words(log: Path, status: int) -> str:
    """Return what a command said last, an error in the form of `reasonir` as a whole."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}: the machine may have run out of memory"
    text = log.read_text(encoding="utf-8", errors="replace").rstrip()
    words = text.rpartition("\nreasonir: ")[2] if "\nreasonir: " in text else text.rpartition("\n")[2]
    return mask(" ".join(words.split()))[:_WORDS] or f"ended with status {status}"


def _peers(figures: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for workload in figures.get("workloads", {}).values():
        yield from workload["peers"].values()


@dataclass(slots=True)
class Report:
    """Report of a machine and a day, as JSON and as Markdown.

    Attributes:
        file: the Markdown file; the JSON file beside it has the same name.
        card: name of the GPU or processor.
        date: of the report.
        command: that adds parts.
        environment: of the command.
        parts: records by name.
    """

    file: Path
    card: str
    date: str
    command: str
    environment: Mapping[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, card: str, command: str, environment: Mapping[str, Any]) -> Report:
        """Return the machine's report of today, with the parts that it has.

        Raises:
            InputError: the report of today is damaged.
        """
        date = time.strftime("%Y-%m-%d")
        report = cls(folder / f"{slug(card)}-{date}.md", card, date, command, environment)
        file = report.file.with_suffix(".json")
        if file.is_file():
            report.parts = read_json(file, keys=("parts",), remedy="delete it, or set another proof.folder")["parts"]
        return report

    def add(self, name: str, record: Record) -> None:
        """Add or replace a part's record, and write both files."""
        self.parts[name] = {**asdict(record), "command": self.command, "git": self.environment["git"]}
        self.parts = {each: self.parts[each] for each in PARTS if each in self.parts}
        write_json(self.file.with_suffix(".json"), self.document())
        with atomic_path(self.file) as partial:
            partial.write_text(self.markdown(), encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return {"card": self.card, "date": self.date, "environment": self.environment, "parts": self.parts}

    def markdown(self) -> str:
        """Return the content of the Markdown file."""
        verdicts = [record["verdict"] for record in self.parts.values()]
        counted = ", ".join(f"{verdicts.count(each)} {each}" for each in (HELD, FAILED, NOT_HERE) if each in verdicts)
        seconds = sum(record["seconds"] for record in self.parts.values())
        rows = [
            [name, record["verdict"], record["seconds"], record["reason"] or PARTS[name].claim]
            for name, record in self.parts.items()
        ]
        parts = Table("", {"part": TEXT, "verdict": TEXT, "seconds": "{:.0f}", "what holds, or why not": TEXT}, rows)
        lines = [
            f"# Proof: {self.card}, {self.date}\n",
            f"Parts: {counted}; {seconds / 60:.1f} minutes. Written by `{self.command}`; how to read it: "
            "[Proof of a machine](index.md).\n",
            f"{parts.markdown()}\n",
            "## Machine and versions\n",
            f"{Table('', {}, list(_environment_rows(self.environment))).markdown()}\n",
        ]
        for name, record in self.parts.items():
            if record["commands"]:
                lines += [f"## {name}: {record['verdict']}\n", *_section(PARTS[name].claim, record)]
        return "\n".join(lines)


def _section(claim: str, record: Mapping[str, Any]) -> Iterator[str]:
    yield f"{claim}\n"
    if record["reason"]:
        yield f"{'Failed' if record['verdict'] == FAILED else 'Note'}: {record['reason']}.\n"
    yield "\n".join(["```bash", *record["commands"], "```\n"])
    for figures in record["figures"]:
        for table in _tables(figures):
            yield "\n\n".join(filter(None, [table.title, table.markdown(), table.note])) + "\n"


def _tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of a command's figures."""
    if "tests" in figures:
        counts = dict(figures["tests"])
        largest = [[f"largest {name}", f"{value:.1e}"] for name, value in counts.pop("largest").items()]
        yield Table("Tests", {}, [*([name, str(count)] for name, count in counts.items()), *largest])
    yield from tables(figures.get("workloads", {}))
    for workload, found in figures.get("max_batch", {}).items():
        yield max_batch.table(workload, found["peers"])
    if "evaluation" in figures:
        yield evaluation.table(figures["evaluation"])


def _environment_rows(environment: Mapping[str, Any]) -> Iterator[list[str]]:
    git = environment["git"]
    commit = git["commit"] + ("" if git["clean"] else ", changed") if git else "unknown: the tree is no git checkout"
    for name in ("python", "platform", "cpus", "memory_gib", "threads", "gpus", "cuda", "driver", "peers"):
        value = environment.get(name)
        if value:
            yield [name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
    yield ["commit", commit]
    for name in _VERSIONS:
        yield [name, environment["packages"].get(name, "not installed")]


def slug(card: str) -> str:
    r"""Return the name of a card or processor for a file's name.

    >>> slug("NVIDIA H100 80GB HBM3"), slug("Intel(R) Xeon(R) Processor @ 2.80GHz"), slug("\u03bc")
    ('nvidia-h100-80gb-hbm3', 'intel-xeon-processor-2-80ghz', 'unnamed')
    """
    plain = re.sub(r"\((?:R|TM)\)", " ", card, flags=re.IGNORECASE).lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain)) or "unnamed"
