"""Subsets and splits of folders and hub repositories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasonir.data.files.dataset_files import dataset_files
from reasonir.errors import InputError

# The layout of sentence-transformers/all-nli, whose README.md declares a configuration per layout of rows.
README = """---
license: other
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/train-*
- config_name: triplet
  data_files:
  - split: train
    path: triplet/train-*
  - split: dev
    path: [triplet/dev-*]
---
# A set
"""
FILES = [
    "pair/train-00000-of-00001.parquet",
    "triplet/train-00000-of-00001.parquet",
    "triplet/dev-00000-of-00001.parquet",
]


def make(folder, names, readme=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    if readme is not None:
        (folder / "README.md").write_text(readme)
    return folder


def names(path, split="train", **options):
    return list(dataset_files(str(path), split=split, **options).names)


def test_the_readme_declares_subsets_and_splits(tmp_path, hub):
    folder = make(tmp_path / "all-nli", FILES, README)
    assert names(folder, subset="triplet") == FILES[1:2]
    assert names(folder, "dev", subset="triplet") == FILES[2:]
    hub(folder, "sentence-transformers/all-nli", kind="dataset")
    found = dataset_files("sentence-transformers/all-nli", split="train", subset="pair")
    assert [file.name for file in found.local()] == ["train-00000-of-00001.parquet"]
    with pytest.raises(InputError, match=r"holds several sets: choose data\.subset from pair, triplet"):
        names(folder)
    with pytest.raises(InputError, match=r"data.subset=pairs: .* \(it has pair, triplet\)"):
        names(folder, subset="pairs")
    with pytest.raises(InputError, match=r"data.split=dev: .*, subset pair, has no such file \(it has train\)"):
        names(folder, "dev", subset="pair")


@pytest.mark.parametrize(
    ("header", "files", "subset", "expected"),
    [
        ("- config_name: default\n  data_files: '*.jsonl'",
         ["a.jsonl", "b.jsonl", "x/c.jsonl"], None, ["a.jsonl", "b.jsonl"]),
        ("- config_name: default\n  data_dir: in", ["in/one.jsonl", "out/two.jsonl"], None, ["in/one.jsonl"]),
        ("- config_name: a\n  data_files: a/**\n- config_name: b\n  default: true\n  data_files: [b/x.csv]",
         ["a/deep/x.csv", "b/x.csv"], None, ["b/x.csv"]),
        ("- config_name: a\n  data_files: a/**\n- config_name: b\n  data_files: [b/x.csv]",
         ["a/deep/x.csv", "b/x.csv"], "a", ["a/deep/x.csv"]),
        ("- config_name: only\n  data_files:\n  - split: train\n    path: ./data/*",
         ["data/t.json"], None, ["data/t.json"]),
    ],
)  # fmt: skip
def test_every_form_of_a_declaration_is_read(tmp_path, header, files, subset, expected):
    folder = make(tmp_path, files, f"---\nconfigs:\n{header}\n---\n")
    assert names(folder, subset=subset) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.jsonl", "train-00000-of-00001.parquet"], ["train.jsonl"]),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-0.parquet"],
         ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], ["train/a.jsonl", "train/b.jsonl"]),
        (["only/train.jsonl", "README.md"], ["only/train.jsonl"]),
        (["sentences_train.csv", "sentences_dev.csv"], ["sentences_train.csv"]),
        (["biology-formatted.jsonl", "aops-formatted.jsonl", "notes.txt"],
         ["aops-formatted.jsonl", "biology-formatted.jsonl"]),
        (["Train.JSONL"], ["Train.JSONL"]),
    ],
)  # fmt: skip
def test_names_tell_the_split_without_a_declaration(tmp_path, files, expected):
    assert names(make(tmp_path, files)) == expected


def test_folders_are_subsets_without_a_declaration(tmp_path):
    folder = make(tmp_path, ["pair/train.jsonl", "triplet/train.jsonl", "reason-0928/a.jsonl", "reason-0928/b.jsonl"])
    assert names(folder, subset="pair") == ["pair/train.jsonl"]
    assert names(folder, subset="reason-0928") == ["reason-0928/a.jsonl", "reason-0928/b.jsonl"]
    with pytest.raises(InputError, match=r"holds several sets: choose data\.subset from pair, triplet"):
        names(folder)
    with pytest.raises(InputError, match=r"\(it has pair, reason-0928, triplet\)"):
        names(folder, subset="triple")


def test_what_cannot_be_a_data_set_is_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    file = make(tmp_path, ["rows.jsonl"]) / "rows.jsonl"
    assert names(file) == ["rows.jsonl"]
    with pytest.raises(InputError, match="is a file, which has no subsets: omit the subset"):
        names(file, subset="pair")
    with pytest.raises(InputError, match="doesn't exist: give a file, a folder, or a hub id"):
        names(tmp_path / "nothing")
    broken = make(tmp_path / "broken", ["train.jsonl"], "---\nconfigs: [\n---\n")
    with pytest.raises(InputError, match=r"README.md: its header isn't readable YAML"):
        names(broken)
    malformed = make(
        tmp_path / "malformed",
        ["train.jsonl"],
        "---\nconfigs:\n- config_name: a\n  data_files: [{split: train}]\n---\n",
    )
    with pytest.raises(InputError, match=r"README.md: the configuration a declares no path for its split train"):
        names(malformed)
    with pytest.raises(InputError, match=r"data.split=train: .* has no such file \(it has test\)"):
        names(make(tmp_path / "other", ["test.jsonl"]))
    with pytest.raises(InputError, match=r"data.split=train: .* has no such file \(it has nothing\)"):
        names(empty)


@pytest.fixture
def served(tmp_path):
    """Address of a server that stands for the hub, with a repository someone/set, and the log of the files it sends."""
    files = [f"{name}/train-0.jsonl" for name in ("pair", "triplet")]
    folder = make(tmp_path / "served", files, README)
    for name in ("pair", "triplet"):
        rows = [{"anchor": f"{name} {number}", "positive": f"p{number}"} for number in range(6)]
        (folder / name / "train-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, str(Path(__file__).parent / "fake_hub.py"), str(folder), "someone/set", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip(), log
        server.kill()


def run(address, home, code):
    """Run Python code in a process whose hub is at `address`, which it reads when it is imported."""
    online = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **online, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


LIST = """
from reasonir.data.triplets import Triplets
print(*[example.query for example in Triplets("someone/set", subset="pair", {options}).examples()], sep="\\n")
"""


def test_only_the_chosen_files_are_downloaded_and_a_stream_downloads_none(tmp_path, served):
    address, log = served
    expected = [f"pair {number}" for number in range(6)]
    assert run(address, tmp_path / "home", LIST.format(options="")) == expected
    sent = {line.split()[1] for line in log.read_text().splitlines()}
    assert sent == {"README.md", "pair/train-0.jsonl"}
    nobody = "http://127.0.0.1:9"
    assert run(nobody, tmp_path / "home", LIST.format(options="")) == expected  # from the cache
    assert run(address, tmp_path / "other", LIST.format(options="stream=True")) == expected
    assert not [file for file in (tmp_path / "other").rglob("*") if file.is_file() and "train-0" in file.name]
