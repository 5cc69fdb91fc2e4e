"""Calls that can't be made now: they are kept in order, tried again without long waits, and lost by nothing."""

import json
import time

import pytest

from reasonir.errors import InputError
from reasonir.tracking import outbox
from reasonir.tracking.outbox import UNDELIVERED, Outbox


class Service:
    """Makes calls: fails those in `failing`, or all while it is locked."""

    def __init__(self, monkeypatch):
        self.made, self.failing, self.locked, self.patience = [], set(), False, []
        monkeypatch.setattr(outbox, "blocked", self.blocked)

    def blocked(self, home, patience=0.0):
        self.patience.append(patience)
        return "mlflow.db is locked" if self.locked else None

    def make(self, call):
        if call["call"] in self.failing:
            raise OSError(f"no {call['call']} now\nand more")
        self.made.append(call["call"])
        return {"call": call["next"]} if "next" in call else None


@pytest.fixture
def service(monkeypatch):
    return Service(monkeypatch)


def opened(service, folder):
    return Outbox(folder, folder, service.make)


def send(box, *names):
    for name in names:
        box.send({"call": name})


def kept(folder):
    file = folder / UNDELIVERED
    return [json.loads(line)["call"] for line in file.read_text().splitlines()] if file.exists() else []


def test_calls_are_made_at_once_and_leave_nothing(service, tmp_path):
    send(opened(service, tmp_path), "a", "b")
    assert service.made == ["a", "b"]
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_call_waits_for_a_locked_database_and_the_next_chance_makes_all(service, tmp_path, caplog):
    box = opened(service, tmp_path)
    service.locked = True
    send(box, "a", "b", "c")
    assert max(service.patience) == outbox.PATIENCE
    assert service.patience.count(outbox.PATIENCE) == 1
    assert (kept(tmp_path), box.failure) == (["a", "b", "c"], "mlflow.db is locked")
    assert caplog.text.count("Calls to MLflow fail and are stored in") == 1
    service.locked = False
    send(box, "d")
    assert service.made == ["a", "b", "c", "d"]
    assert (kept(tmp_path), box.failure) == ([], None)


def test_a_call_that_fails_does_not_hold_up_the_others(service, tmp_path):
    box = opened(service, tmp_path)
    service.failing = {"artifact"}
    send(box, "artifact", "metrics", "end")
    box.flush(outbox.LAST_PATIENCE)
    assert service.made == ["metrics", "end"]
    assert (kept(tmp_path), box.failure) == (["artifact"], "artifact: OSError: no artifact now")
    service.failing = set()
    box.flush(outbox.LAST_PATIENCE)
    assert service.made == ["metrics", "end", "artifact"]
    assert kept(tmp_path) == []


def test_nothing_is_made_before_the_run_is_opened(service, tmp_path):
    box = opened(service, tmp_path)
    service.failing = {outbox.OPEN}
    box.open({"run_id": None})
    send(box, "metrics")
    assert service.made == []
    assert kept(tmp_path) == [outbox.OPEN, "metrics"]


def test_a_run_is_created_once_and_first(service, tmp_path):
    service.locked = True
    first = opened(service, tmp_path)
    first.open({"run_id": None})
    send(first, "metrics")
    again = opened(service, tmp_path)
    again.open({"run_id": None})
    assert kept(tmp_path) == [outbox.OPEN, "metrics"]
    again.forget(lambda call: call["call"] == outbox.OPEN)
    again.open({"run_id": None})  # of a run that MLflow doesn't know any more
    assert kept(tmp_path) == [outbox.OPEN, "metrics"]


def test_trying_again_takes_a_small_share_of_the_time(service, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def fails_slowly(call):
        now[0] += 6.0
        raise OSError("no answer")

    box, lost = Outbox(tmp_path, tmp_path, fails_slowly), []
    for _ in range(1000):
        now[0] += 1.0
        before = now[0]
        send(box, "artifact")
        lost.append(now[0] - before)
    assert max(lost) == 12.0  # two of them are more than the patience
    assert sum(lost[1:]) < 0.15 * now[0]
    assert len(kept(tmp_path)) == 1000


def test_a_call_that_follows_takes_the_place_of_its_first(service, tmp_path):
    box = opened(service, tmp_path)
    service.failing = {"register"}
    box.send({"call": "log", "next": "register"})
    assert (service.made, kept(tmp_path)) == (["log"], ["register"])
    service.failing = set()
    box.flush(1.0)
    assert service.made == ["log", "register"]


def test_another_process_makes_what_is_left(service, tmp_path):
    service.locked = True
    send(opened(service, tmp_path), "a", "b")
    with (tmp_path / UNDELIVERED).open("a") as stream:
        stream.write('{"call": "c"')  # the power was cut
    service.locked = False
    box = opened(service, tmp_path)
    send(box, "d")
    assert service.made == ["a", "b", "d"]
    assert kept(tmp_path) == []


def test_a_damaged_line_is_named(service, tmp_path):
    (tmp_path / UNDELIVERED).write_text('{"call": "a"}\nwhat is this\n{"call": "b"}\n')
    with pytest.raises(InputError, match=r"undelivered.jsonl, line 2 is no call to MLflow .+: remove the line"):
        opened(service, tmp_path)


@pytest.mark.parametrize("where", ["waiting", "making"])
def test_an_interrupted_call_is_kept(service, tmp_path, monkeypatch, where):
    def interrupted(*_):
        raise KeyboardInterrupt

    box = opened(service, tmp_path)
    if where == "waiting":
        monkeypatch.setattr(outbox, "blocked", interrupted)
    else:
        service.make = interrupted
        box = opened(service, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        send(box, "metrics")
    assert kept(tmp_path) == ["metrics"]
    monkeypatch.setattr(outbox, "blocked", service.blocked)
    service.locked = True
    service.patience.clear()
    send(box, "end")
    assert service.patience == [0.0]  # who stops a run doesn't wait again
    assert kept(tmp_path) == ["metrics", "end"]


def test_a_disk_that_is_full_for_the_file_as_well_does_not_raise(service, tmp_path, monkeypatch, caplog):
    def full(_):
        raise OSError(28, "No space left on device")

    box = opened(service, tmp_path)
    service.locked = True
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "atomic_path", full)
        send(box, "a", "b")
    assert "can't be written ([Errno 28] No space left on device): 2 calls wait in memory" in caplog.text
    send(box, "c")
    assert kept(tmp_path) == ["a", "b", "c"]
    service.locked = False
    send(box, "d")
    assert service.made == ["a", "b", "c", "d"]
