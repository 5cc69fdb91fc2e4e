import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reasonir.data.base import Rejected
from reasonir.data.mixture import Mixture
from reasonir.data.prepared import fingerprint_of, prepare, read, read_manifest
from reasonir.data.splits.holdout import hold_out
from reasonir.errors import InputError
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.types import Corpus, Document, Example, Task, Text
from tests.data.test_documents import written
from tests.running import run


def example(number, positive, *negatives):
    wrong = tuple(Document(text, text, label=0.0) for text in negatives)
    return Example(f"q{number}", f"query {positive} {number}", (Document(positive, positive), *wrong))


@dataclass
class Given:
    """A source of given examples, with a development task that asks for the documents `asked`."""

    given: list
    asked: tuple = ()
    name: str = "given"
    tested: tuple = ()
    extra: dict = field(default_factory=dict)

    def identity(self):
        return {"given": repr(self.given), **self.extra}

    def examples(self):
        yield from self.given

    def dev(self):
        return self._task("dev", self.asked) if self.asked else None

    def tests(self):
        if self.tested:
            yield self._task("test", self.tested)

    def _task(self, name, asked):
        queries = {text: Text(f"ask for {text}") for text in asked}
        return Task(name, queries, Corpus(list(asked), list(asked)), {text: {text: 1} for text in asked})


def several(prefix, count):
    return [example(n, f"{prefix}{n}") for n in range(count)]


def test_ids_are_prefixed_and_the_source_is_recorded(tmp_path):
    mixture = Mixture({"a": Given(several("x", 3)), "b": Given(several("y", 2))})
    folder = prepare(mixture, tmp_path)
    rows = read(folder)
    assert rows["query_id"][:] == ["a/q0", "a/q1", "a/q2", "b/q0", "b/q1"]
    assert rows["source"][:] == ["a", "a", "a", "b", "b"]
    assert rows["pos_ids"][3] == ["b/y0"]
    assert read_manifest(folder)["sources"] == {
        "a": {"queries": 3, "positives": 3, "negatives": 0},
        "b": {"queries": 2, "positives": 2, "negatives": 0},
    }


def test_held_out_texts_of_one_source_are_dropped_from_the_others(tmp_path):
    first = Given([example(0, "p0"), example(1, "p1", "d0", "n"), Rejected("odd", "here", "it")])
    second = Given(several("d", 3), asked=("p0",), tested=("d0",))
    folder = prepare(Mixture({"a": first, "b": second}), tmp_path)
    rows = read(folder)
    assert rows["query_id"][:] == ["a/q1", "b/q0", "b/q1", "b/q2"]  # b's own examples are left to b
    assert rows["neg"][0] == [["", "n"]]
    report = {kind: entry["count"] for kind, entry in read_manifest(folder)["report"].items()}
    assert report == {"a/held_out": 1, "a/held_out_negative": 1, "a/odd": 1}


def test_samples_are_drawn_by_the_seed_and_keep_their_order():
    def sampled(seed, most=10):
        mixture = Mixture({"a": Given(several("x", 50)), "b": Given(several("y", 4))}, n_samples={"a": most}, seed=seed)
        return [each.query_id for each in mixture.examples()]

    assert len(sampled(0)) == 14
    assert sampled(0) == sampled(0) != sampled(1)
    numbers = [int(query_id[3:]) for query_id in sampled(0)[:10]]
    assert numbers == sorted(set(numbers))
    counts = [sum(f"a/q{n}" in sampled(seed) for seed in range(300)) for n in (0, 9, 10, 49)]
    assert all(35 < count < 85 for count in counts)  # 60 expected: every example is as likely
    assert len(sampled(0, most=1000)) == 54


def test_factors_or_weights_set_the_items_of_an_epoch():
    sources = {"a": Given([]), "b": Given([])}
    items = {"a": 90, "b": 10}
    assert Mixture(sources).taken(items) == items
    assert Mixture(sources, upsample_factor={"b": 3}).taken(items) == {"a": 90, "b": 30}
    assert Mixture(sources, upsample_factor={"a": 0.5}).taken(items) == {"a": 45, "b": 10}
    assert Mixture(sources, weights={"a": 1, "b": 3}).taken(items) == {"a": 25, "b": 75}


def test_queries_that_share_documents_are_held_out_together_across_sources(tmp_path):
    shared = [example(n, f"s{n}") for n in range(10)]
    mixture = Mixture({"a": Given(shared), "b": Given([example(100 + n, f"s{n}") for n in range(10)])})
    rows = read(prepare(mixture, tmp_path))
    for seed in range(5):
        split = hold_out(rows, 0.3, seed=seed)
        texts = {name: {rows[int(r)]["pos"][0][1] for r in getattr(split, name)} for name in ("train", "dev")}
        assert len(split.dev) == 6
        assert not texts["train"] & texts["dev"]


