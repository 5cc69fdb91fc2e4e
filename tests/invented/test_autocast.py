"""Autocast of the invented device follows CUDA's rules, and gives the CPU's numbers where its rules are the same."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from reasonir.invented import autocast
from reasonir.invented.device import Tracing, set_up
from reasonir.utils.devices import INVENTED

set_up()
DEVICE = torch.device(INVENTED)
HALF = (torch.float16, torch.bfloat16)
X = torch.linspace(0.1, 0.9, 24).view(4, 6)
RULES = {
    "linear": (lambda x: functional.linear(x, x), "half"),
    "matmul": (lambda x: x @ x.T, "half"),
    "bmm": (lambda x: torch.bmm(x[None], x.T[None]), "half"),
    "einsum": (lambda x: torch.einsum("ab,cb->ac", x, x), "half"),
    "softmax": (lambda x: x.softmax(-1), "single"),
    "log_softmax": (lambda x: x.log_softmax(-1), "single"),
    "layer_norm": (lambda x: functional.layer_norm(x, (6,)), "single"),
    "exp": (torch.exp, "single"),
    "log": (torch.log, "single"),
    "pow": (lambda x: x**2.5, "single"),
    "sum": (torch.sum, "single"),
    "cumsum": (lambda x: x.cumsum(0), "single"),
    "norm": (lambda x: x.norm(), "single"),
    "cross_entropy": (lambda x: functional.cross_entropy(x, torch.zeros(4, dtype=torch.int64).to(x.device)), "single"),
    "binary_cross_entropy": (lambda x: functional.binary_cross_entropy_with_logits(x, x), "single"),
    "gelu": (functional.gelu, "own"),
    "tanh": (torch.tanh, "own"),
    "mul": (lambda x: x * x, "own"),
    "mean": (torch.mean, "own"),
    "logsumexp": (lambda x: x.logsumexp(-1), "single"),
}
"""Operations, and the format of their results: autocast's type, float32, or that of the argument."""


def in_torch(macro):
    """Names of operations in a list of torch's header, overloads behind a dot."""
    text = (Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h").read_text()
    body = text.split(f"#define {macro}(_)")[1].split("\n\n")[0]
    found = re.findall(r"_\((\w+)(?:, (\w+))?\)", body)
    return {f"{name}.{overload}" if overload else name for name, overload in found}


OTHERS = re.compile(r"cell|upsample|conv_t|_convolution|^convolution|imname|_flash_|deprecated")


@pytest.mark.parametrize(
    ("macro", "names"),
    [
        ("AT_FORALL_LOWER_PRECISION_FP", autocast.HALF),
        ("AT_FORALL_FP32", autocast.SINGLE),
        ("AT_FORALL_FP32_SET_OPT_DTYPE", (*autocast.SINGLE_UNLESS_GIVEN[:-2],)),
        ("AT_FORALL_PROMOTE", autocast.WIDEST),
    ],
)
def test_the_lists_are_torchs(macro, names):
    assert {name for name in in_torch(macro) if not OTHERS.search(name)} == set(names)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("given", [torch.float32, *HALF])
@pytest.mark.parametrize("name", RULES)
def test_results_have_the_format_that_cuda_gives_them(name, given, dtype):
    operation, rule = RULES[name]
    if given not in (torch.float32, dtype):
        return
    expected = {"half": dtype, "single": torch.float32, "own": given}[rule]
    with Tracing(hollow=False), torch.autocast(INVENTED, dtype):
        assert operation(X.to(given).to(DEVICE)).dtype == expected


@pytest.mark.parametrize("name", [name for name, (_, rule) in RULES.items() if rule == "half"])
def test_numbers_are_those_of_the_cpus_autocast(name):
    operation = RULES[name][0]
    with torch.autocast("cpu", torch.bfloat16):
        expected = operation(X)
    with Tracing(hollow=False), torch.autocast(INVENTED, torch.bfloat16):
        assert torch.equal(operation(X.to(DEVICE)).cpu(), expected)


def test_formats_that_differ_are_widened():
    with Tracing(hollow=False), torch.autocast(INVENTED, torch.float16):
        single, half = X.to(DEVICE), X.half().to(DEVICE)
        assert torch.cat([single, half]).dtype == torch.float32
        assert torch.stack([half, half]).dtype == torch.float16
        assert torch.addcmul(half, single, half).dtype == torch.float32


def test_weights_are_cast_once_in_a_block_and_dropped_with_it():
    with Tracing(hollow=False) as device:
        net = nn.Linear(6, 3).to(DEVICE)
        before = device.allocations.total
        with torch.autocast(INVENTED, torch.bfloat16):
            first, _ = net(X.to(DEVICE)), net(X.to(DEVICE))
            assert len(autocast._casts) == 2
            with torch.no_grad():  # a cast without a graph doesn't serve a pass that needs one
                net(X.to(DEVICE))
            assert len(autocast._casts) == 4
        assert not autocast._casts
        first.float().sum().backward()
        assert net.weight.grad.dtype == torch.float32
        del first, _
        net.zero_grad()
        assert device.allocations.total == before


def test_without_a_cache_nothing_is_kept():
    with Tracing(hollow=False):
        net = nn.Linear(6, 3).to(DEVICE)
        with torch.autocast(INVENTED, torch.bfloat16, cache_enabled=False):
            net(X.to(DEVICE))
            assert not autocast._casts


def test_disabled_blocks_compute_in_float32():
    with Tracing(hollow=False), torch.autocast(INVENTED, torch.float16), torch.autocast(INVENTED, enabled=False):
        assert (X.to(DEVICE) @ X.to(DEVICE).T).dtype == torch.float32
