"""Attention over packed texts in one row: no padding anywhere in the backbone.

transformers lets an attention function be registered by name; this one attends within each text if it gets the starts
of texts, and otherwise is plain SDPA. On CUDA it calls torch's variable-length FlashAttention
(`torch.nn.attention.varlen`: 16-bit, compute capability 8.0 and up, no dropout); elsewhere SDPA processes the texts of
each length together. Whether a backbone passes on the required arguments is checked by comparing packed with padded
texts, on the device and in the precision in use; if they differ, texts are padded and a warning is logged.

In grouped-query attention SDPA gets one key and value head per query head wherever torch 2.11 has no fused kernel that
reads shared ones (`_reads_groups`). transformers leaves that to torch if there is no mask, which then computes all
L x L weights of every head: on a T4, and in float32 on any GPU.

Shape letters: T tokens, N texts, L padded length, H attention heads, D size of a head, M a selection of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from inspect import signature
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from reasonir.data.batch import Tokens
from reasonir.utils.devices import kind_of

NAME = "varlen"
_EXACT, _ROUNDED = 1e-3, 0.05
_CHECKED_LENGTHS = (3, 17, 64, 200, 330)
_FLASH_CAPABILITY, _FLASH_HEAD, _FLASH_TYPES = (8, 0), 256, (torch.float16, torch.bfloat16)
Layout = Literal["packed", "full", "padded"]
_layout: Layout | None = None


def install(backbone: nn.Module) -> bool:
    """Register `attend` with a backbone that was loaded with SDPA; return False if it has no SDPA."""
    config: Any = backbone.config
    if config._attn_implementation != "sdpa":
        return False
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _mask)
    config._attn_implementation = NAME  # the backbone's own method refuses some backbones that work
    return True


@contextmanager
def reading(layout: Layout) -> Iterator[None]:
    """Tell the attention masks of the block what a batch looks like, which they would read from the device.

    Args:
        layout: "packed" has no mask, since one between all tokens of a row would be quadratic in them; "full" has no
            padding to mask, "padded" has some.
    """
    global _layout  # noqa: PLW0603
    before, _layout = _layout, layout
    try:
        yield
    finally:
        _layout = before


def _mask(*args: Any, **options: Any) -> Tensor | None:
    from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

    if _layout == "packed":
        return None
    if getattr(options.get("config"), "use_bidirectional_attention", None) is True and "local_size" not in options:
        # A Gemma that sees all texts adds a constant to the causal mask, which is copied to the device.
        options |= {"mask_function": bidirectional_mask_function, "allow_is_bidirectional_skip": True}
    if _layout == "full":
        options["attention_mask"] = None
    elif _layout == "padded":
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, **options)  # type: ignore[no-any-return]


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute attention with transformers' signature; within the texts between `cu_seq_lens_q` if given.

    Returns:
        (1, T, H, D) for a packed row, (N, L, H, D) otherwise, and None in index of weights.
    """
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if cu_seq_lens_q is None or max_length_q is None:
        attended_NHLD = _sdpa(query_NHLD, key_NHLD, value_NHLD, attention_mask, scaling, dropout, causal=causal)
        return attended_NHLD.transpose(1, 2).contiguous(), None
    reach = -1 if sliding_window is None else sliding_window - 1
    window = (reach, 0 if causal else reach)
    if kind_of(query_NHLD.device) == "cuda":
        attended_THD = _by_kernel(query_NHLD, key_NHLD, value_NHLD, cu_seq_lens_q, max_length_q, scaling, window)
    else:
        attended_THD = _by_length(query_NHLD, key_NHLD, value_NHLD, cu_seq_lens_q, scaling, window, dropout)
    return attended_THD[None], None


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

    dtype = _computed_dtype(query)
    rows = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
    options: dict[str, Any] = {"scale": scale, "window_size": window}
    if query.shape[1] != key.shape[1] and _states_groups():
        options["enable_gqa"] = True
    return varlen_attn(*rows, starts_N, starts_N, longest, longest, **options)  # type: ignore[arg-type,return-value,call-arg]


