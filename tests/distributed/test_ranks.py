"""Two gloo ranks against one process: the same loss, weights and negatives, however uneven the split."""

import json
import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from reasonir.distributed.ranks import Alone, Together
from tests.helpers import RETRIEVERS, batch_of, examples, gradients, largest_difference, load

CASES = {
    "even": (4, 4),
    "uneven": (5, 2),
    "very uneven": (8, 1),
}


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def on_two_ranks(function, *arguments):
    """Run `function(rank, *arguments)` on two gloo ranks."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port()))
    mp.spawn(started, args=(function, arguments), nprocs=2)


def started(rank, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        function(rank, *arguments)
    finally:
        dist.destroy_process_group()


def objective_of(head):
    from reasonir.loss.bce import Bce
    from reasonir.loss.flops import Flops
    from reasonir.loss.four_directions import FourDirections
    from reasonir.loss.gaussian import GaussianLoss
    from reasonir.loss.listwise import Listwise
    from reasonir.loss.provence import ProvenceLoss
    from reasonir.loss.ranknet import Ranknet
    from reasonir.loss.splade import SpladeLoss
    from reasonir.loss.sum import Sum
    from reasonir.loss.symmetric import Symmetric

    if head == "gaussian":
        return GaussianLoss(0.5, weight=0.5)
    if head == "biencoder":
        return FourDirections(0.5, hardness=2.0)
    if head == "splade":
        return SpladeLoss(0.5, Flops(0.5, 0.5))
    pairs = Sum({"bce": Bce(), "listwise": Listwise(), "ranknet": Ranknet()}, {"ranknet": 0.3})
    if head == "provence":
        return ProvenceLoss(pairs, average="document")
    return pairs if head == "yes_no" else Symmetric(0.5)


def compare_with_one_process(rank, folders, report):
    """Run DDP on every rank with its part of the examples; rank 0 compares with the whole batch in one process."""
    from torch.nn.parallel import DistributedDataParallel

    from reasonir.engine.step import Budget, run_step

    values = {}
    for head, folder in folders.items():
        objective = objective_of(head)
        for case, (first, second) in CASES.items():
            encoder = load(folder, head, model={"learn_temperature": head in RETRIEVERS})
            rows = examples(first + second, negatives=2)
            mine = rows[:first] if rank == 0 else rows[first:]
            batch = batch_of(encoder, mine)
            wrapped = DistributedDataParallel(
                Step(encoder, objective), broadcast_buffers=False, find_unused_parameters=False
            )
            reductions = []
            wrapped.register_comm_hook(reductions, counted)
            loss = wrapped(batch, Budget(150, 400), Together())
            loss.backward()
            shared = gradients(encoder)
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            if rank == 0:
                encoder.zero_grad()
                whole = batch_of(encoder, rows)
                alone = run_step(encoder, objective, whole, Budget(10**9, 10**9), Alone())["loss"]
                alone.backward()
                buckets = len(wrapped.reducer._get_zeros_like_grad_buckets())
                values[f"{head} {case}"] = {
                    "loss": abs(mean.item() / 2 - alone.item()),
                    "gradients": largest_difference(shared, gradients(encoder)),
                    "reductions": len(reductions) / buckets,
                }
    if rank == 0:
        report.write_text(json.dumps(values))


class Step(torch.nn.Module):
    """Lightning's arrangement: the whole training step is the forward pass that DDP sees."""

    def __init__(self, encoder, objective):
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, batch, budget, ranks):
        from reasonir.engine.step import run_step

        return run_step(self.encoder, self.objective, batch, budget, ranks)["loss"]


def counted(state, bucket):
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    state.append(bucket.index())
    return allreduce_hook(dist.group.WORLD, bucket)


def test_two_ranks_give_the_gradients_of_one_process_with_one_reduction(bert, decoder, tmp_path):
    report = tmp_path / "report.json"
    folders = {**dict.fromkeys((*RETRIEVERS, "provence"), bert), "yes_no": decoder}
    on_two_ranks(compare_with_one_process, folders, report)
    cases = json.loads(report.read_text())
    assert len(cases) == len(folders) * len(CASES)
    for case, values in cases.items():
        assert values["loss"] < 1e-5, case
        assert values["gradients"] < 5e-5, case
        assert values["reductions"] == 1, case


def exchange(rank, folder):
    together = Together()
    assert together.most(3 + rank) == 4
    values = torch.arange(2.0 + rank)[:, None].requires_grad_()
    from reasonir.data.batch import Representation

    gathered = together.gather(Representation(values, torch.tensor([1] if rank == 0 else [2, 0]) + torch.tensor(rank)))
    assert gathered.values_TD.flatten().tolist() == [0, 1, 0, 1, 2]
    (gathered.values_TD.flatten() * torch.arange(5.0) * (rank + 1)).sum().backward()
    whole = [0.0, 3.0, 6.0, 9.0, 12.0]
    assert values.grad.flatten().tolist() == (whole[:2] if rank == 0 else whole[2:])
    keys, offset = together.gather_keys(torch.tensor([7, 8]) if rank == 0 else torch.tensor([9]))
    assert (keys.tolist(), offset) == ([7, 8, 9], 0 if rank == 0 else 2)
    share = together.mean(torch.tensor([1.0, 2.0, 3.0]) if rank == 0 else torch.tensor([6.0]))
    assert share.item() == pytest.approx(3.0)
    (folder / str(rank)).touch()


def test_ragged_texts_are_gathered_and_their_gradients_summed(tmp_path):
    on_two_ranks(exchange, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"0", "1"}


def test_a_single_process_exchanges_nothing():
    alone = Alone()
    assert alone.most(3) == 3
    assert alone.mean(torch.tensor([1.0, 3.0])).item() == 2.0
    assert alone.gather_keys(torch.tensor([4]))[1] == 0
