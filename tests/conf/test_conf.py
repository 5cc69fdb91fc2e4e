"""Every YAML composes and binds, and lies where its code lies."""

import importlib
import subprocess
import sys
import time
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

import pytest
import yaml

from reasonir.cli.arguments import config_errors
from reasonir.cli.check import problems
from reasonir.config import CONF, flatten, run_folder, strip_targets, user_conf

GROUPS = (
    "data",
    "eval",
    "eval/instructions",
    "hardware",
    "index",
    "loss",
    "mining",
    "teacher",
    "model",
    "model/head",
    "model/prompts",
    "debug",
    "experiment",
)
GIVEN = {
    "data": ["data.path=x"],
    "eval": ["eval.path=x"],
    "eval/instructions": ["eval=bright"],
    "model": ["model.path=x"],
}
REQUIRED = {
    "compare": ["runs=[a,b]"],
    "search": ["run=a", "corpus=b"],
    "serve": ["run=a"],
    "push": ["run=a", "to=b"],
    "sync": ["run=a"],
}
"""What a command can't do without, by command."""
NEEDED = {
    ("loss", "provence"): ["model/head=provence"],
    ("loss", "margin_mse"): ["loss.target=bge"],
    ("loss", "sum"): ["+loss@loss.terms.bce=bce"],
    ("data", "mixture"): ["+data@data.sources.demo=demo"],
    ("eval", "beir"): ["eval.path=x"],
    ("eval", "mteb"): ["eval.tasks=[SciFact]"],
    ("eval", "pipeline"): ["eval.collection.path=x"],
    ("eval", "geometry"): ["model/head=biencoder"],
    ("index", "faiss"): ["model/head=biencoder"],
    ("index", "inverted"): ["model/head=splade"],
    **{("loss", loss): ["model/head=gaussian"] for loss in ("gaussian", "sigreg", "variance")},
    **{("loss", loss): ["model/head=biencoder"] for loss in ("covariance", "four_directions", "margin")},
    **{("loss", loss): ["model/head=splade"] for loss in ("flops", "splade")},
}
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for child in node.values():
            yield from targets(child)


def chosen(group, option):
    """Overrides that choose an option, with what it can't do without."""
    text = (CONF / group / f"{option}.yaml").read_text()
    needed = [word for word in GIVEN.get(group, []) if "path: ???" in text or not word.endswith("=x")]
    needed += [f"{key}=x" for key in ("data.path", "eval.path") if group == "experiment" and f"{key}=" in text]
    return [f"{group}={option}", *needed, *NEEDED.get((group, option), [])]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_binds(composed, group, option):
    config = composed("train", *chosen(group, option))
    found = problems(config)
    if (group, option) == ("index", "bm25"):
        assert found == ["index=reasonir.index.bm25.Bm25 searches words, not the model's vectors: choose index=exact"]
    elif (group, option) == ("index", "plaid") and not find_spec("fast_plaid"):
        assert len(found) == 1
        assert found[0].startswith("index=plaid needs fast_plaid, which isn't installed here: pip install fast-plaid")
    else:
        assert found == []


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "prepare", "mine", "bench", "compare", "search", "serve", "push", "sync"]
)
def test_every_command_composes_and_binds(composed, command):
    assert problems(composed(command, *REQUIRED.get(command, []))) == []


@pytest.mark.parametrize(
    ("group", "option"),
    [pair for pair in OPTIONS if pair[0] in ("data", "eval", "index", "loss", "mining", "teacher", "model/head")],
)
def test_the_trees_mirror_each_other(group, option):
    """conf/<group>/<name>.yaml builds something of reasonir/<group>/<name>.py."""
    if (group, option) in (("eval", "bright_mteb"), ("data", "open_provence"), ("data", "open_provence_ja")):
        return  # another protocol of eval/bright.py, mixtures of data/context_relevance.py
    if group == "eval" and "/base/beir@_here_" in (CONF / group / f"{option}.yaml").read_text():
        option = "beir"  # sets in its layout
    (base, *_) = yaml.safe_load((CONF / group / f"{option}.yaml").read_text()).get("defaults", [""])
    if group == "data" and base in ("triplets", "beir"):
        option = base  # a set by name
    (first, *_) = targets(yaml.safe_load((CONF / group / f"{option}.yaml").read_text()))
    expected = f"reasonir.{group.replace('/', '.')}.{option}{'_' if iskeyword(option) else ''}"
    assert first.startswith(f"{expected}.")
    importlib.import_module(expected)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "eval"])
