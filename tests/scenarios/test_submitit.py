"""A sweep whose jobs submitit starts, as it would start them on a cluster, on this machine."""

import json

import pytest

from tests.scenarios.test_ddp import LIGHTNING, start


@pytest.mark.slow
def test_a_sweep_by_submitit_leaves_what_any_sweep_leaves(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    tiny = ("experiment=demo_tiny", "data.variants=1", "loader.sample_size=48", "trainer.max_steps=2")
    swept = ("-m", "hydra/launcher=submitit_local", "evaluation.baselines=[]", "seed=1,2")
    start(LIGHTNING, "train", *swept, *tiny, home=tmp_path)
    (sweep,) = (tmp_path / "multirun").iterdir()
    for job in ("0", "1"):
        assert json.loads((sweep / job / "results.json").read_text())["results"]["demo"]["trained"]
        assert (sweep / job / "model").is_dir()
