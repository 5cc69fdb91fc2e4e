"""What the training monitor keeps of a run's folder, and what they measure."""

import multiprocessing
from types import SimpleNamespace

import pytest
import torch

from reasonir.training.callbacks import (
    CheckpointOptions,
    DevEvalOptions,
    EarlyStoppingOptions,
    Interrupt,
    TrainingMonitor,
    peak_memory_gib,
)


class Trainer(SimpleNamespace):
    """Saves empty checkpoints."""

    is_global_zero = True
    precision_plugin = None

    def save_checkpoint(self, file, weights_only):
        file.write_bytes(b"")


def monitor(folder, *, keep=2, best=None):
    folder.mkdir(exist_ok=True)
    found = TrainingMonitor(
        folder,
        None,
        None,
        Interrupt(),
        checkpoint=CheckpointOptions(keep_last=keep),
        dev_eval=DevEvalOptions(),
        early_stopping=EarlyStoppingOptions(),
    )
    if best is not None:
        found.load_state_dict({"best": 0.5, "best_step": best, "without_improvement": 0})
    return found


def put(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def held(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_run_that_goes_on_from_an_earlier_checkpoint_leaves_the_later_ones_behind(tmp_path):
    """Otherwise they count as the newest: what is written now would go, and resume= would take the abandoned ones."""
    put(tmp_path, "step_00000100.ckpt", "step_00000150.ckpt", "best_00000090.safetensors", "best_00000150.safetensors")
    going_on = monitor(tmp_path, best=90)
    going_on.on_train_start(Trainer(global_step=100), None)
    assert held(tmp_path) == ["best_00000090.safetensors", "step_00000100.ckpt"]
    for step in (120, 130):
        going_on._save(Trainer(), step)
    assert held(tmp_path) == ["best_00000090.safetensors", "step_00000120.ckpt", "step_00000130.ckpt"]


def test_the_best_weights_that_a_kept_checkpoint_names_stay_with_it(tmp_path):
    put(tmp_path, "step_00000005.ckpt", "best_00000002.safetensors", "best_00000003.safetensors")
    put(tmp_path, "best_00000006.safetensors")
    monitor(tmp_path, best=6)._save(Trainer(), 6)
    assert held(tmp_path) == [
        "best_00000003.safetensors",
        "best_00000006.safetensors",
        "step_00000005.ckpt",
        "step_00000006.ckpt",
    ]
    monitor(tmp_path, best=6)._save(Trainer(), 7)
    assert held(tmp_path) == ["best_00000006.safetensors", "step_00000006.ckpt", "step_00000007.ckpt"]


def report_peak(pipe):
    pipe.send(peak_memory_gib(torch.device("cpu")))


def test_the_peak_is_this_processs_own_and_not_that_of_the_one_that_started_it():
    pytest.importorskip("resource")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    large = torch.ones(400 * 2**20, dtype=torch.uint8)  # more than a process needs to import torch
    process = multiprocessing.get_context("spawn").Process(target=report_peak, args=(theirs,))
    process.start()
    child = ours.recv()
    process.join()
    assert peak_memory_gib(torch.device("cpu")) - child > 0.9 * large.numel() / 2**30 - 0.2
    assert child > 0.05
