"""What processes of a launcher may do, and how the first one's folder reaches a command line."""

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


def test_the_second_of_two_follows_into_a_folder_of_any_name(second, tmp_path):
    folder = tmp_path / 'a "run", of=mine\\'
    assert (launched(), is_leader()) == (2, False)
    said = OverridesParser.create().parse_overrides(in_folder(folder))
    assert [override.value() for override in said] == [str(folder), None, "rank_1"]


def test_commands_of_one_process_are_refused_on_several(second, tmp_path):
    done = run("prepare", "data=demo", home=tmp_path)
    assert done.status == 2
    assert "start it without torchrun" in done.err
    assert not list(tmp_path.iterdir())


def test_tasks_of_srun_are_refused_where_each_would_make_a_folder_of_its_own(monkeypatch):
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
def test_ranks_that_nothing_brings_together_are_refused(hardware, message, home):
    done = run("train", "experiment=demo_tiny", *hardware, "hardware.accelerator=cpu", home=home)
    assert done.status == 2
    assert message in done.err
