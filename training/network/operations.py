"""Operations of a layer other than matrix products, written for the CPU: fused, and without padding.

Matrix products take most of a step; `python -m evaluation.training` prints how fast a step is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ROWS = 128  # of logits at once: 49152 float32 of each stay in a third-level cache


def _fused(function: _Function) -> _Function:
    """One pass over memory instead of one an operation, where torch finds a compiler; the numbers are the same."""

    @cache
    def compiled() -> Callable[..., Any]:  # when it is first called: importing torch's compiler takes seconds
        has_compiler = any(map(shutil.which, ("c++", "g++", "clang++", "cl")))
        return torch.compile(function, dynamic=True) if has_compiler else function

    return cast(_Function, wraps(function)(lambda *arguments: compiled()(*arguments)))


@_fused
def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm of [n, hidden]."""
    return functional.rms_norm(x, weight.shape, weight, epsilon)


@_fused
def added_and_normed(x: Tensor, change: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The residual stream [n, hidden] with a change, as it is and normed."""
    x = x + change
    return x, functional.rms_norm(x, weight.shape, weight, epsilon)


@_fused
def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU of [n, intermediate]."""
    return functional.silu(gate) * up


@_fused
def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn heads [n, heads, size] by their positions, halves against each other; the angles are [n, 1, size]."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def attended(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """Causal attention within each sequence, of its last `counts` tokens to all of its `lengths`.

    Heads [sum of counts, heads, size] and twice [sum of lengths, heads, size] to [sum of counts, heads * size].
    Plain products and a softmax: forward and backward together, torch's own attention takes 2 to 3 times as long in
    bfloat16 on a processor, for sequences of the 200 to 500 tokens that are read here.
    """
    kv_heads, size = key.shape[1:]
    group = query.shape[1] // kv_heads
    scaled = query * size**-0.5
    future = _future(1 << (max(lengths, default=1) - 1).bit_length(), query.dtype, query.device)
    split = ((scaled, counts), (key, lengths), (value, lengths))
    parts = []
    for q, k, v in zip(*(x.split(list(rows)) for x, rows in split), strict=True):
        count, length = len(q), len(k)
        rows = q.view(count, kv_heads, group, size).permute(1, 2, 0, 3).reshape(kv_heads, group * count, size)
        scores = torch.bmm(rows, k.permute(1, 2, 0)).view(kv_heads, group, count, length)
        weights = torch.softmax(scores + future[length - count : length, :length], -1)
        mixed = torch.bmm(weights.view(kv_heads, group * count, length), v.transpose(0, 1))
        parts.append(
            mixed.view(kv_heads, group, count, size).permute(2, 0, 1, 3).reshape(count, kv_heads * group * size)
        )
    return torch.cat(parts)


@cache
def _future(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What hides later tokens: [count, count]."""
    return torch.full((count, count), float("-inf"), dtype=dtype, device=device).triu(1)


class _Loss(torch.autograd.Function):
    """The weighted sum of cross entropies, and each of them. The gradient is made on the way forward, block by block:
    logits and probabilities of a whole batch never exist, nor is the head multiplied twice.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, head: Tensor, targets: Tensor, weights: Tensor, rows: int
    ) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(x), device=x.device)
        gradient = torch.empty_like(x) if context.needs_input_grad[0] else None
        for start in range(0, len(x), rows):
            block = slice(start, start + rows)
            logits = (x[block] @ head.T).float()
            right = targets[block, None]
            total = torch.logsumexp(logits, -1, keepdim=True)
            losses[block] = (total - logits.gather(1, right))[:, 0]
            if gradient is not None:
                probabilities = logits.sub_(total).exp_()
                probabilities.scatter_add_(1, right, -torch.ones_like(total))
                gradient[block] = probabilities.mul_(weights[block, None]).to(x.dtype) @ head
        context.save_for_backward(gradient)
        context.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None, None


def weighted_loss(
    x: Tensor, head: Tensor, targets: Tensor, weights: Tensor, rows: int = _ROWS
) -> tuple[Tensor, Tensor]:
    """Cross entropy of `x` [m, hidden] @ `head` [vocabulary, hidden]^T at `targets` int64[m], in nats.

    The logits of `rows` of them are in memory at once. Returns the sum weighted by float32[m], to go backward from, and
    the losses float32[m] for the eye.
    """
    summed, losses = _Loss.apply(x, head, targets, weights, rows)
    return summed, losses
