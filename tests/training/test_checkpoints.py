import logging

import pytest
import torch

from reasonir.errors import InputError
from reasonir.training.checkpoints import AtomicCheckpointIO, checkpoint_name, find_checkpoint, newest, step_of

STATE = {"global_step": 3, "weights": {"a": torch.arange(3.0)}, "hparams": {"lr": 1e-3, "name": ["x"]}}


def test_a_checkpoint_comes_back_and_leaves_nothing_beside_it(tmp_path):
    AtomicCheckpointIO().save_checkpoint(STATE, tmp_path / "c" / checkpoint_name(3))
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "c" / checkpoint_name(3))
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["step_00000003.ckpt"]


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path):
    file = tmp_path / checkpoint_name(3)
    AtomicCheckpointIO().save_checkpoint(STATE, file)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        AtomicCheckpointIO().save_checkpoint({"not": lambda: "savable"}, file)
    assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == 3
    assert list(tmp_path.iterdir()) == [file]


class Evil:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_a_checkpoint_contains_is_executed(tmp_path, capsys):
    torch.save({"global_step": Evil()}, tmp_path / "step_00000001.ckpt")
    with pytest.raises(InputError, match="can't be read"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "step_00000001.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_the_furthest_complete_checkpoint_of_a_folder_is_taken(tmp_path, caplog):
    folder = tmp_path / "checkpoints"
    for step in (4, 8, 12):
        AtomicCheckpointIO().save_checkpoint(STATE, folder / checkpoint_name(step))
    whole = (folder / checkpoint_name(12)).read_bytes()
    (folder / checkpoint_name(12)).write_bytes(whole[: len(whole) // 2])
    (folder / "best_00000099.safetensors").touch()
    with caplog.at_level(logging.WARNING):
        found = find_checkpoint(str(tmp_path))
    assert step_of(found) == 8
    assert "step_00000012.ckpt is incomplete: skipped" in caplog.text
    assert [step_of(file) for file in newest(folder)] == [12, 8, 4]
    assert find_checkpoint(str(folder / checkpoint_name(4))) == folder / checkpoint_name(4)


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(InputError, match="doesn't exist"):
        find_checkpoint(str(tmp_path / "nothing"))
