"""A head, a loss, a source and an evaluation of a user's own: a Python file and a YAML each, and nothing else."""

import json
import sys

from tests.commands import run

FILES = {
    "loud_head.py": """
from reasonir.model.head.biencoder import BiEncoder


class Loud(BiEncoder):
    def score(self, queries, documents):
        return 2 * super().score(queries, documents)
""",
    "conf/model/head/loud.yaml": """
_target_: loud_head.Loud.load
_partial_: true
pooling: mean
max_length: 48
temperature: 0.1
""",
    "pull_loss.py": """
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Pull:
    strength: float = 1.0
    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    teachers: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, judged):
        gap = judged.scores_P - judged.scores_QN.mean()
        return {"loss": -self.strength * judged.ranks.mean(gap.tanh()), "gap": judged.ranks.mean(gap.detach())}
""",
    "conf/loss/pull.yaml": "_target_: pull_loss.Pull\nstrength: 1.0\n",
    "count_data.py": """
from dataclasses import dataclass

from reasonir.types import Document, Example

WORDS = "one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True)
class Count:
    upto: int = 12

    @property
    def name(self):
        return "count"

    def identity(self):
        return {"source": "count", "upto": self.upto}

    def examples(self):
        for number, word in enumerate(WORDS[: self.upto], 1):
            yield Example(f"q{number}", f"what is {number} called", (Document(word, f"it is called {word}"),))

    def dev(self):
        return None
""",
    "conf/data/count.yaml": "_target_: count_data.Count\nupto: 12\n",
    "count_eval.py": """
from dataclasses import dataclass

from count_data import WORDS
from reasonir.eval.base import Benchmark
from reasonir.eval.results import Analysis
from reasonir.types import Corpus, Task, Text


@dataclass(frozen=True)
class Counted(Benchmark):
    upto: int = 12

    def tasks(self, *, corpus=True):
        words = WORDS[: self.upto]
        queries = {f"q{number}": Text(f"say {number}") for number in range(1, len(words) + 1)}
        texts = [f"it is called {word}" for word in words]
        yield Task("counted", queries, Corpus(words, texts), {q: {w: 1} for q, w in zip(queries, words)})

    def analyse(self, subject, folder):
        return {"counted": Analysis({"found": float(len(subject.runs["counted"]))})}
""",
    "conf/eval/counted.yaml": "_target_: count_eval.Counted\nupto: 12\n",
}


def test_a_run_is_composed_of_a_users_own_parts(tmp_path, monkeypatch, home):
    for name, content in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ("model=tiny", "model/head=loud", "data=count", "loss=pull", "eval=counted", "hardware=cpu")
    short = ("loader.batch_size=4", "loader.holdout=2", "loader.workers=0", "logger=csv", "loss.strength=2.0")
    try:
        done = run("train", *own, *short, home=home)
        assert done.status == 0, done.err
        logged = (done.folder / "metrics.csv").read_text()
        assert "train/gap" in logged
        results = json.loads((done.folder / "results.json").read_text())["results"]["counted"]
        assert set(results) == {"random", "bm25", "untrained", "trained"}
        assert results["trained"]["found"] == 12
        wrong = run("train", *own, *short, "loss.strenght=1", home=home)
        assert wrong.status == 2
        assert "did you mean 'strength'" in wrong.err
    finally:
        for name in ("loud_head", "pull_loss", "count_data", "count_eval"):
            sys.modules.pop(name, None)
