"""Checks of launched processes, and how the leader's folder reaches a rank's command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from reasonir.distributed.launch import in_folder, is_leader, launched, refuse_unlaunchable
from reasonir.errors import InputError
from tests.running import run


@pytest.fixture
def second(monkeypatch):
    """The second of two processes of torchrun."""
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)


def test_a_process_by_itself_leads():
    assert launched() == 1
    assert is_leader()


def test_the_second_rank_joins_a_folder_of_any_name(second, tmp_path):
    folder = tmp_path / 'a "run", of=mine\\'
    assert (launched(), is_leader()) == (2, False)
    overrides = OverridesParser.create().parse_overrides(in_folder(folder))
    assert [override.value() for override in overrides] == [str(folder), None, "rank_1"]


def test_commands_of_one_process_are_refused_on_several(second, tmp_path):
    done = run("prepare", "data=demo", home=tmp_path)
    assert done.status == 2
    assert "start it without torchrun" in done.err
    assert not list(tmp_path.iterdir())


def test_srun_tasks_that_would_each_make_a_folder_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(InputError, match="srun started 2 tasks"):
        refuse_unlaunchable("train", [])
    refuse_unlaunchable("train", ["hydra.run.dir=/shared/run"])
    refuse_unlaunchable("compare", [])


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (("hardware=ddp", "hardware.nodes=2"), "hardware.nodes=2: start every node's processes with torchrun"),
        (("hardware=fsdp",), "fsdp shards over GPUs: choose hardware=ddp"),
    ],
)
def test_ranks_without_a_launcher_are_refused(hardware, message, home):
    done = run("train", "experiment=demo_tiny", *hardware, "hardware.accelerator=cpu", home=home)
    assert done.status == 2
    assert message in done.err
