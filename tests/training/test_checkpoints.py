import logging

import pytest
import torch

from reasonir.errors import InputError
from reasonir.training.callbacks import TrainingMonitor
from reasonir.training.checkpoints import (
    AtomicCheckpointIO,
    best_name,
    checkpoint_name,
    fault_in,
    find_checkpoint,
    newest,
    step_of,
)
from reasonir.utils.tensor_files import write_tensors

STATE = {
    "global_step": 3,
    "weights": {"a": torch.arange(3.0)},
    "hparams": {"lr": 1e-3, "name": ["x"]},
}


def flip(file, position):
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


@pytest.fixture
def run(tmp_path):
    """A run's folder with checkpoints after 4 and 8 steps; the best weights so far are those of steps 2 and 6."""
    for step, best_step in ((4, 2), (8, 6)):
        weights = {"w": torch.arange(5.0) + step}
        digest = write_tensors(tmp_path / "checkpoints" / best_name(best_step), weights)
        monitor = {"best": 0.5, "best_step": best_step, "best_digest": digest, "without_improvement": 0}
        state = {**STATE, "callbacks": {TrainingMonitor.__qualname__: monitor}}
        AtomicCheckpointIO().save_checkpoint(state, tmp_path / "checkpoints" / checkpoint_name(step))
    return tmp_path


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
    assert "step_00000012.ckpt is skipped: checkpoint" in caplog.text
    assert [step_of(file) for file in newest(folder)] == [12, 8, 4]
    assert find_checkpoint(str(folder / checkpoint_name(4))) == folder / checkpoint_name(4)


def test_a_run_that_ended_before_its_first_checkpoint_begins_again_but_a_finished_one_does_not(tmp_path):
    assert find_checkpoint(str(tmp_path)) is None
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint any more"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(InputError, match="doesn't exist"):
        find_checkpoint(str(tmp_path / "nothing"))


def test_one_flipped_bit_of_the_weights_is_refused_and_what_is_left_is_named(run, caplog):
    file, other = (run / "checkpoints" / checkpoint_name(step) for step in (8, 4))
    assert find_checkpoint(str(run)) == file
    flip(file, file.read_bytes().index(torch.arange(3.0).numpy().tobytes()) + 5)
    with pytest.raises(InputError, match=r"step_00000008\.ckpt can't be read \(damaged: .*checksum") as caught:
        AtomicCheckpointIO().load_checkpoint(file)
    assert f"resume from another one ({other})" in str(caught.value)
    with pytest.raises(InputError, match=r"resume=.*step_00000008\.ckpt can't be read"):
        find_checkpoint(str(file))
    assert find_checkpoint(str(run)) == other
    assert "step_00000008.ckpt is skipped" in caplog.text


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: flip(file, -3), "is damaged"),
        (lambda file: write_tensors(file, {"w": torch.ones(5)}), "holds other weights than the run saved"),
    ],
)
def test_a_checkpoint_whose_best_weights_are_gone_is_not_gone_on_from(run, harm, message):
    last, earlier = (run / "checkpoints" / checkpoint_name(step) for step in (8, 4))
    harm(run / "checkpoints" / best_name(6))
    reason = fault_in(last)
    assert f"{best_name(6)} {message}" in reason
    assert f"resume from another one ({earlier})" in reason
    assert find_checkpoint(str(run)) == earlier
    harm(run / "checkpoints" / best_name(2))
    with pytest.raises(InputError, match="holds only damaged checkpoints") as caught:
        find_checkpoint(str(run))
    assert "start a new run: there is no other checkpoint" in str(caught.value)
