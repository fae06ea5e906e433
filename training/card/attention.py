"""Attention within each sequence of packed rows: by the card's own kernel, by a mask, or one after the other.

The first needs no compiler and no mask. A trial at the start decides which one a machine uses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.card.data.rows import Rows
from training.network.operations import attended

Attend = Callable[[Tensor, Tensor, Tensor, Rows], Tensor]
"""Query [n, heads, size], key and value [n, kv heads, size] to [n, heads * size]."""

_CLOSE = 0.03  # of the largest value: what two kernels may differ by in bfloat16


def one_by_one(query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """For processors."""
    lengths = rows.lengths()
    return attended(query, key, value, lengths, lengths)


def masked(query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """For any card: all of a row is computed, and most of it hidden."""
    count, length = len(query) // rows.length, rows.length
    own = rows.sequences.view(count, length)
    place = torch.arange(length, device=query.device)
    seen = (own[:, :, None] == own[:, None, :]) & (place[:, None] >= place)
    q, k, v = (
        _repeated(x, query.shape[1]).view(count, length, query.shape[1], -1).transpose(1, 2)
        for x in (query, key, value)
    )
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
    return mixed.transpose(1, 2).reshape(len(query), -1)


def by_bounds(query: Tensor, key: Tensor, value: Tensor, rows: Rows) -> Tensor:
    """For cards whose torch has a kernel that is told where sequences begin."""
    from torch.nn.attention.varlen import varlen_attn

    known: dict[str, Any] = {"window_size": (-1, 0)}
    if "window_size" not in inspect.signature(varlen_attn).parameters:
        known = {"is_causal": True}
    key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    mixed = varlen_attn(query, key, value, rows.bounds, rows.bounds, rows.longest, rows.longest, **known)
    assert isinstance(mixed, Tensor)
    return mixed.reshape(len(query), -1)


def best(rows: Rows, heads: int, kv_heads: int, size: int, dtype: torch.dtype) -> tuple[str, Attend]:
    """The fastest way that works on the device of `rows`, and gives what the mask gives, forward and backward."""
    if rows.tokens.device.type == "cpu":
        return "one by one", one_by_one
    generator = torch.Generator(rows.tokens.device).manual_seed(0)

    def tried(attend: Attend) -> list[Tensor]:
        generator.manual_seed(0)
        inputs = [
            torch.randn(len(rows.tokens), count, size, generator=generator, device=rows.tokens.device)
            .to(dtype)
            .requires_grad_()
            for count in (heads, kv_heads, kv_heads)
        ]
        query, key, value = inputs
        mixed = attend(query, key, value, rows)
        mixed.square().sum().backward()
        return [mixed.detach(), *(x.grad for x in inputs if x.grad is not None)]

    try:
        found = tried(by_bounds)
        for one, other in zip(found, tried(masked), strict=True):
            if not (one - other).abs().max() <= _CLOSE * other.abs().max():
                return "mask", masked
    except (ImportError, RuntimeError, TypeError):  # a torch, or a card, without this kernel
        return "mask", masked
    return "bounds", by_bounds


def _repeated(x: Tensor, heads: int) -> Tensor:
    """Heads of keys or values [n, kv heads, size], once for each head that asks them."""
    return x.repeat_interleave(heads // x.shape[1], dim=1)
