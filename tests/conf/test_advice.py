"""Keys that messages and documentation tell to give are keys that can be given."""

import re
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig

from reasonir.config import CONF, PACKAGE

GROUPS = ("data", "model", "loss", "eval", "mining", "teacher", "index", "hardware")
NODES = ("loader", "lengths", "optim", "trainer", "checkpoint", "dev_eval", "early_stopping", "evaluation")
ADVICE = re.compile(rf"(?<![\w.@+~-])((?:{'|'.join((*GROUPS, *NODES))})(?:\.[a-z_0-9]+)+)=")
OPEN = re.compile(r"data\.(sources|columns\.\w+)|loss\.(terms|weights)|eval\.reference|model\.lora\.targets")
"""Keys below which a user gives names of his own."""
ELSEWHERE = {"teacher.run", "loss.strength"}
"""A key that teacher= gains when it is given, and one of a loss that docs/extending.md writes."""


def keys(node, prefix=""):
    yield prefix
    if isinstance(node, DictConfig) and not node._is_none():
        for key in map(str, node):
            child = node._get_node(key)
            yield from keys(child, f"{prefix}.{key}" if prefix else key)
    elif isinstance(node, ListConfig):
        return


@pytest.fixture(scope="module")
def known():
    """Every key of every option of every group, as overrides name them."""
    from hydra import compose, initialize_config_dir

    from reasonir.config import VERSION_BASE

    GlobalHydra.instance().clear()
    found = set()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        for group in (*GROUPS, "model/head", "eval/instructions"):
            for file in (CONF / group).glob("*.yaml"):
                more = ["eval=bright"] if group == "eval/instructions" else []
                found.update(keys(compose("train", [*more, f"{group}={file.stem}"])))
        found.update(keys(compose("train", ["teacher=reranker", "model@teacher.model=gte_reranker"])))
        found.update(keys(compose("train", ["eval=pipeline", "index=exact"])))
    return found


def texts():
    for folder, pattern in ((PACKAGE, "*.py"), (CONF, "*.yaml"), (CONF.parent / "docs", "*.md")):
        for file in sorted(folder.rglob(pattern)):
            yield file, file.read_text(encoding="utf-8")
    yield CONF.parent / "README.md", (CONF.parent / "README.md").read_text(encoding="utf-8")


def test_every_key_that_is_advised_exists(known):
    unknown = {
        f"{Path(file).name}: {key}"
        for file, text in texts()
        for key in ADVICE.findall(text)
        if key not in known and not OPEN.match(key) and key not in ELSEWHERE
    }
    assert unknown == set()
