"""Attention over texts that stand after each other in one row: no padding anywhere in the backbone.

transformers lets an attention function be registered by name; this one attends within each text when it is told where
texts start, and otherwise is plain SDPA. On CUDA it calls torch's variable-length FlashAttention
(`torch.nn.attention.varlen`: 16-bit, compute capability 8.0 and up, no dropout); elsewhere SDPA takes the texts of each
length together. Whether a backbone really hands over what is needed is found out by comparing the two on a few texts,
on the device and in the number format that is used: what can't be packed is padded, and says so.

Shape letters as in `reasonir.types`; H attention heads, D size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from reasonir.data.batch import Tokens

NAME = "varlen"
_EXACT, _ROUNDED = 1e-3, 0.05
_CHECKED_LENGTHS = (3, 17, 64, 200, 330)
_packing = False


def install(backbone: nn.Module) -> bool:
    """Let a backbone that was loaded with SDPA attend by `attend`; False for one that has no SDPA."""
    config: Any = backbone.config
    if config._attn_implementation != "sdpa":
        return False
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def mask(*args: Any, **options: Any) -> Tensor | None:
        return None if _packing else sdpa_mask(*args, **options)

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, mask)
    config._attn_implementation = NAME  # the backbone's method refuses some that look the function up in another way
    return True


@contextmanager
def packing() -> Iterator[None]:
    """Within it backbones build no masks: a mask between all tokens of a row would be quadratic in them."""
    global _packing  # noqa: PLW0603
    before, _packing = _packing, True
    try:
        yield
    finally:
        _packing = before


def attend(  # noqa: PLR0917
    module: nn.Module,
    query_NHLD: Tensor,
    key_NHLD: Tensor,
    value_NHLD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; within the texts between `cu_seq_lens_q` where those are given.

    Returns:
        (1, T, H, D) for a packed row, (N, L, H, D) otherwise, and None in place of weights.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module,
            query_NHLD,
            key_NHLD,
            value_NHLD,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **options,
        )
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    reach = -1 if sliding_window is None else sliding_window - 1
    window = (reach, 0 if causal else reach)
    if query_NHLD.device.type == "cuda":
        found_THD = _by_kernel(query_NHLD, key_NHLD, value_NHLD, cu_seq_lens_q, max_length_q, scaling, window)
    else:
        found_THD = _by_length(query_NHLD, key_NHLD, value_NHLD, cu_seq_lens_q, scaling, window, dropout)
    return found_THD[None], None


def _by_kernel(  # noqa: PLR0917
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_N: Tensor,
    longest: int,
    scale: float | None,
    window: tuple[int, int],
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
    rows = (each[0].transpose(0, 1).to(dtype) for each in (query, key, value))
    options: dict[str, Any] = {"scale": scale, "window_size": window}
    return varlen_attn(*rows, starts_N, starts_N, longest, longest, **options)  # type: ignore[arg-type,return-value,call-arg]


def _by_length(  # noqa: PLR0917
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_N: Tensor,
    scale: float | None,
    window: tuple[int, int],
    dropout: float,
) -> Tensor:
    """Neighbours of one length together, without a mask; micro-batches are sorted, so equal lengths are neighbours."""
    alike = [(length, len(list(same))) for length, same in groupby(starts_N.diff().tolist())]
    sizes = [length * count for length, count in alike]
    parts = []
    for (length, count), *rows in zip(
        alike, *(torch.split(each, sizes, dim=2) for each in (query, key, value)), strict=True
    ):
        query_NHLD, key_NHLD, value_NHLD = (each[0].unflatten(1, (count, length)).transpose(0, 1) for each in rows)
        mask = _band(length, window, query.device)
        found_NHLD = scaled_dot_product_attention(
            query_NHLD,
            key_NHLD,
            value_NHLD,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=window[1] == 0 and mask is None,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(found_NHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def _band(length: int, window: tuple[int, int], device: torch.device) -> Tensor | None:
    """Who attends to whom within a text that is longer than the window."""
    before, after = window
    if not 0 <= before < length - 1:
        return None
    ahead_LL = torch.arange(length, device=device)[None] - torch.arange(length, device=device)[:, None]
    return (ahead_LL >= -before) & (ahead_LL <= (before if after < 0 else after))


def trains_packed(backbone: nn.Module, device: torch.device) -> bool:
    """Whether training on `device` has all its randomness: the kernel of CUDA knows no dropout of attention weights."""
    config: Any = backbone.config
    names = ("attention_probs_dropout_prob", "attention_dropout")
    return device.type != "cuda" or not any(getattr(config, name, None) for name in names)


def first_position(backbone: nn.Module) -> int:
    """The number of a text's first position: RoBERTa and its kin count from behind the padding token's."""
    embeddings = getattr(backbone, "embeddings", None)
    counted = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(getattr(embeddings, "padding_idx", -1)) + 1 if counted else 0


def sample(vocabulary: int, positions: int) -> Tokens:
    """Texts of very different lengths, the same ones always, to hold packed against padded ones."""
    lengths = sorted({min(length, positions) for length in _CHECKED_LENGTHS})
    half = vocabulary // 2  # special tokens come first
    ids = [[half + 7919 * (number + 31 * place) % half for place in range(n)] for number, n in enumerate(lengths)]
    return Tokens.pack([(row, [True] * len(row), [True] * len(row)) for row in ids])


def agree(packed_MH: Tensor, padded_MH: Tensor, *, exact: bool) -> bool:
    """Whether hidden states of the same tokens are the same up to rounding: of float32, or else of 16 bits."""
    difference_M = (packed_MH.double() - padded_MH.double()).norm(dim=-1)
    return bool((difference_M <= (_EXACT if exact else _ROUNDED) * padded_MH.double().norm(dim=-1)).all())
