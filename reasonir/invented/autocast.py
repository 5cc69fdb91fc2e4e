"""Autocast of the invented device, with CUDA's rules.

Which operations run in 16 bits and which in 32 is torch's list for CUDA (ATen/autocast_mode.h, but for recurrent cells,
transposed convolutions, upsampling and named dimensions); casts of weights are kept until the outermost autocast block
ends, as in aten/src/ATen/autocast_mode.
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

HALF = (
    "linear", "matmul", "mm", "bmm", "addmm", "addmv", "addbmm", "baddbmm", "mv", "addr", "einsum", "prelu", "conv1d",
    "conv2d", "conv3d", "chain_matmul", "linalg_vecdot", "linalg_multi_dot", "scaled_dot_product_attention",
)  # fmt: skip
SINGLE = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus", "layer_norm", "native_layer_norm",
    "group_norm", "frobenius_norm.dim", "nuclear_norm", "nuclear_norm.dim", "cosine_similarity", "poisson_nll_loss",
    "cosine_embedding_loss", "nll_loss", "nll_loss2d", "hinge_embedding_loss", "kl_div", "l1_loss", "smooth_l1_loss",
    "huber_loss", "mse_loss", "margin_ranking_loss", "multilabel_margin_loss", "soft_margin_loss",
    "triplet_margin_loss", "multi_margin_loss", "binary_cross_entropy_with_logits", "dist", "pdist", "cdist", "renorm",
    "logsumexp", *(("rms_norm",) if torch.__version__ >= "2.12" else ()),  # 2.11 hasn't, 2.15 has it
)  # fmt: skip

SINGLE_UNLESS_GIVEN = (
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "linalg_vector_norm",
    "linalg_matrix_norm", "linalg_matrix_norm.str_ord", "sum", "sum.dim_IntList", "norm.Scalar", "norm.ScalarOpt_dim",
)  # fmt: skip
WIDEST = (
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler", "index_put", "tensordot",
    "scatter_add",
)  # fmt: skip
_library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
_others: Any = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
_casts: dict[tuple[int, bool], Tensor] = {}
"""Casts of weights, by the weight's id and whether gradients are recorded."""


def register() -> None:
    """Register the rules, once a process."""
    _others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    rules = ((HALF, _half), (SINGLE, _single), (SINGLE_UNLESS_GIVEN, _single_unless_given), (WIDEST, _widest))
    for names, rule in rules:
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


def _single_unless_given(operation: Any, *args: Any, **kwargs: Any) -> Any:
    given = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
    return _with(operation, lambda tensor: tensor, args, kwargs) if given else _single(operation, *args, **kwargs)


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
