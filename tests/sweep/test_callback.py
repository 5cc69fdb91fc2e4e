"""Sweeps: a parent run with a child per job, failed and killed jobs, and resuming."""

import csv
import json

import pytest

from reasonir.errors import InputError
from reasonir.runs.outcome import FAILED, FINISHED, KILLED, JobRecord
from reasonir.sweep.jobs import SweepRecord, title
from reasonir.sweep.summary import Job, groups, other_content
from tests.killing import FLAG
from tests.running import run

SMALL = ("experiment=demo_tiny", "logger=mlflow", "data.variants=1", "evaluation.baselines=[]", "trainer.max_steps=4")
BESIDE_EACH_OTHER = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
KILLING = ("loss._target_=reasonir.loss.cached_contrastive.CachedContrastive,tests.killing.Killing", "seed=1")


def sweep(home, *arguments):
    """Run a sweep: how the command ended, and its folder."""
    before = set((home / "multirun").glob("*"))
    done = run("train", "-m", *SMALL, *arguments, home=home)
    (folder,) = set((home / "multirun").glob("*")) - before
    return done, folder


def statuses(folder):
    return {job.name: JobRecord.read(job).status for job in sorted(folder.glob("[0-9]*"))}


def rows(folder):
    with (folder / "summary.csv").open() as stream:
        return list(csv.DictReader(stream))


def client_of(home):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


@pytest.mark.slow
def test_a_killed_job_leaves_the_others_alone_and_goes_on(tmp_path, capfd):
    (tmp_path / FLAG).touch()
    done, folder = sweep(tmp_path, *KILLING, "checkpoint.every_n_steps=2", *BESIDE_EACH_OTHER)
    assert done.status == 1, done.err
    assert "1 of 2 jobs finished" in done.err
    assert f"python -m reasonir.train resume={folder}" in done.err
    assert statuses(folder) == {"0": FINISHED, "1": KILLED}
    first, second = rows(folder)
    assert first["loss"].endswith("CachedContrastive")
    assert float(first["dev ndcg_at_10"]) == JobRecord.read(folder / "0").value
    assert "killed by SIGKILL" in second["error"]

    client = client_of(tmp_path)
    parent = client.get_run(SweepRecord.read(folder).parent)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["kind"] == "sweep"
    children = {
        entry.info.run_name: entry
        for entry in client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        )
    }
    killed = next(entry for name, entry in children.items() if name.endswith("Killing"))
    assert sorted(entry.info.status for entry in children.values()) == ["FINISHED", "KILLED"]
    assert "killed by SIGKILL" in killed.data.tags["error"]

    (tmp_path / FLAG).unlink()
    refused = run("train", f"resume={folder}", home=tmp_path)
    assert refused.status == 2
    assert f"sweep.json holds {KILLING[0]}, which decides what code runs" in refused.err
    again = run("train", f"resume={folder}", KILLING[0], home=tmp_path)
    assert again.status == 0, again.err
    said = capfd.readouterr().err  # by joblib's processes
    assert "Job 0 finished before: skipped" in said
    assert f"Job 1 is running, its output goes to {folder / '1' / 'output.log'}" in said
    assert f"Job 1 finished: dev nDCG@10 {JobRecord.read(folder / '1').value:.4f}" in said
    assert "Resuming after step 2" in log_of(folder / "1")
    assert "Plan:" in (folder / "0" / "output.log").read_text()  # two that print together couldn't be told apart
    assert statuses(folder) == {"0": FINISHED, "1": FINISHED}
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert client.get_run(killed.info.run_id).info.status == "FINISHED"
    assert len(client.search_runs([parent.info.experiment_id])) == 3
    there = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert there >= {"summary.csv", "summary.md", "summary.png"}
    assert "| reasonir.loss" in client.get_run(parent.info.run_id).data.tags["mlflow.note.content"]


def log_of(folder):
    return (folder / "reasonir-train.log").read_text()


def test_jobs_that_cannot_begin_are_marked_with_their_error(tmp_path):
    done, folder = sweep(tmp_path, "hardware.devices=2,3")
    assert done.status == 2
    assert "jobs of a sweep use one device each" in done.err
    assert {row["status"] for row in rows(folder)} == {"FAILED"}
    client = client_of(tmp_path)
    entries = client.search_runs(
        [client.get_experiment_by_name("reasonir").experiment_id], "attributes.status='FAILED'"
    )
    assert {entry.info.run_name for entry in entries} >= {"devices=2", "devices=3"}
    other = json.loads((folder / "sweep.json").read_text())
    assert other["command"][0] == "-m"


