"""TensorBoard and W&B get what MLflow gets: parameters, metrics, texts, tables and files; W&B without a network."""

import json
import time
from functools import partial

import matplotlib.pyplot as plt
import pytest
import yaml

from reasonir.tracking.base import LOGGER_ID, Loggers
from reasonir.tracking.open import open_tracking
from reasonir.utils.table import TEXT, Table
from tests.commands.test_train import TINY
from tests.running import run

TABLE = Table(
    "Evaluation: demo", {"system": TEXT, "nDCG@10": "{:.4f}"}, [["bm25", 0.25], ["trained", 0.5]], note="Why."
)
FILES = {"config.yaml": "seed: 1\n", "leaderboard.md": "| a |\n|---|\n", "report.html": "<b>report</b>", "x.json": "{}"}


def tracked(folder, **lightning):
    """Track a small run into `folder`, as a training does."""
    loggers = Loggers(lightning=lightning)
    tracking = open_tracking(loggers, folder, experiment_name="e", name="n", folder=folder, tags={"purpose": "test"})
    (folder / "plots").mkdir(exist_ok=True)
    plt.imsave(folder / "plots" / "loss.png", [[0.0, 1.0], [1.0, 0.0]])
    for name, content in FILES.items():
        (folder / name).write_text(content)
    with tracking.closing():
        tracking.parameters({"optim.lr": 0.001})
        for step in (1, 2):
            tracking.metrics({"train/loss": 1.0 / step}, step)
        tracking.dataset("demo", "abc", "a/path", "training")
        tracking.describe("**Demo**")
        tracking.table("results", TABLE)
        for name in FILES:
            tracking.artifact(folder / name)
        tracking.artifact(folder / "plots", "plots")


def test_tensorboard_has_metrics_texts_tables_and_images(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from lightning.pytorch.loggers import TensorBoardLogger

    tracked(tmp_path, tensorboard=partial(TensorBoardLogger, name=None, version="tensorboard"))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    assert [image.width for image in events.Images("plots/loss.png")] == [2]
    texts = {name: events.Tensors(name)[0].tensor_proto.string_val[0].decode() for name in events.Tags()["tensors"]}
    shown = {name.removesuffix("/text_summary"): text for name, text in texts.items()}
    assert shown["description"] == "**Demo**"
    assert "| **trained** " not in shown["results"]
    assert "| trained |  0.5000 |" in shown["results"]
    assert "digest: abc" in shown["dataset/demo"]
    assert "seed: 1" in shown["config.yaml"]
    assert shown["leaderboard.md"].startswith("| a |")
    assert str(tmp_path / "report.html") in shown["report.html"]
    assert yaml.safe_load((tmp_path / "tensorboard" / "hparams.yaml").read_text()) == {"optim.lr": 0.001}


def test_wandb_has_parameters_metrics_tables_and_every_file(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run one"
    folder.mkdir()
    logger = partial(WandbLogger, project="p", name="n", offline=True)
    tracked(folder, wandb=logger)
    (run_folder,) = (folder / "wandb").glob("offline-run-*")
    assert run_folder.name.endswith((folder / LOGGER_ID).read_text())
    saved = run_folder / "files" / "run one"
    assert {str(file.relative_to(saved)) for file in saved.rglob("*") if file.is_file()} == {
        "config.yaml", "leaderboard.md", "report.html", "x.json", "plots/loss.png",
    }  # fmt: skip
    (table,) = (run_folder / "files" / "media" / "table").rglob("*.json")
    assert json.loads(table.read_text()) == {
        "columns": ["system", "nDCG@10"],
        "data": [["bm25", 0.25], ["trained", 0.5]],
    }
    assert list((run_folder / "files" / "media" / "html").rglob("*.html"))
    assert list((run_folder / "files" / "media" / "images").rglob("*.png"))
    recorded = run_folder / f"run-{(folder / LOGGER_ID).read_text()}.wandb"
    deadline = time.monotonic() + 60
    while b"**Demo**" not in recorded.read_bytes():  # W&B's own process writes it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for part in (b"optim.lr", b"train/loss", b"tag/purpose", b"dataset/demo"):
        assert part in recorded.read_bytes(), part
    tracked(folder, wandb=logger)  # resumed: under the same id
    assert len({path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*")}) == 1


def test_a_training_logs_its_results_in_tensorboard(home):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = run("train", *TINY, "trainer.max_steps=2", "logger=tensorboard", "evaluation.baselines=[random]", home=home)
    assert done.status == 0, done.err
    events = accumulator.EventAccumulator(str(done.folder / "tensorboard")).Reload()
    assert {"train/loss", "dev/ndcg_at_10", "eval/demo/ndcg_at_10"} <= set(events.Tags()["scalars"])
    texts = {name.removesuffix("/text_summary") for name in events.Tags()["tensors"]}
    assert {"results", "description", "config.yaml", "report.html", "dataset/demo"} <= texts
    assert "plots/train_loss.png" in events.Tags()["images"]
