"""Threads take turns in the order of asking, and end where their time is over or nobody waits."""

import threading
import time

import pytest

from reasonir.publishing.turns import Deadline, GoneError, TooLateError, Turns


def waiting(turns, count):
    while len(turns._queue) < count:
        time.sleep(0.001)


def test_one_works_at_a_time_and_those_who_wait_go_first():
    turns, order, working = Turns(), [], []
    started = threading.Event()

    def work(name, parts):
        with turns.taken(Deadline(60)):
            started.set()
            for number in range(parts):
                working.append(name)
                assert working == [name]
                order.append((name, number))
                if name == "large" and number == 0:
                    waiting(turns, 3)
                working.remove(name)
                turns.pass_on()

    threads = [threading.Thread(target=work, args=("large", 5))]
    threads[0].start()
    started.wait()
    for number, name in enumerate(("small", "medium"), 2):
        threads.append(threading.Thread(target=work, args=(name, number - 1)))
        threads[-1].start()
        waiting(turns, number)
    for thread in threads:
        thread.join()
    assert order[:3] == [("large", 0), ("small", 0), ("medium", 0)]
    assert [number for name, number in order if name == "large"] == [0, 1, 2, 3, 4]
    assert not turns._queue


def test_work_ends_at_its_next_part():
    turns = Turns()
    given_up = Deadline(60)
    with pytest.raises(GoneError), turns.taken(given_up):
        turns.pass_on()
        given_up.give_up()
        turns.pass_on()
    with pytest.raises(TooLateError), turns.taken(Deadline(0.01)):
        time.sleep(0.02)
        turns.pass_on()
    with pytest.raises(TooLateError), turns.taken(Deadline(-1)):
        pytest.fail("it was too late to begin")
    assert not turns._queue
    turns.pass_on()  # a thread without a turn, as in a notebook
