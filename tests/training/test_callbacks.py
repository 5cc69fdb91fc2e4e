"""Files that the training monitor keeps in a run's folder."""

from types import SimpleNamespace

from reasonir.training.callbacks import TrainingMonitor
from reasonir.training.interrupt import Interrupt
from reasonir.training.options import CheckpointOptions, DevEvalOptions, EarlyStoppingOptions


class Trainer(SimpleNamespace):
    """Saves empty checkpoints."""

    is_global_zero = True
    precision_plugin = None

    def save_checkpoint(self, file, weights_only):
        file.write_bytes(b"")


def monitor(folder, *, keep=2, best=None):
    folder.mkdir(exist_ok=True)
    built = TrainingMonitor(
        folder,
        None,
        None,
        Interrupt(),
        checkpoint=CheckpointOptions(keep_last=keep),
        dev_eval=DevEvalOptions(),
        early_stopping=EarlyStoppingOptions(),
    )
    if best is not None:
        built.load_state_dict({"best": 0.5, "best_step": best, "without_improvement": 0})
    return built


def put(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def held(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_run_resumed_from_an_earlier_checkpoint_deletes_the_later_ones(tmp_path):
    """Otherwise they count as the newest: new ones would be deleted, and resume= would take the abandoned ones."""
    put(tmp_path, "step_00000100.ckpt", "step_00000150.ckpt", "best_00000090.safetensors", "best_00000150.safetensors")
    resumed = monitor(tmp_path, best=90)
    resumed.on_train_start(Trainer(global_step=100), None)
    assert held(tmp_path) == ["best_00000090.safetensors", "step_00000100.ckpt"]
    for step in (120, 130):
        resumed._save(Trainer(), step)
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
