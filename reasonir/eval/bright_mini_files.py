"""Generator of a miniature BRIGHT, in files of BRIGHT's format, from the demo's texts and a seed without network.

Queries are the demo's test situations, relevant documents the principles behind them, so a model trained on
`data=demo` can be evaluated on it. The rest is as in BRIGHT: twelve splits, eight of them with whole documents too, two
over one corpus; ids with spaces, with %27, of digits only; colliding query ids; ["N/A"] and []; thousands of
exclusions, some twice; more than ten relevant documents, some listed twice; unjudged exact copies; an empty and a very
long document; the query's own document in the corpus; queries rewritten by language models.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reasonir.data.demo import Situation, build_world, demo_texts, hash_of
from reasonir.data.files.bright import GROUPS, LONG_SPLITS, SPLITS
from reasonir.utils.state import cached_folder

_FORMAT = 1
_NONE = ["N/A"]
_REWRITERS = {"gpt4_reason": 1.0, "llama3-70b_reason": 0.5}
"""Configurations of rewritten queries, and the share of queries rewritten with the right principle."""
_PREFERRED = {
    "biology": "biology",
    "ecology": "sustainable_living",
    "earth science": "earth_science",
    "economics": "economics",
    "psychology": "psychology",
    "physics": "robotics",
    "computing": "stackoverflow",
    "mathematics": "aops",
    "statistics": "theoremqa_questions",
}
_AT_MOST = 3
_SUMS = 2400
_EXCLUDED = 2100
_COPIES = 12


@dataclass
class _Split:
    """Content of a split: documents by id, whole ones by id, and rows of queries."""

    documents: dict[str, str] = field(default_factory=dict)
    articles: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rows: list[dict[str, Any]] = field(default_factory=list)


def write_mini(home: Path, seed: int) -> Path:
    """Return the folder under `home` with the files of `seed`, written on first use."""
    identity = json.dumps([_FORMAT, seed, hash_of("principles"), hash_of("settings")])
    folder = home / hashlib.sha256(identity.encode()).hexdigest()[:16]
    draw = np.random.default_rng([seed, 4])
    cached_folder(folder, lambda partial: _write(_Maker(seed).splits(), partial, draw))
    return folder


class _Maker:
    """Generator of the splits of a seed."""

    def __init__(self, seed: int) -> None:
        self.principles = {each["name"]: each for each in demo_texts("principles")["principle"]}
        self.notes = {each["name"]: each["notes"] for each in demo_texts("settings")["setting"]}
        self.situations: dict[str, list[Situation]] = defaultdict(list)
        for situation in build_world(seed, 1).situations["test"]:
            self.situations[situation.query_id.rpartition("/")[0]].append(situation)
        self.draw = np.random.default_rng([seed, 3])

    def splits(self) -> dict[str, _Split]:
        """Return every split by name."""
        dealt = self._deal()
        made = {split: self._posts(split, dealt[split]) for split in GROUPS["stackexchange"]}
        made["leetcode"] = self._leetcode(dealt["leetcode"])
        made["pony"] = self._pony(dealt["pony"])
        made["aops"], made["theoremqa_questions"] = self._mathematics(dealt["aops"], dealt["theoremqa_questions"])
        made["theoremqa_theorems"] = self._theorems(made["theoremqa_questions"])
        return made

    def _deal(self) -> Mapping[str, list[str]]:
        """Assign principles to splits: by their field up to a maximum, the rest to the splits with the fewest."""
        dealt: dict[str, list[str]] = {split: [] for split in SPLITS if split != "theoremqa_theorems"}
        rest: list[str] = []
        for name in self.situations:
            split = _PREFERRED.get(self.principles[name]["field"])
            (dealt[split] if split and len(dealt[split]) < _AT_MOST else rest).append(name)
        for name in rest:
            min(dealt.values(), key=len).append(name)
        return dealt

    def _posts(self, split: str, names: Sequence[str]) -> _Split:
        """Build passages of articles (the whole documents): the principle, preceded by its near miss if queried."""
        made = _Split()
        for name, principle in self.principles.items():
            article = _article(principle["field"], name)
            for number, part in enumerate(("near", "statement") if name in names else ("statement",), 1):
                _add(made, article, number, principle[part])
        for setting in {situation.setting: None for name in names for situation in self.situations[name]}:
            for number, note in enumerate(self.notes[setting][:2]):
                _add(made, _article("settings", setting), number, note)
        copies = [_add(made, "mirrors/old site", n, self.principles[names[0]]["statement"]) for n in range(_COPIES)]
        _add(made, "settings/blank page", 0, "")
        _add(made, "settings/everything", 0, " ".join(note for notes in self.notes.values() for note in notes))
        for name in names:
            article = _article(self.principles[name]["field"], name)
            gold = [f"{article}_2.txt"]
            if split == "economics" and name == names[0]:
                gold += copies[:-1]
            for situation in self.situations[name]:
                self._add_query(
                    made, str(len(made.rows)), situation, name, gold=gold, long=[f"{article}.txt"], excluded=_NONE
                )
        return made

    def _leetcode(self, names: Sequence[str]) -> _Split:
        """Build principles as solutions, with the query's own text in the corpus and excluded."""
        made = _Split()
        ids = {name: f"leetcode/leetcode_{number}.txt" for number, name in enumerate(self.principles)}
        made.documents = {ids[name]: principle["statement"] for name, principle in self.principles.items()}
        known = []
        for number, note in enumerate(note for notes in self.notes.values() for note in notes[:2]):
            known.append(f"leetcode/csn_python_train_{152036 + number}.txt")
            made.documents[known[-1]] = note
        for situation in (situation for name in names for situation in self.situations[name]):
            own = f"leetcode/leetcode_{len(made.documents)}.txt"
            made.documents[own] = situation.text
            name = situation.query_id.rpartition("/")[0]
            excluded = [own, *self._some(known, int(self.draw.integers(9, 40)))]
            self._add_query(made, str(len(made.rows)), situation, name, gold=[ids[name]], excluded=excluded)
        return made

    def _pony(self, names: Sequence[str]) -> _Split:
        """Build many small documents, several relevant per query: the clauses of principles."""
        made = _Split()
        gold: dict[str, list[str]] = {}
        for name, principle in self.principles.items():
            clauses = re.split(r"(?<=[;,.]) ", principle["statement"])
            slug = _slug(name)
            gold[name] = [
                _add(made, f"Pony/builtin-{slug}-", number, clause, f"Pony/0_{slug}")
                for number, clause in enumerate(clauses)
            ]
        primitives = "Pony/2_primitives"
        for name in names:
            made.articles[primitives].append(self.principles[name]["statement"])
        for name in names:
            for situation in self.situations[name]:
                long = [f"Pony/0_{_slug(name)}.txt", *([f"{primitives}.txt"] if made.rows else [])]
                self._add_query(made, str(len(made.rows)), situation, name, gold=gold[name], long=long, excluded=_NONE)
        return made

    def _mathematics(self, first: Sequence[str], second: Sequence[str]) -> tuple[_Split, _Split]:
        """Build two splits over one corpus that contains the queries themselves and is mostly excluded."""
        aops, questions = _Split(), _Split()
        documents: dict[str, str] = {}
        ids = {name: f"TheoremQA_xinyi/{_slug(name)}.json" for name in self.principles}
        documents |= {ids[name]: principle["statement"] for name, principle in self.principles.items()}
        sums = [f"math_train_number_theory_{number}" if number % 2 else f"camel_{number}" for number in range(_SUMS)]
        documents |= {doc_id: self._sum() for doc_id in sums}
        documents["TheoremQA_xinyi/unjudged copy.json"] = self.principles[second[0]]["statement"]
        for made, names, form in (
            (aops, first, "aops_2017_AIME_II_Problems/Problem_{}"),
            (questions, second, "TheoremQA_jianyu_xu/question_{}.json"),
        ):
            for situation in (situation for name in names for situation in self.situations[name]):
                number = len(made.rows)
                own = form.format(number)
                documents[own] = situation.text
                name = situation.query_id.rpartition("/")[0]
                many = self._some(sums, _EXCLUDED if made is aops or number % 2 else 0)
                gold = [ids[name], ids[name]] if made is questions and number % 3 == 0 else [ids[name]]
                self._add_query(made, own, situation, name, gold=gold, excluded=[own, *many, *many[:2]])
        shuffled = {doc_id: documents[doc_id] for doc_id in self._some(sorted(documents), len(documents))}
        aops.documents = questions.documents = shuffled
        return aops, questions

    def _theorems(self, questions: _Split) -> _Split:
        """Build a split of some questions over theorems with ids of digits only."""
        made = _Split()
        number = {name: str(index) for index, name in enumerate(self.principles)}
        made.documents = {number[name]: principle["statement"] for name, principle in self.principles.items()}
        for row in questions.rows[:5]:
            made.rows.append({**row, "gold_ids": [number[row["gold_answer"]]], "excluded_ids": []})
        return made

    def _add_query(
        self,
        made: _Split,
        query_id: str,
        situation: Situation,
        name: str,
        *,
        gold: Sequence[str],
        excluded: Sequence[str],
        long: Sequence[str] = _NONE,
    ) -> None:
        row = {"query": situation.text, "reasoning": self.principles[name]["statement"], "id": query_id}
        lists = {"excluded_ids": list(excluded), "gold_ids_long": list(long), "gold_ids": list(gold)}
        made.rows.append({**row, **lists, "gold_answer": name})

    def _some(self, ids: Sequence[str], count: int) -> list[str]:
        return [ids[index] for index in self.draw.permutation(len(ids))[:count]]

    def _sum(self) -> str:
        first, second, third = self.draw.integers(2, 99, 3).tolist()
        return f"{first} times {second}, modulo {third}?"


