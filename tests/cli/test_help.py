"""`--help` shows a command's own groups, and its composed keys with their explanations."""

import pytest

from reasonir.cli.help import help_text


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def part(text, title):
    return text.split(f"== {title}")[1].split("==\n")[1].split("\n== ")[0].split("\n\nCommands: ")[0].strip()


def test_a_command_shows_its_examples_and_its_own_groups():
    text = help_text("search", [])
    assert "python -m reasonir.search run=outputs/RUN corpus=FILE.jsonl" in part(text, "Examples")
    assert [line.split(":")[0] for line in part(text, "Groups").splitlines()] == ["hardware", "logger"]
    assert part(help_text("push", []), "Groups") == "(this command has none)"
    assert "python -m reasonir.train model=qwen hardware=t4" in part(help_text("train", []), "Examples")
    trained = part(help_text("train", []), "Groups")
    assert "model/head:          biencoder colbert cross_encoder" in trained
    assert "workload" not in trained


def test_the_keys_are_those_composed_each_with_its_explanation():
    text = part(help_text("train", ["experiment=demo", "model/head=biencoder"]), "Keys")
    assert "  batch_size: 32       # pairs per batch, over all devices together; queries with positives=all\n" in text
    assert "    dimensions: null   # vector sizes to train jointly, [384, 128, 64] (Matryoshka)\n" in text
    assert "  # published checkpoint that `packaged` and `config` describe\n  hub_id: sentence-transformers/" in text
    assert "mining: {}\n" in text
    assert "query_length" not in text
    assert "_target_" not in text


def test_a_users_options_are_listed_and_explained(tmp_path):
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "sharp.yaml").write_text("# Sharp.\nsharpness: 3  # how sharp\n")
    text = help_text("train", ["loss=sharp"])
    assert " sharp " in part(text, "Groups")
    assert "loss:\n  sharpness: 3  # how sharp\n" in part(text, "Keys")
