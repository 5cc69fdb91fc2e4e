"""Attention of the invented device: kernels that store no weights, as on CUDA.

`scaled_dot_product_attention` goes to torch's operation for backends with a kernel of their own, and
`torch.nn.attention.varlen` to its own operation. What they return and keep for the backward pass has the shapes of
CUDA's kernels; with values, they are computed by the CPU's kernel.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

_ATEN: Any = torch.ops.aten
KERNELS: dict[Any, Any] = {}
"""Functions on what is inside the device's tensors, by operation."""
_library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]


def register() -> None:
    """Register the kernels, once a process."""
    _library.impl("scaled_dot_product_attention", _attend, "AutogradPrivateUse1")
    _library.impl("scaled_dot_product_attention", _attend, "PrivateUse1")
    KERNELS[_ATEN._scaled_dot_product_fused_attention_overrideable.default] = _forward
    KERNELS[_ATEN._scaled_dot_product_fused_attention_overrideable_backward.default] = _backward
    from torch.nn.attention import varlen  # registers its operations

    packed = torch.ops.torch_attn
    KERNELS[packed._varlen_attn.default] = partial(_packed_forward, varlen._varlen_attn_fake)
    KERNELS[packed._varlen_attn_backward.default] = partial(_packed_backward, varlen._varlen_attn_backward_fake)


def _attend(  # noqa: PLR0917
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (part.repeat_interleave(repeats, -3) for part in (key, value))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, float("-inf"))
    out: Tensor = _ATEN._scaled_dot_product_fused_attention_overrideable(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale
    )[0]
    return out


def _forward(  # noqa: PLR0917
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    debug: bool = False,
    *,
    scale: float | None = None,
) -> tuple[Any, ...]:
    """Compute without dropout: the CPU's kernel has none, and hollow tensors need none."""
    out, weights = _ATEN._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=mask, scale=scale
    )
    none = torch.zeros(0, dtype=torch.int64, device=query.device)
    return out, weights, none, none.clone(), query.shape[2], key.shape[2], none.clone(), none.clone(), none.clone()


def _backward(  # noqa: PLR0917
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    wanted: Any,
    out: Tensor,
    weights: Tensor,
    *args: Any,
    scale: float | None = None,
) -> tuple[Any, ...]:
    causal = args[5]
    grads = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, query, key, value, out, weights, 0.0, causal, attn_mask=mask, scale=scale
    )
    return *grads, None


def _packed_forward(  # noqa: PLR0917
    hollow: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    ends: Tensor,
    longest: int,
    also_longest: int,
    causal: bool = False,
    scale: float | None = None,
    window: Any = None,
    *others: Any,
) -> Any:
    if query.is_meta:
        return hollow(query, key, value, starts, ends, longest, longest, causal, scale, window, *others)
    texts = _Texts(starts, longest)
    rows = [texts.padded(part) for part in _repeated(query, key, value)]
    out, weights, *_ = _forward(rows[0], rows[1], rows[2], texts.mask(query.dtype, causal, window), scale=scale)
    return (
        texts.packed(out),
        texts.packed(weights[..., None])[..., 0].T.contiguous(),
        torch.zeros(2, dtype=torch.uint64),
    )


def _packed_backward(hollow: Any, grad: Tensor, *args: Any) -> Any:
    if grad.is_meta:
        return hollow(grad, *args)
    query, key, value, out, weights, starts, _, longest, _, causal, _, scale, window, *_ = args
    texts = _Texts(starts, longest)
    rows = [texts.padded(part) for part in (grad, *_repeated(query, key, value), out)]
    grads = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward(
        *rows,
        texts.padded(weights.T[..., None])[..., 0],
        0.0,
        False,
        attn_mask=texts.mask(query.dtype, causal, window),
        scale=scale,
    )
    return tuple(
        texts.packed(part).view(*like.shape[:2], -1, like.shape[2]).sum(2)
        for part, like in zip(grads, (query, key, value), strict=True)
    )


def _repeated(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """Repeat keys and values of grouped queries (T, H, D) for every head."""
    repeats = query.shape[1] // key.shape[1]
    return query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)


class _Texts:
    """Layout of packed texts, of which `starts` counts the tokens before each and, last, all, as padded ones."""

    def __init__(self, starts: Tensor, longest: int) -> None:
        self.position_L = torch.arange(longest)
        self.inside_NL = self.position_L < starts.diff()[:, None]
        self.flat_T = self.inside_NL.flatten().nonzero().squeeze(1)

    def padded(self, values_THD: Tensor) -> Tensor:
        """Return (N, H, L, D), zeros in the padding."""
        values = values_THD.new_zeros(self.inside_NL.numel(), *values_THD.shape[1:])
        values.index_copy_(0, self.flat_T, values_THD)
        return values.view(*self.inside_NL.shape, *values_THD.shape[1:]).transpose(1, 2)

    def packed(self, values_NHLD: Tensor) -> Tensor:
        """Return (T, H, D)."""
        return values_NHLD.transpose(1, 2).flatten(0, 1).index_select(0, self.flat_T)

    def mask(self, dtype: torch.dtype, causal: bool, window: Any) -> Tensor:
        """Return (N, 1, L, L), 0 for what a token sees; padding sees all, so that its weights are numbers."""
        ahead_LL = self.position_L[None] - self.position_L[:, None]
        before, after = window or (-1, -1)
        seen_LL = torch.ones_like(ahead_LL, dtype=torch.bool)
        if before >= 0:
            seen_LL &= ahead_LL >= -before
        if after >= 0 or causal:
            seen_LL &= ahead_LL <= max(after, 0)
        seen_NLL = (self.inside_NL[:, None] & seen_LL) | ~self.inside_NL[..., None]
        return torch.zeros(seen_NLL.shape, dtype=dtype).masked_fill_(~seen_NLL, float("-inf"))[:, None]
