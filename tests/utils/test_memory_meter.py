import multiprocessing

import pytest
import torch

from reasonir.utils.memory_meter import peak_memory_gib


def report_peak(pipe):
    pipe.send(peak_memory_gib(torch.device("cpu")))


def test_the_peak_is_of_this_process_and_not_of_its_parent():
    pytest.importorskip("resource")
    receiver, sender = multiprocessing.get_context("spawn").Pipe()
    large = torch.ones(400 * 2**20, dtype=torch.uint8)  # more than a process needs to import torch
    process = multiprocessing.get_context("spawn").Process(target=report_peak, args=(sender,))
    process.start()
    child = receiver.recv()
    process.join()
    assert peak_memory_gib(torch.device("cpu")) - child > 0.9 * large.numel() / 2**30 - 0.2
    assert child > 0.05
