"""Demo corpus: a miniature BRIGHT (arXiv:2407.12883), generated from a seed, offline.

A query describes a situation; its one relevant document states the principle behind it in other words. Shared words
mislead: the corpus has notes about the same setting, case notes that repeat a situation, and near principles. A case
note of the query's own situation is excluded from its ranking, as BRIGHT excludes documents that contain the question.
Train, dev and test have different principles and situations, so a model can't succeed by learning which words go with
which principle.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np

from reasonir.data.base import copy_key
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.ranges import Positive, Seed, Validated

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")
_SHARES = (0.58, 0.12, 0.30)
_OPENINGS = (
    "",
    "Something has been puzzling me. ",
    "Can anybody make sense of this? ",
    "A small story from last week. ",
    "I have no explanation for the following. ",
    "Here is what we saw. ",
)
_CLOSINGS = (
    "",
    " Why is that?",
    " What is going on here?",
    " Nobody I asked could tell me why.",
    " Is there a name for this?",
    " What would explain it?",
)


@dataclass(frozen=True, slots=True)
class Situation:
    """Query about a principle at work, and the case note that repeats it, if any."""

    query_id: str
    text: str
    principle: str
    setting: str
    case: str | None


@dataclass(frozen=True, slots=True)
class World:
    """Documents by id, the situations of each part, and the distractors of each principle and setting."""

    documents: Mapping[str, str]
    situations: Mapping[Part, tuple[Situation, ...]]
    distractors: Mapping[str, tuple[str, ...]]

    def task(self, part: Part) -> Task:
        """Return the retrieval task of a part: its situations over the whole corpus."""
        situations = self.situations[part]
        return Task(
            name="demo" if part == "test" else f"demo-{part}",
            queries={situation.query_id: Text(situation.text) for situation in situations},
            corpus=Corpus(list(self.documents), list(self.documents.values())),
            qrels={situation.query_id: {situation.principle: 1} for situation in situations},
            excluded={s.query_id: frozenset({s.case}) for s in situations if s.case},
            protocol={"collection": "demo", "split": part, "documents": str(len(self.documents))},
        )

    def texts(self) -> Iterator[str]:
        """Yield every text: documents, then the training situations."""
        yield from self.documents.values()
        yield from (situation.text for situation in self.situations["train"])


@lru_cache(maxsize=4)
def build_world(seed: int, variants: int) -> World:
    """Return the corpus and queries of `seed`, with `variants` wordings of each training situation."""
    principles, settings = demo_texts("principles")["principle"], demo_texts("settings")["setting"]
    order = np.random.default_rng([seed, 0]).permutation(len(principles))
    draw = np.random.default_rng([seed, 1])
    bounds = np.round(np.cumsum(_SHARES) * len(principles)).astype(int)
    part_of = {
        int(number): PARTS[int(np.searchsorted(bounds, rank, side="right"))] for rank, number in enumerate(order)
    }

    documents: dict[str, str] = {}
    situations: dict[Part, list[Situation]] = {part: [] for part in PARTS}
    distractors: dict[str, list[str]] = {setting["name"]: [] for setting in settings}
    for number, principle in enumerate(principles):
        name, part = principle["name"], part_of[number]
        statement, near = f"principles/{name}.txt", f"principles/near {name}.txt"
        documents[statement], documents[near] = principle["statement"], principle["near"]
        distractors[statement] = [near]
        retold = int(draw.integers(len(principle["situations"])))
        for index, situation in enumerate(principle["situations"]):
            setting_name = situation["setting"]
            case = f"cases/{setting_name}_{number}.txt" if index == retold else None
            if case:
                documents[case] = f"Case note, {setting_name}. {situation['text']}"
                if part == "train":
                    distractors[setting_name].append(case)
            for variant in range(variants if part == "train" else 1):
                text = _worded(situation["text"], np.random.default_rng([seed, 2, number, index, variant]))
                query_id = f"{name}/{index}.{variant}"
                situations[part].append(Situation(query_id, text, statement, setting_name, case))
    for setting in settings:
        for index, note in enumerate(setting["notes"]):
            doc_id = f"settings/{setting['name']}_{index}.txt"
            documents[doc_id] = note
            distractors[setting["name"]].append(doc_id)
    shuffled = {doc_id: documents[doc_id] for doc_id in draw.permutation(sorted(documents)).tolist()}
    return World(
        shuffled,
        {part: tuple(members) for part, members in situations.items()},
        {key: tuple(doc_ids) for key, doc_ids in distractors.items()},
    )


def _worded(text: str, draw: np.random.Generator) -> str:
    opening, closing = _OPENINGS[draw.integers(len(_OPENINGS))], _CLOSINGS[draw.integers(len(_CLOSINGS))]
    return f"{opening}{text}{closing}"


def demo_texts(name: str) -> dict[str, Any]:
    """Return the texts of one file: principles or settings."""
    return tomllib.loads(resources.files("reasonir.data").joinpath(f"demo_texts/{name}.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Demo(Validated):
    """Training examples of the demo corpus, with near principles, setting notes and other cases as hard negatives.

    Attributes:
        seed: draws the split of the principles, the cases and the wordings.
        variants: wordings of each training situation.
    """

    seed: Seed = 0
    variants: Positive = 2

    @property
    def name(self) -> str:
        """Name of the corpus."""
        return "demo"

    def identity(self) -> Mapping[str, Any]:
        """Return seed, number of wordings and hashes of the texts."""
        texts = {name: hash_of(name) for name in ("principles", "settings")}
        return {"source": "demo", "seed": self.seed, "variants": self.variants, "texts": texts}

    def examples(self) -> Iterator[Example]:
        """Yield one example per wording of a training situation."""
        world = build_world(self.seed, self.variants)
        for situation in world.situations["train"]:
            wrong = [*world.distractors[situation.principle], *world.distractors[situation.setting]]
            documents = [Document(situation.principle, world.documents[situation.principle])]
            documents += [Document(doc, world.documents[doc], label=0.0) for doc in wrong if doc != situation.case]
            excluded = (copy_key(world.documents[situation.case]),) if situation.case else ()
            yield Example(situation.query_id, situation.text, tuple(documents), excluded=excluded)

    def dev(self) -> Task | None:
        """Return the development situations over the whole corpus."""
        return build_world(self.seed, self.variants).task("dev")

    def tests(self) -> Iterator[Task]:
        """Yield the test situations over the whole corpus, as in eval=demo."""
        yield build_world(self.seed, self.variants).task("test")


def hash_of(name: str) -> str:
    """Return the SHA-256 of one of the text files."""
    import hashlib

    return hashlib.sha256(repr(demo_texts(name)).encode()).hexdigest()
