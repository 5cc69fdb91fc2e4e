"""State files: whatever happens to one, the message names the file, the fault and the remedy."""

import logging
import re

import pytest

from reasonir.errors import InputError
from reasonir.utils.state import (
    cached_folder,
    fault_of,
    read_json,
    read_state_yaml,
    seal,
    sums_of,
    write_json,
    write_yaml,
)

DOCUMENT = {"name": "Tübingen", "values": [1, 2.5, None, True], "nested": {"3": {"deep": "x"}}}
VALUES = {"lr": 1e-05, "name": "Zürich", "sources": [{"path": "a b"}]}


def test_a_document_comes_back_without_its_checksum(tmp_path):
    write_json(tmp_path / "a" / "plan.json", DOCUMENT)
    assert read_json(tmp_path / "a" / "plan.json", remedy="x", keys=("name",)) == DOCUMENT
    write_json(tmp_path / "numbers.json", {1: float("inf"), 2: (1, 2)})
    assert read_json(tmp_path / "numbers.json", remedy="x") == {"1": float("inf"), "2": [1, 2]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "holds nothing instead of a JSON object"),
        (lambda text: " \n", "holds nothing"),
        (lambda text: text[: len(text) // 2], "not (valid|usable as) JSON"),
        (lambda text: "\0" * len(text), "not (valid|usable as) JSON"),
        (lambda text: "[" * 100_000, "in each other"),
        (lambda text: "[]", "holds a list instead of a JSON object"),
        (lambda text: "{}", "lacks the entry 'name'"),
        (lambda text: text.replace("2.5", "2.6"), r"isn't as it was written .*delete its entry \"sha256\""),
        (lambda text: text.replace('"deep"', '"deer"'), "isn't as it was written"),
        (lambda text: re.sub('"sha256": "..', '"sha256": "zz', text), "isn't as it was written"),
    ],
)
def test_a_damaged_document_is_named_with_its_fault_and_the_remedy(tmp_path, damage, message):
    file = tmp_path / "plan.json"
    write_json(file, DOCUMENT)
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_json(file, remedy="copy it again", keys=("name", "values"))
    assert str(caught.value).startswith(str(file))
    assert "copy it again" in str(caught.value)


def test_bytes_that_are_no_text_and_folders_are_named(tmp_path):
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe{}")
    (tmp_path / "data.json").mkdir()
    for name in ("plan.json", "data.json"):
        with pytest.raises(InputError, match=rf"{name}.* (can't be read|JSON)"):
            read_json(tmp_path / name, remedy="x")


def test_a_document_of_an_earlier_version_or_changed_on_purpose_is_read(tmp_path):
    (tmp_path / "plan.json").write_text('{"name": "x"}')
    assert read_json(tmp_path / "plan.json", remedy="x") == {"name": "x"}


def test_yaml_comes_back_and_other_tools_read_it(tmp_path):
    import yaml

    write_yaml(tmp_path / "config.yaml", VALUES)
    assert read_state_yaml(tmp_path / "config.yaml", dict, "configuration", remedy="x") == VALUES
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == VALUES


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "is no list of overrides .it holds nothing"),
        (lambda text: "seed: 1", "is no list of overrides .it holds a dict"),
        (lambda text: text[:-8], "isn't as it was written .*delete its first line"),
        (lambda text: text.replace("1e-5", "1e-4"), "isn't as it was written"),
        (lambda text: text.replace("sha256: ", "sha256: 0"), "isn't as it was written"),
        (lambda text: "\x07" + text, "can't be read as YAML"),
    ],
)
def test_a_damaged_list_of_overrides_is_named(tmp_path, damage, message):
    file = tmp_path / "overrides.yaml"
    file.write_text("- model=tiny\n- optim.lr=1e-5\n- data=demo\n")
    seal(file)
    sealed = file.read_text()
    seal(file)
    assert file.read_text() == sealed
    assert read_state_yaml(file, list, "list", remedy="x") == ["model=tiny", "optim.lr=1e-5", "data=demo"]
    file.write_text(damage(sealed))
    with pytest.raises(InputError, match=message):
        read_state_yaml(file, list, "list of overrides", remedy="copy it again")


def test_every_flipped_bit_of_a_state_file_is_refused_or_without_effect(tmp_path):
    write_json(tmp_path / "plan.json", DOCUMENT)
    write_yaml(tmp_path / "config.yaml", VALUES)
    readers = {
        "plan.json": (DOCUMENT, lambda file: read_json(file, remedy="x", keys=DOCUMENT)),
        "config.yaml": (VALUES, lambda file: read_state_yaml(file, dict, "configuration", remedy="x")),
    }
    for name, (expected, read) in readers.items():
        whole = (tmp_path / name).read_bytes()
        for bit in range(8 * len(whole)):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            (tmp_path / name).write_bytes(changed)
            try:
                found = read(tmp_path / name)
            except InputError:
                continue
            assert {key: found[key] for key in expected} == expected, (name, bit)


def test_sums_name_the_first_difference(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    sums = sums_of([tmp_path / "b", tmp_path / "a"], tmp_path)
    assert fault_of(tmp_path, sums) is None
    (tmp_path / "b").write_text("c")
    assert "b has SHA-256 2e7d2c03a9507ae2... instead of" in fault_of(tmp_path, sums)
    (tmp_path / "b").write_text("bb")
    assert "b has 2 bytes instead of 1" in fault_of(tmp_path, sums)
    (tmp_path / "b").unlink()
    assert "b is missing" in fault_of(tmp_path, sums)
    assert "a has no readable checksum (3)" in fault_of(tmp_path, {"a": 3})


def test_a_cached_folder_is_written_once_and_again_when_it_is_damaged(tmp_path, caplog):
    written = []

    def write(folder):
        written.append(folder)
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text("content")

    cached_folder(tmp_path / "cache", write)
    cached_folder(tmp_path / "cache", write)
    assert len(written) == 1
    for damage in (
        lambda folder: (folder / "part" / "file").write_text("contend"),
        lambda folder: (folder / "part" / "file").unlink(),
        lambda folder: (folder / "checksums.json").write_text("{"),
    ):
        damage(tmp_path / "cache")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            cached_folder(tmp_path / "cache", write)
        assert caplog.text.count("the cache is written again") == 1
        assert (tmp_path / "cache" / "part" / "file").read_text() == "content"
    (tmp_path / "own").mkdir()
    cached_folder(tmp_path / "own", write)
    assert list((tmp_path / "own").iterdir()) == []
