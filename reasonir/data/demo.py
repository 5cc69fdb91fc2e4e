"""The demo corpus: a miniature BRIGHT (arXiv:2407.12883), assembled from a seed, with no network.

A query tells a situation; the one relevant document states, in other words, the principle behind it. Shared words
mislead: notes about the same setting, case notes that retell a situation, and near principles stand in the same corpus.
A case note of the query's own situation is excluded from its ranking, as BRIGHT excludes documents that contain the
question. Train, dev and test have different principles and situations, so what must be learnt is how to read a
situation, not which principle belongs to which words.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np

from reasonir.data.base import content_key
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.ranges import NonNegative, Positive, Validated

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
    """A telling of a principle at work, and the case note that retells it, if there is one."""

    query_id: str
    text: str
    principle: str
    setting: str
    case: str | None


@dataclass(frozen=True, slots=True)
class World:
    """All documents by id, the situations of each part, and the distractors of each principle and setting."""

    documents: Mapping[str, str]
    situations: Mapping[Part, tuple[Situation, ...]]
    distractors: Mapping[str, tuple[str, ...]]

    def task(self, part: Part) -> Task:
        """The retrieval task of a part: its situations over the whole corpus."""
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
        """Every text: documents, then the training situations."""
        yield from self.documents.values()
        yield from (situation.text for situation in self.situations["train"])


@lru_cache(maxsize=4)
def build_world(seed: int, variants: int) -> World:
    """The corpus and queries that `seed` gives; training situations are told `variants` times."""
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
        for index, told in enumerate(principle["situations"]):
            case = f"cases/{told['setting']}_{number}.txt" if index == retold else None
            if case:
                documents[case] = f"Case note, {told['setting']}. {told['text']}"
                if part == "train":
                    distractors[told["setting"]].append(case)
            for variant in range(variants if part == "train" else 1):
                text = _told(told["text"], np.random.default_rng([seed, 2, number, index, variant]))
                query_id = f"{name}/{index}.{variant}"
                situations[part].append(Situation(query_id, text, statement, told["setting"], case))
    for setting in settings:
        for index, note in enumerate(setting["notes"]):
            doc_id = f"settings/{setting['name']}_{index}.txt"
            documents[doc_id] = note
            distractors[setting["name"]].append(doc_id)
    shuffled = {doc_id: documents[doc_id] for doc_id in draw.permutation(sorted(documents)).tolist()}
    return World(
        shuffled,
        {part: tuple(told) for part, told in situations.items()},
        {key: tuple(doc_ids) for key, doc_ids in distractors.items()},
    )


def _told(text: str, draw: np.random.Generator) -> str:
    opening, closing = _OPENINGS[draw.integers(len(_OPENINGS))], _CLOSINGS[draw.integers(len(_CLOSINGS))]
    return f"{opening}{text}{closing}"


def demo_texts(name: str) -> dict[str, Any]:
    """The texts of one file: principles or settings."""
    return tomllib.loads(resources.files("reasonir.data").joinpath(f"demo_texts/{name}.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Demo(Validated):
    """Training examples of the demo corpus, with near principles, setting notes and foreign cases as hard negatives.

    Attributes:
        seed: draws the split of the principles, the cases and the tellings.
        variants: tellings of each training situation.
    """

    seed: NonNegative = 0
    variants: Positive = 2

    @property
    def name(self) -> str:
        """The corpus's name."""
        return "demo"

    def identity(self) -> Mapping[str, Any]:
        """Seed, tellings and the texts themselves."""
        documents = {name: hash_of(name) for name in ("principles", "settings")}
        return {"source": "demo", "seed": self.seed, "variants": self.variants, "texts": documents}

    def examples(self) -> Iterator[Example]:
        """One example a telling of a training situation."""
        world = build_world(self.seed, self.variants)
        for told in world.situations["train"]:
            wrong = [*world.distractors[told.principle], *world.distractors[told.setting]]
            documents = [Document(told.principle, world.documents[told.principle])]
            documents += [Document(doc, world.documents[doc], label=0.0) for doc in wrong if doc != told.case]
            own = (content_key(world.documents[told.case]),) if told.case else ()
            yield Example(told.query_id, told.text, tuple(documents), excluded=own)

    def dev(self) -> Task | None:
        """The development situations over the whole corpus."""
        return build_world(self.seed, self.variants).task("dev")

    def tests(self) -> Iterator[Task]:
        """The test situations over the whole corpus, as eval=demo has them."""
        yield build_world(self.seed, self.variants).task("test")


def hash_of(name: str) -> str:
    """The SHA-256 of one of the text files."""
    import hashlib

    return hashlib.sha256(repr(demo_texts(name)).encode()).hexdigest()
