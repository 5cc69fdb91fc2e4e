"""Autocast of the invented device, with CUDA's rules.

Which operations run in 16 bits and which in 32 is torch's list for CUDA (documentation of `torch.amp`, "CUDA Ops that
can autocast"); casts of weights are kept until the outermost autocast block ends, as in aten/src/ATen/autocast_mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from reasonir.utils.devices import INVENTED

_HALF = (
    "linear", "matmul", "mm", "bmm", "addmm", "addmv", "addbmm", "baddbmm", "mv", "addr", "einsum", "prelu",
    "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention",
)  # fmt: skip
_SINGLE = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus", "layer_norm", "group_norm",
    "norm.Scalar", "norm.ScalarOpt_dim", "cosine_similarity", "cdist", "softmax.int", "log_softmax.int", "cumsum",
    "cumprod", "prod", "prod.dim_int", "sum", "sum.dim_IntList", "nll_loss", "mse_loss", "l1_loss", "kl_div",
    "smooth_l1_loss", "cross_entropy_loss", "binary_cross_entropy_with_logits", "margin_ranking_loss", "logsumexp",
)  # fmt: skip
_WIDEST = ("cat", "stack", "addcdiv", "addcmul", "dot", "scatter_add", "index_copy", "tensordot", "bilinear")
_library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
_others: Any = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
_casts: dict[tuple[int, bool], Tensor] = {}
"""Casts of weights, by the weight's id and whether gradients are recorded."""


def register() -> None:
    """Register the rules, once a process."""
    _others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for names, rule in ((_HALF, _half), (_SINGLE, _single), (_WIDEST, _widest)):
        for name in names:
            packet, _, overload = name.partition(".")
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
            _library.impl(name, partial(rule, operation), "AutocastPrivateUse1")


@contextmanager
def cleared_by_torch() -> Iterator[None]:
    """Drop the casts of weights whenever torch drops its own, at the end of an outermost autocast block."""
    torch_clears = torch.clear_autocast_cache

    def clear() -> None:
        torch_clears()
        _casts.clear()

    torch.clear_autocast_cache = clear
    try:
        yield
    finally:
        torch.clear_autocast_cache = torch_clears
        _casts.clear()


@cache
def _autocast_keys() -> Any:
    keys: Any = torch._C.DispatchKey
    return torch._C.DispatchKeySet(keys.AutocastPrivateUse1)


def _half(operation: Any, *args: Any, **kwargs: Any) -> Any:
    return _with(operation, partial(_cast, dtype=torch.get_autocast_dtype(INVENTED)), args, kwargs)


def _single(operation: Any, *args: Any, **kwargs: Any) -> Any:
    return _with(operation, partial(_cast, dtype=torch.float32), args, kwargs)


def _widest(operation: Any, *args: Any, **kwargs: Any) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float16)
    return _with(operation, partial(_cast, dtype=widest), args, kwargs)


def _with(operation: Any, cast: Any, args: Any, kwargs: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(_autocast_keys()):
        args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
        return operation(*args, **kwargs)


def _cast(tensor: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return a tensor of the device in another floating-point type; float64 stays."""
    if tensor.device.type != INVENTED or not tensor.is_floating_point() or tensor.dtype in (dtype, torch.float64):
        return tensor
    kept = tensor.is_leaf and tensor.requires_grad and tensor.dtype == torch.float32 and dtype != torch.float32
    if not kept or not torch.is_autocast_cache_enabled():
        return tensor.to(dtype)
    key = (id(tensor), torch.is_grad_enabled())
    if (found := _casts.get(key)) is None:
        found = _casts[key] = tensor.to(dtype)
    return found
