"""Attention of the invented device gives what the CPU's own gives, packed or padded."""

from itertools import pairwise, product

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from reasonir.invented.device import Tracing, set_up
from reasonir.model.varlen import attend
from reasonir.utils.devices import INVENTED

set_up()
DEVICE = torch.device(INVENTED)
STARTS = (0, 3, 4, 20, 31)


def rows(heads, length, seed, count=1):
    return torch.randn(count, heads, length, 16, generator=torch.Generator().manual_seed(seed))


def gradients(function, *inputs, device):
    """(the result, the gradients of its inputs), on the CPU."""
    with Tracing(hollow=False):
        moved = [each.detach().to(device).requires_grad_() for each in inputs]
        out = function(*moved)
        (out * torch.linspace(-1, 1, out.shape[-1]).to(device)).sum().backward()
        return [out.detach().cpu(), *(each.grad.cpu() for each in moved)]


@pytest.mark.parametrize(
    ("causal", "window", "key_heads"), [*product([False, True], [None, 4, 16], [4]), (True, None, 2), (False, 4, 1)]
)
def test_packed_texts_are_attended_to_as_on_the_cpu(causal, window, key_heads):
    module = torch.nn.Module()
    module.is_causal = causal
    inputs = [rows(heads, STARTS[-1], seed) for seed, heads in enumerate((4, key_heads, key_heads))]

    def packed(query, key, value):
        starts = torch.tensor(STARTS, dtype=torch.int32).to(query.device)
        longest = max(after - before for before, after in pairwise(STARTS))
        options = {"sliding_window": window, "cu_seq_lens_q": starts, "max_length_q": longest}
        return attend(module, query, key, value, None, **options)[0]

    expected, actual = (gradients(packed, *inputs, device=device) for device in ("cpu", DEVICE))
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_padded_texts_are_attended_to_as_on_the_cpu(mask, key_heads):
    inputs = [rows(heads, 9, seed, count=2) for seed, heads in enumerate((4, key_heads, key_heads))]
    seen = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(7)) > 0.4
    seen[..., 0] = True

    def padded(query, key, value):
        given = None if mask is None else seen if mask == "bool" else torch.zeros(seen.shape).masked_fill(~seen, -1e4)
        given = None if given is None else given.to(query.device)
        return scaled_dot_product_attention(
            query, key, value, given, is_causal=given is None, enable_gqa=key_heads != 4
        )

    expected, actual = (gradients(padded, *inputs, device=device) for device in ("cpu", DEVICE))
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
