"""Everything runs offline, in temporary folders, on small real artefacts: the demo corpus, models of a few layers."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # models this small gain nothing by more, and lose much where cores are shared

from pathlib import Path

import pytest

import reasonir.cli.configuration  # noqa: F401  (registers what YAML files call, for tests that compose)


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A home folder that the tests of a session share: prepared sets and the tiny model are written once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def bert(home) -> Path:
    """A BERT-like checkpoint of two layers."""
    from tests.helpers import tiny_bert

    return tiny_bert(home / "data" / "tiny")


@pytest.fixture(scope="session")
def decoder(home) -> Path:
    """A causal language model of Qwen3's form that knows the chat template and its answers."""
    from tests.helpers import tiny_decoder

    return tiny_decoder(home / "data" / "tiny")


@pytest.fixture(scope="session")
def qwen(home) -> Path:
    """A Qwen3 of two layers, its tokenizer padding on the left as that of Qwen3-Embedding does."""
    from tests.helpers import tiny_qwen

    return tiny_qwen(home / "qwen")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache: a function puts a folder into it under a repository's name."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))

    def put(
        folder: Path, repo: str, kind: str = "model", commit: str = "0123456789abcdef0123456789abcdef01234567"
    ) -> None:
        base = cache / f"{kind}s--{repo.replace('/', '--')}"
        (base / "snapshots").mkdir(parents=True)
        (base / "refs").mkdir()
        (base / "refs" / "main").write_text(commit)
        (base / "snapshots" / commit).symlink_to(folder, target_is_directory=True)

    return put


@pytest.fixture
def composed():
    """Composes a command's configuration: composed("train", "model=tiny")."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from reasonir.config import CONF, VERSION_BASE

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        yield lambda name, *overrides: compose(name, list(overrides))