def _add(made: _Split, article: str, number: int, text: str, whole: str = "") -> str:
    """Add a passage of an article to a split and return its id."""
    doc_id = f"{article}_{number}.txt"
    made.documents[doc_id] = text
    made.articles[whole or article].append(text)
    return doc_id


def _article(topic: str, name: str) -> str:
    return f"{topic}/{name}".replace("'", "%27")


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _write(splits: Mapping[str, _Split], folder: Path, draw: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    near = {each["name"]: each["near"] for each in demo_texts("principles")["principle"]}
    for split, made in splits.items():
        tables = {"documents": _rows(made.documents), "examples": made.rows}
        if split in LONG_SPLITS:
            tables["long_documents"] = _rows({f"{key}.txt": "\n\n".join(parts) for key, parts in made.articles.items()})
        for configuration, share in _REWRITERS.items():
            tables[configuration] = [_rewritten(row, near, right=draw.random() < share) for row in made.rows]
        for configuration, rows in tables.items():
            file = folder / configuration / f"{split}-00000-of-00001.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(list(rows)), file)


def _rows(documents: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"id": doc_id, "content": text} for doc_id, text in documents.items()]


def _rewritten(row: Mapping[str, Any], near: Mapping[str, str], *, right: bool) -> dict[str, Any]:
    """Return the row with its query rewritten: the problem, then half of the right principle or of its near miss."""
    words = (row["reasoning"] if right else near[row["gold_answer"]]).split()
    thought = " ".join(words[: len(words) // 2])
    problem = row["query"].split(". ")[0]
    return {**row, "query": f"The essential problem: {problem}. What could be relevant: {thought} ..."}