def test_a_continued_sweep_keeps_its_choices(tmp_path):
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from reasonir.sweep.job_process import run_job

    JobRecord(["seed=1"], FINISHED, 0.5).write(tmp_path)
    config = OmegaConf.create({"hardware": {"devices": 1}})
    hydra = OmegaConf.create({"hydra": {"overrides": {"task": ["seed=1"]}}})
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, hydra
    try:
        assert run_job(config, tmp_path, "reasonir.train:work") == 0.5
        hydra.hydra.overrides.task = ["seed=2"]
        with pytest.raises(InputError, match=r"holds a job with other overrides \(seed=1\)"):
            run_job(config, tmp_path, "reasonir.train:work")
    finally:
        instance.cfg = before


def test_a_job_that_is_tried_again_does_not_keep_its_old_error(tmp_path, monkeypatch):
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from reasonir.sweep import job_process

    class Killed:
        """A process that the system ends before it can say anything."""

        exitcode = -9

        def __init__(self, **_):
            self.start = self.join = lambda: None

    monkeypatch.setattr(job_process.multiprocessing.get_context("spawn").__class__, "Process", Killed)
    hydra = {
        "overrides": {"task": ["seed=1"]},
        "launcher": {"_target_": "hydra.BasicLauncher"},
        "sweep": {"dir": str(tmp_path)},
    }
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": hydra}))
    JobRecord(["seed=1"], FAILED, error="no such file").write(tmp_path)
    with pytest.raises(job_process.JobError, match="killed by SIGKILL"):
        job_process.run_job(OmegaConf.create({"hardware": {"devices": 1}}), tmp_path, "reasonir.train:work")
    assert JobRecord.read(tmp_path).status == KILLED
    (tmp_path / job_process.STOPPING).touch()
    with pytest.raises(job_process.JobError, match="stopped before the job started"):
        job_process.run_job(OmegaConf.create({"hardware": {"devices": 1}}), tmp_path, "reasonir.train:work")


def test_jobs_are_named_by_what_tells_them_apart():
    swept = SweepRecord(["-m"], ["experiment=demo", "seed=1,2", "loss.temperature=1,2"])
    mine = ["experiment=demo", "seed=2", "loss.temperature=1", "+model/head=x"]
    assert swept.choices(mine) == {"seed": "2", "temperature": "1", "head": "x"}
    assert swept.choices(["a.path=1", "b.path=2"]) == {"a.path": "1", "b.path": "2"}
    rewritten = SweepRecord(["-m"], ["optim.lr=1e-3", "data.path=/a b", "~callbacks", "+tags.x=1,2", "a=1e-3,0x,c d"])
    job = ["optim.lr=0.001", "data.path=/a\\ b", "~callbacks=null", "+tags.x=1", "a=c\\ d", "model.x=[1,'b c']"]
    assert rewritten.choices(job) == {"tags.x": "1", "a": "c d", "model.x": "[1,'b c']"}
    assert title({"seed": "2", "path": "x"}) == "seed=2 path=x"


def test_seeds_are_averaged_with_their_interval():
    def job(value, status=FINISHED, **choices):
        return Job("0", choices, JobRecord([], status), value)

    jobs = [job(0.4, t="1", seed="1"), job(0.6, t="1", seed="2"), job(0.9, t="2", seed="1")]
    one, other = groups([*jobs, job(0.1, KILLED, t="1", seed="3")])
    assert one.choices == {"t": "1"}
    assert one.mean == pytest.approx(0.5)
    assert one.margin == pytest.approx(12.7062 * 0.1, rel=1e-4)  # t(.975, 1 degree) times the standard error
    assert other.values == [0.9]
    assert other.margin != other.margin


def test_jobs_evaluated_on_other_content_are_neither_averaged_nor_compared_silently():
    def job(name, content, seed):
        return Job(name, {"t": "1", "seed": seed}, JobRecord([], FINISHED), 0.5, content)

    same = [job("0", "ab", "1"), job("1", "ab", "2")]
    assert [group.values for group in groups(same)] == [[0.5, 0.5]]
    assert other_content(same) == ""
    mixed = [*same, job("2", "cd", "3")]
    assert [group.values for group in groups(mixed)] == [[0.5, 0.5], [0.5]]
    assert other_content(mixed).endswith("so not comparable: jobs 0, 1; 2")