@pytest.mark.parametrize("homogeneous", [False, True])
def test_loading_takes_the_proportions_of_the_mixture(tmp_path, homogeneous):
    mixture = Mixture({"a": Given(several("x", 40)), "b": Given(several("y", 8))}, weights={"a": 1, "b": 1})
    options = LoaderOptions(batch_size=8, dev_size=0, homogeneous=homogeneous)
    data = RetrievalData(mixture, options, home=tmp_path, seed=0)
    data.setup()
    order = data.order(0, 1)
    names = data.rows["source"][:]
    passed = [[names[row] for row in data.items.row_I[order.plan(step).items]] for step in range(len(order))]
    assert sum(sources.count("b") for sources in passed) == sum(map(len, passed)) / 2 == 24
    assert {len(set(sources)) for sources in passed} == ({1} if homogeneous else {2})
    assert len(passed) == 6


def test_the_development_task_is_the_chosen_sources():
    sources = {"a": Given(several("x", 3), asked=("x9",)), "b": Given(several("y", 3))}
    assert Mixture(sources).dev() is None
    assert Mixture(sources, dev_source="a").dev().queries.keys() == {"x9"}
    with pytest.raises(InputError, match=r"data\.dev_source=b: it has no development queries"):
        Mixture(sources, dev_source="b").dev()


def test_the_identity_covers_what_is_prepared():
    sources = {"a": Given(several("x", 3)), "b": Given(several("y", 3))}
    whole = fingerprint_of(Mixture(sources))
    assert fingerprint_of(Mixture(sources, weights={"a": 1, "b": 2})) == whole
    assert fingerprint_of(Mixture(sources, n_samples={"a": 2})) != whole
    assert fingerprint_of(Mixture({"a": sources["a"], "b": Given(several("z", 3))})) != whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": {}}, "sources is empty: add some"),
        ({"sources": {"a": {"path": "x"}}}, r"sources.a=\{'path': 'x'\}: expected named values with a _target_"),
        ({"weights": {"fact": 1}}, r"weights.fact: sources has no 'fact' \(did you mean 'facts'\?\)"),
        ({"n_samples": {"zzz": 1}}, "n_samples.zzz: sources has no 'zzz'; it has hq, facts"),
        ({"dev_source": "hp"}, r"dev_source=hp: sources has no 'hp' \(did you mean 'hq'\?\)"),
        ({"upsample_factor": {"hq": 0}}, "upsample_factor.hq=0: give a number above 0"),
        ({"n_samples": {"hq": 1.5}}, "n_samples.hq=1.5: expected a whole number"),
        ({"weights": {"hq": 1}}, "weights has none for facts"),
        ({"weights": {"hq": 1, "facts": 1}, "upsample_factor": {"hq": 2}}, "both set .*: give one"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Mixture(**{"sources": {"hq": Given([]), "facts": Given([])}, **options})


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """A run on a mixture of a user's own YAML, one of documents and one of the demo corpus."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "conf" / "data").mkdir(parents=True)
    path = written(folder, 30)
    (folder / "conf" / "data" / "mine.yaml").write_text(
        "defaults: [mixture, /data@sources.demo: demo, /data@sources.docs: documents, _self_]\n"
        f"sources: {{docs: {{path: {path}}}}}\nn_samples: {{demo: 40}}\nweights: {{demo: 1, docs: 1}}\n"
    )
    options = (
        "experiment=demo_tiny",
        "data=mine",
        "eval=test_split",
        "loader.homogeneous=true",
        "checkpoint.keep_last=9",
        "trainer.max_steps=5",
        "checkpoint.every_n_steps=2",
        "evaluation.baselines=[]",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = run("train", *options, home=home)
        assert done.status == 0, done.err
        yield done


def test_a_users_own_mixture_is_trained_on_and_evaluated_by_source(trained):
    results = json.loads((trained.folder / "results.json").read_text())["results"]
    assert set(results) == {"demo", "docs"}
    assert json.loads((trained.folder / "data.json").read_text())["sources"]["demo"]["queries"] == 40


def test_a_run_on_a_mixture_is_resumed_bit_for_bit(trained, home):
    from safetensors.torch import load_file

    model = trained.folder / "model" / "model.safetensors"
    whole = load_file(model)
    Path(model).unlink()
    again = run("train", f"resume={trained.folder / 'checkpoints' / 'step_00000002.ckpt'}", home=home)
    assert again.status == 0, again.err
    resumed = load_file(model)
    assert all((whole[key] == resumed[key]).all() for key in whole)


def test_sources_from_the_command_line_are_kept_on_resume(home, tmp_path):
    options = (
        "experiment=demo_tiny",
        "data=mixture",
        "+data@data.sources.demo=demo",
        "+data@data.sources.docs=documents",
        f"data.sources.docs.path={written(tmp_path)}",
        "trainer.max_steps=2",
        "evaluation.baselines=[]",
    )
    done = run("train", *options, home=home)
    assert done.status == 0, done.err
    assert "mixture-demo-docs" in done.err
    again = run("train", f"resume={done.folder}", "data.seed=3", home=home)
    assert again.status == 2
    assert "was trained on the prepared set" in again.err
    assert run("train", f"resume={done.folder}", home=home).status == 0