def test_every_benchmark_has_what_benchmarks_have(option):
    (target, *_) = targets(yaml.safe_load((CONF / "eval" / f"{option}.yaml").read_text()))
    module, name = target.rsplit(".", 1)
    benchmark = getattr(importlib.import_module(module), name)
    assert [member for member in ("groups", "leaderboard", "tasks") if not hasattr(benchmark, member)] == []


def test_every_file_starts_with_what_it_is():
    for file in CONF.rglob("*.yaml"):
        if "hydra" not in file.parts:
            assert file.read_text().startswith("# "), file


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
def test_the_readmes_command_composes(composed, head):
    config = composed("train", "model=qwen", "hardware=t4", f"model/head={head}")
    assert problems(config) == []
    assert config.model.path == "Qwen/Qwen3-Embedding-0.6B"
    assert config.hardware.precision == "16-mixed"


def test_a_user_adds_yaml_files_without_a_fork(tmp_path, monkeypatch):
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "sharp.yaml").write_text(
        "defaults: [cached_contrastive, _self_]\ntemperature: 0.01\n"
    )
    monkeypatch.chdir(tmp_path)
    assert user_conf() == [f"file://{tmp_path / 'conf'}"]
    assert config_errors("train", ["loss=sharp", "logger=csv"]) == []
    assert "did you mean 'sharp'" in config_errors("train", ["loss=sharpp"])[0]


def test_our_own_folder_is_no_users_folder(monkeypatch):
    monkeypatch.chdir(CONF.parent)
    assert user_conf() == []


def test_a_run_is_resumed_in_its_own_folder():
    assert run_folder("outputs/a", "outputs", "new") == "outputs/a"
    assert run_folder("outputs/a/checkpoints/step_00000004.ckpt", "outputs", "new") == "outputs/a"


def test_runs_of_one_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda pattern: "2026-11-26_05-30-49")
    folders = [Path(run_folder(None, str(tmp_path / "outputs"), "demo")) for _ in range(3)]
    names = ["2026-11-26_05-30-49_demo", "2026-11-26_05-30-49_demo_2", "2026-11-26_05-30-49_demo_3"]
    assert [folder.name for folder in folders] == names
    assert all(folder.is_dir() for folder in folders)
    assert run_folder(None, str(tmp_path / "multirun")) == str(tmp_path / "multirun" / "2026-11-26_05-30-49")


def test_a_folder_that_cannot_be_made_is_named_all_the_same(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "unmounted")
    (tmp_path / "file").touch()
    for parent in (tmp_path / "gone", tmp_path / "file"):
        folder = Path(run_folder(None, str(parent), "demo"))
        assert folder.parent == parent
        assert not folder.exists()


def test_nested_values_are_flattened_and_targets_left_out():
    assert flatten(strip_targets({"a": {"_target_": "x", "b": {"c": 1}}, "d": [2]})) == {"a.b.c": 1, "d": [2]}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--info", "defaults-tree"], ["-sc", "query=bash"]]
)
def test_looking_around_needs_nothing_heavy(arguments, tmp_path):
    """The time is the machine's; what is asked here is that no heavy package is imported for it."""
    script = (
        "import sys; sys.argv = ['reasonir-train', *sys.argv[1:]]\n"
        "from reasonir.train import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = {'torch', 'lightning', 'transformers', 'mlflow', 'datasets'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "COMP_LINE": "reasonir-train model=", "COMP_POINT": "21"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert len(done.stdout) > 50 or "-sc" in arguments
    assert time.perf_counter() - started < 60
    if "-sc" in arguments:
        assert "model=minilm" in done.stdout
