import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from reasonir.utils.command_line import command_line, override, quoted

NAMES = [
    *("a", "/tmp/a b", "/tmp/ü", "a,b", "a=b", "[x]", "{x}", "it's", 'a"b', "a'\"b", "#", "$x", "${x}", "\\${x}"),
    *("%20", "a(b)", "a\\b", "a\\", "\\\\", '\\"', "1e-3", "2026", "null", "true", "NaN", "", " a ", "a\nb", "a\tb"),
    *(".", "..", "../x", "~/x", "-a", "+a", "a;b&c|d<e>f!g^h`i*j?", "日本", "${oc.env:HOME}", "a:b", "choice(1,2)"),
    "a\\\\${b}\\",
]


def read(text):
    """The value that a configuration has after an override."""
    parsed = OverridesParser.create().parse_override(text)
    assert not parsed.is_sweep_override()
    assert parsed.key_or_group == "key"
    return OmegaConf.create({"key": parsed.value()}).key


@pytest.mark.parametrize("name", NAMES)
def test_hydra_reads_the_same_string(name):
    assert read(override("key", name)) == name


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12))
def test_hydra_reads_any_string(name):
    assert read(override("key", name)) == name


@given(st.text(st.sampled_from("\\${}\"'a"), max_size=8))
def test_hydra_reads_any_quotes_and_backslashes(name):
    assert read(override("key", name)) == name


def test_usual_paths_stay_readable():
    assert quoted("/tmp/outputs/2026-01-01_12-00-00_minilm-colbert-demo") == (
        "/tmp/outputs/2026-01-01_12-00-00_minilm-colbert-demo"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_command_can_be_pasted(name, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", f"/home of {name}")
    assignment, *words = shlex.split(command_line("train", override("key", name), "seed=1,2"))
    assert assignment == f"REASONIR_HOME=/home of {name}"
    assert words[:3] == ["python", "-m", "reasonir.train"]
    assert (read(words[3]), words[4]) == (name, "seed=1,2")
    assert command_line("sync", home="") == "python -m reasonir.sync"