@cache
def _states_groups() -> bool:
    """Return whether torch's kernel has to be told that query heads share key and value heads (2.11 isn't)."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in signature(varlen_attn).parameters


def _by_length(  # noqa: PLR0917
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_N: Tensor,
    scale: float | None,
    window: tuple[int, int],
    dropout: float,
) -> Tensor:
    """Attend over consecutive texts of one length at a time, without a mask; micro-batches are sorted by length."""
    alike = [(length, len(list(same))) for length, same in groupby(starts_N.diff().tolist())]
    sizes = [length * count for length, count in alike]
    parts = []
    for (length, count), *rows in zip(alike, *(torch.split(x, sizes, dim=2) for x in (query, key, value)), strict=True):
        query_NHLD, key_NHLD, value_NHLD = (x[0].unflatten(1, (count, length)).transpose(0, 1) for x in rows)
        mask = _band(length, window, query.device)
        attended_NHLD = _sdpa(query_NHLD, key_NHLD, value_NHLD, mask, scale, dropout, causal=window[1] == 0)
        parts.append(attended_NHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def _sdpa(  # noqa: PLR0917
    query_NHLD: Tensor,
    key_NHLD: Tensor,
    value_NHLD: Tensor,
    mask: Tensor | None,
    scale: float | None,
    dropout: float,
    *,
    causal: bool,
) -> Tensor:
    """Compute SDPA; `causal` holds where there is no mask."""
    shared = query_NHLD.shape[1] // key_NHLD.shape[1]
    if shared > 1 and not _reads_groups(query_NHLD, mask):
        key_NHLD, value_NHLD = (x.repeat_interleave(shared, dim=1) for x in (key_NHLD, value_NHLD))
        shared = 1
    return scaled_dot_product_attention(
        query_NHLD,
        key_NHLD,
        value_NHLD,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and mask is None and query_NHLD.shape[2] > 1,
        scale=scale,
        enable_gqa=shared > 1,
    )


def _reads_groups(query_NHLD: Tensor, mask: Tensor | None) -> bool:
    """Return whether a fused kernel of SDPA reads key and value heads that several query heads share.

    In torch 2.11: the CPU's, and FlashAttention on CUDA (16-bit, compute capability 8.0 and up, heads up to 256, no
    mask); its memory-efficient kernel has learnt it since (https://github.com/pytorch/pytorch/pull/191085).
    """
    if query_NHLD.device.type != "cuda":
        return query_NHLD.device.type == "cpu"
    if mask is not None or query_NHLD.shape[3] > _FLASH_HEAD or _computed_dtype(query_NHLD) not in _FLASH_TYPES:
        return False
    return torch.cuda.get_device_capability(query_NHLD.device) >= _FLASH_CAPABILITY


def _computed_dtype(query_NHLD: Tensor) -> torch.dtype:
    """Type that attention computes with: autocast casts all three inputs."""
    device = query_NHLD.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query_NHLD.dtype


def is_causal(backbone: nn.Module) -> bool:
    """Return whether no attention layer of a backbone looks ahead, so that padding on the right changes no token."""
    layers = [module.is_causal for module in backbone.modules() if hasattr(module, "is_causal")]
    return bool(layers) and all(layers)


def _band(length: int, window: tuple[int, int], device: torch.device) -> Tensor | None:
    """Return the mask of sliding-window attention, None for texts within the window."""
    before, after = window
    if not 0 <= before < length - 1:
        return None
    ahead_LL = torch.arange(length, device=device)[None] - torch.arange(length, device=device)[:, None]
    return (ahead_LL >= -before) & (ahead_LL <= (before if after < 0 else after))


def trains_packed(backbone: nn.Module, device: torch.device) -> bool:
    """Return whether packed training supports the backbone's dropout: the CUDA kernel has none on attention weights."""
    config: Any = backbone.config
    names = ("attention_probs_dropout_prob", "attention_dropout")
    return kind_of(device) != "cuda" or not any(getattr(config, name, None) for name in names)


def first_position(backbone: nn.Module) -> int:
    """Return the number of a text's first position; RoBERTa-like models count from padding_idx + 1."""
    embeddings = getattr(backbone, "embeddings", None)
    counted = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(getattr(embeddings, "padding_idx", -1)) + 1 if counted else 0


def sample(vocabulary: int, positions: int) -> Tokens:
    """Return fixed texts of very different lengths, to compare packed with padded ones."""
    lengths = sorted({min(length, positions) for length in _CHECKED_LENGTHS})
    half = vocabulary // 2  # special tokens come first
    ids = [[half + 7919 * (number + 31 * index) % half for index in range(n)] for number, n in enumerate(lengths)]
    return Tokens.pack([(row, [True] * len(row), [True] * len(row)) for row in ids])


def agree(packed_MH: Tensor, padded_MH: Tensor, starts_N: Tensor, *, exact: bool) -> bool:
    """Return whether hidden states of the same tokens agree within rounding.

    Args:
        packed_MH: of packed texts.
        padded_MH: of padded ones.
        starts_N: the tokens before each text and, last, all of them.
        exact: every token within the rounding of float32; otherwise the mean of every text within that of 16 bits,
            which a trained model makes larger than 5 % for single tokens.
    """
    difference_M = (packed_MH.double() - padded_MH.double()).norm(dim=-1) / padded_MH.double().norm(dim=-1)
    if exact:
        return bool((difference_M <= _EXACT).all())
    return all(bool(text_L.mean() <= _ROUNDED) for text_L in difference_M.split(starts_N.diff().tolist()))
