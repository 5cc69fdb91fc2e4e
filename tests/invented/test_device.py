"""The invented device computes a CPU's numbers, and shows what only a GPU shows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

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


def same(compute: Callable[[Tensor], Tensor]) -> None:
    """Assert that a computation gives the same on the CPU and on the device, and the same gradient."""
    given = torch.linspace(-2, 3, 24).view(2, 3, 4)
    found = []
    for device in (torch.device("cpu"), DEVICE):
        with Tracing(hollow=False):
            leaf = given.clone().to(device).requires_grad_()
            out = compute(leaf)
            assert out.device.type == device.type
            out.square().sum().backward()
            assert leaf.grad is not None
            found.append((out.detach().cpu(), leaf.grad.cpu()))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def in_place(x: Tensor) -> Tensor:
    y = x * 1
    y[0].add_(1)
    y[:, 1].mul_(2)
    y.clamp_(max=2.5)
    return y


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.transpose(0, 2).flatten(1),
        lambda x: x[:, None].expand(2, 5, 3, 4).reshape(10, 12),
        lambda x: torch.cat([part.squeeze(1) for part in x.split(1, dim=1)]),
        lambda x: x.view(-1)[torch.arange(0, 24, 5, device=x.device)],
        lambda x: x.detach() * x,
        lambda x: x.unbind(0)[1].narrow(1, 1, 2),
        lambda x: x.max(-1).values,
        lambda x: x.softmax(-1).gather(2, torch.zeros(2, 3, 1, dtype=torch.int64, device=x.device)),
        lambda x: checkpoint(lambda y: (y * 2).sin().exp(), x, use_reentrant=False),
        lambda x: functional.layer_norm(x, (4,)) @ x.transpose(1, 2),
        in_place,
    ],
)
def test_views_changes_in_place_and_recomputation_are_those_of_the_cpu(compute: Callable[[Tensor], Tensor]) -> None:
    same(compute)


def test_views_share_the_memory_of_their_base() -> None:
    with Tracing(hollow=False) as tracing:
        base = torch.zeros(1024, device=DEVICE)
        total = tracing.allocations.total
        view = base.view(32, 32)[1:]
        assert tracing.allocations.total == total == 4096
        del base
        assert tracing.allocations.total == total
        view.add_(1)
        assert view.sum().item() == 31 * 32
        del view
        assert tracing.allocations.total == 0


def test_modules_move_to_the_device_and_back() -> None:
    with Tracing(hollow=False) as tracing:
        net = network()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        parameters = [id(parameter) for parameter in net.parameters()]
        net.to(DEVICE)
        assert {parameter.device.type for parameter in net.parameters()} == {INVENTED}
        assert tracing.allocations.total > 0
        net.to("cpu")
        assert len(parameters) == len(list(net.parameters()))
        assert tracing.allocations.total == 0
        for name, value in net.state_dict().items():
            assert type(value) is Tensor
            assert torch.equal(value, before[name])


def test_modules_are_copied() -> None:
    with Tracing(hollow=False):
        net = network().to(DEVICE)
        net[0].requires_grad_(False)
        other = deepcopy(net)
        for one, two in zip(net.parameters(), other.parameters(), strict=True):
            assert isinstance(two, nn.Parameter)
            assert two.requires_grad == one.requires_grad
            assert two.device == one.device
            assert torch.equal(one.cpu(), two.cpu())
            two.data.fill_(7)
            assert not (one == 7).any()


def test_state_is_saved_and_loaded(tmp_path: Path) -> None:
    with Tracing(hollow=False):
        net = network().to(DEVICE)
        torch.save({name: value.cpu() for name, value in net.state_dict().items()}, tmp_path / "weights.pt")
        other = network().to(DEVICE)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        other.load_state_dict(torch.load(tmp_path / "weights.pt"))
        for one, two in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(one.cpu(), two.cpu())
            assert two.device.type == INVENTED


class Broken(torch.autograd.Function):
    """Function whose backward pass mixes devices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] + torch.ones(3)


def hooked(x: Tensor) -> Tensor:
    y = x * 2
    y.register_hook(lambda grad: grad + torch.ones(3))
    return y


def recomputed(x: Tensor) -> Tensor:
    places = iter([x.device, torch.device("cpu")])
    return checkpoint(lambda y: (y + torch.ones(3, device=next(places))).sin(), x, use_reentrant=False)


@pytest.mark.parametrize("compute", [Broken.apply, hooked, recomputed])
def test_errors_of_a_backward_pass_reach_its_caller(compute: Callable[[Tensor], Tensor]) -> None:
    with Tracing(hollow=False):
        leaf = torch.ones(3, device=DEVICE, requires_grad=True)
        out = compute(leaf).sum()
        with pytest.raises(RuntimeError, match=r"same device, but add got invented:0 and cpu \(shape \(3,\)\)"):
            out.backward()
        (leaf * 2).sum().backward()  # the next one runs
        assert leaf.grad is not None


def test_scaled_steps_that_overflow_are_skipped_without_waiting() -> None:
    reads: list[str] = []
    with Tracing(hollow=False, on_read=reads.append):
        net = network().to(DEVICE)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
        scaler = torch.amp.GradScaler(INVENTED, init_scale=2.0**127)
        inputs = torch.ones(5, 8).to(DEVICE, non_blocking=True)
        reads.clear()  # the weights' copies
        for number in range(2):
            with torch.autocast(INVENTED, torch.float16):
                loss = net(inputs).float().square().mean()
            scaler.scale(loss * (2.0**10 if number == 0 else 2.0**-120)).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        assert not [read for read in reads if read != "_to_copy"]
        assert scaler.get_scale() == 2.0**126
