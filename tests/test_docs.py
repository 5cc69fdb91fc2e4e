"""The site: complete without a network, and every option of every group on its page."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reasonir.config import CONF

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def configuration():
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_has_an_entry_that_says_what_it_is(configuration):
    page = configuration.page()
    for group in configuration.groups():
        for file in (CONF / group).glob("*.yaml"):
            (entry,) = re.findall(rf"^### {re.escape(group)}={re.escape(file.stem)}\n\n(.+)$", page, re.MULTILINE)
            assert len(entry) > 10, file


def test_every_key_is_explained(configuration):
    rows = re.findall(r"^\| `(.+?)` \| .* \|(.*)\|$", configuration.page(), re.MULTILINE)
    assert len(rows) > 1000
    assert [key for key, explanation in rows if len(explanation.strip()) < 4] == []


def test_every_command_has_a_section(configuration):
    commands = {file.stem for file in CONF.glob("*.yaml")}
    assert set(configuration.COMMANDS) == commands
    for command in commands:
        assert f"### reasonir.{command}\n" in configuration.page()


def test_the_site_is_built_strictly_and_takes_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert tmp_path / "configuration" / "index.html" in pages
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe|link(?! rel="canonical"))[^>]*(?:src|href)="(\w+://[^"]*)', page.read_text()
        )
        assert not loaded, page


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_other_pages_link_to_is_there(name):
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
