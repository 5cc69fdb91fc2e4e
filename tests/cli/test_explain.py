"""Explanations come from comments, and an option has those of what it builds on."""

from reasonir.cli.explain import explained_keys, groups, introduction, option_file, own_keys
from reasonir.config import CONF


def test_keys_come_with_their_defaults_and_comments():
    text = """# A loss.
defaults: [other, _self_]
_target_: reasonir.hardware.Hardware
name: "a # b"  # what it is | called
accelerator: cpu
nested:
  deep: [1, 2]  # two
  empty:
hydra:
  job: x  # not ours
"""
    assert list(own_keys(text)) == [
        ("name", '"a # b"', "what it is | called"),
        ("accelerator", "cpu", ""),
        ("nested.deep", "[1, 2]", "two"),
    ]


def test_what_an_option_builds_on_is_part_of_it():
    keys = explained_keys(CONF / "model" / "qwen.yaml")
    assert keys["lora.rank"] == ("0", "0 trains the backbone itself")
    assert keys["lr"] == ("1.0e-5", "peak learning rate that suits the backbone; optim.lr reads it")
    assert explained_keys(CONF / "train.yaml")["evaluation.top_k"] == ("1000", "documents per query in a ranking")


def test_a_users_option_is_explained_by_what_it_builds_on(tmp_path, monkeypatch):
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    file = tmp_path / "conf" / "loss" / "sharp.yaml"
    file.write_text("defaults: [cached_contrastive, _self_]\ntemperature: 0.01\n")
    monkeypatch.chdir(tmp_path)
    assert option_file("loss/sharp") == file
    assert explained_keys(file)["temperature"] == ("0.01", "divides the scores; by default the head's")


def test_an_introduction_is_a_description_and_commands():
    assert introduction("# @package _global_\n# The demo.\n#   python -m x\n# On two cores.\nkey: 1\n# later\n") == (
        "The demo. On two cores.",
        ["python -m x"],
    )


def test_groups_are_those_of_options():
    assert {"model", "model/head", "eval/instructions", "experiment"} <= set(groups())
    assert not [group for group in groups() if group.startswith(("base", "hydra"))]
