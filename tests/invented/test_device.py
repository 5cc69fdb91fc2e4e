"""The invented device computes a CPU's numbers, and shows what only a GPU shows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reasonir.invented.device import Tracing, hollow_, set_up
from reasonir.utils.devices import INVENTED

set_up()
DEVICE = torch.device(INVENTED)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))


def test_steps_give_the_cpus_numbers() -> None:
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    weights = []
    for device in (torch.device("cpu"), DEVICE):
        with Tracing(hollow=False):
            net = network().to(device)
            optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
            for _ in range(3):
                net(inputs.to(device)).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
            weights.append([parameter.detach().cpu() for parameter in net.parameters()])
    for on_cpu, on_device in zip(*weights, strict=True):
        assert torch.equal(on_cpu, on_device)


def test_tensors_of_two_devices_are_refused() -> None:
    with Tracing(hollow=False):
        here, there = torch.ones(3), torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match=r"same device, but add got invented:0 and cpu \(shape \(3,\)\)"):
            here + there
        assert ((there + torch.tensor(1.0)) == 2).all().cpu()  # a number of the CPU is allowed, as on a GPU


@pytest.mark.parametrize("hollow", [False, True])
def test_reads_are_reported(hollow: bool) -> None:
    reads: list[str] = []
    with Tracing(hollow=hollow, on_read=reads.append):
        values = torch.ones(4, device=DEVICE)
        mask = values > 0
        values.sum().item()
        values.cpu()
        if not hollow:
            values[mask]
            mask.nonzero()
        values.to("cpu", non_blocking=True)
        values[torch.tensor([0, 2]).to(DEVICE, non_blocking=True)]
        torch.tensor([0, 2], device=DEVICE)  # copies, and waits for the copy
        values.copy_(torch.ones(4))
    copies = ["_to_copy", "copy_"]
    assert reads == ["_local_scalar_dense", "_to_copy", *([] if hollow else ["index", "nonzero"]), *copies]


def test_allocations_are_counted_by_purpose() -> None:
    with Tracing(hollow=True) as tracing:
        net = network()
        with tracing.allocations.of("weights"):
            hollow_(net, tracing, DEVICE)
        weights = tracing.allocations.total
        assert tracing.allocations.used == {"weights": weights}
        with tracing.allocations.of("graph"):
            out = net(torch.zeros(1024, 8).to(DEVICE))
        # inputs; what GELU and the norm read; its output; means and deviations; the result
        assert tracing.allocations.used["graph"] == 4 * 1024 * (8 + 3 * 16 + 2 + 4)
        out.sum().backward()
        del out
        assert tracing.allocations.used["graph"] == 0
        assert tracing.allocations.total == 2 * weights
        assert tracing.allocations.peak > 4 * 1024 * 62 + weights
