"""Wheels for a machine without a network: what it lacks, from the locks, by their hashes."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CUDA = ("torch", "triton", "nvidia-cublas", "nvidia-cufft", "numpy", "safetensors", "pyyaml", "jinja2")
NEEDED = ("hydra-core", "antlr4-python3-runtime", "lightning", "pylate", "pytest", "datasets", "pyarrow", "psutil")


@pytest.fixture(scope="module")
def wheelhouse():
    spec = importlib.util.spec_from_file_location("wheelhouse", ROOT / "tools" / "wheelhouse.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def linux(wheelhouse):
    return wheelhouse.environment("3.12")


def test_what_a_cuda_machine_lacks_is_brought(wheelhouse, linux):
    wanted = wheelhouse.needed(linux, {})
    assert wanted >= {*NEEDED, "transformers", "tokenizers"}
    assert not wanted & {*CUDA, *wheelhouse.UNUSED}
    assert wanted <= wheelhouse.pins("requirements.lock", linux).keys()


def test_what_the_machine_has_is_left_out_if_its_version_suits(wheelhouse, linux):
    present = wheelhouse.versions(
        "pyarrow==24.0.0\nlightning==2.5.0\nsentence-transformers==6.0.1\nTransformers==5.17.0\nscipy @ file:///scipy\n"
    )
    assert present == {
        "pyarrow": "24.0.0",
        "lightning": "2.5.0",
        "sentence-transformers": "6.0.1",
        "transformers": "5.17.0",
    }
    left_out = wheelhouse.needed(linux, {}) - wheelhouse.needed(linux, present)
    assert left_out == {"pyarrow"}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-peers.lock"])
def test_entries_of_a_lock_are_those_of_the_machine_with_their_hashes(wheelhouse, linux, lock):
    pins = wheelhouse.pins(lock, linux)
    older = wheelhouse.pins(lock, wheelhouse.environment("3.11"))
    assert pins["numpy"].split()[0] != older["numpy"].split()[0]
    assert "colorama" not in wheelhouse.pins("requirements-peers.lock", linux)  # for Windows alone
    for entry in pins.values():
        assert re.fullmatch(r"[\w.-]+==\S+( --hash=sha256:[0-9a-f]{64})+", entry)


def test_no_address_of_an_index_is_written(wheelhouse):
    text = (ROOT / "tools" / "wheelhouse.py").read_text() + (ROOT / "Makefile").read_text()
    assert not re.search(r"--(?:extra-)?index-url|://", text)
