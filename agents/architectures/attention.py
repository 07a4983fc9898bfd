"""Dropout and attention as few passes over memory: both are slower than the products beside them.

Heads are narrow here (8 of 64 numbers) and tokens few (16), so that what torch's general code
adds, copies of transposed keys and masks of another type, costs more than the arithmetic.
"""

from __future__ import annotations

from typing import Any, cast

import torch as th
from torch.autograd.function import once_differentiable


def dropout(x: th.Tensor, p: float) -> th.Tensor:
    """Zero each element with probability p (to 2^-16) and scale the others by 1/(1 − p).

    What ``F.dropout`` does at a sixth of its cost on the CPU, which draws a float an element: here
    16 random bits are enough.
    """
    return x if p == 0 else (x * kept(x.shape, p, x)).mul_(1 / (1 - p))


def add_dropped(x: th.Tensor, y: th.Tensor, p: float) -> th.Tensor:
    """x + dropout(y, p)."""
    return x + y if p == 0 else th.addcmul(x, y, kept(y.shape, p, y), value=1 / (1 - p))


def kept(shape: th.Size | tuple[int, ...], p: float, like: th.Tensor) -> th.Tensor:
    """1 where dropout keeps an element and 0 where not, in the type and on the device of another.

    Not bool: a product with that is five times as slow.
    """
    keep = like.new_empty(shape)
    draws = th.empty(-(-keep.numel() // 4), dtype=th.int64, device=like.device)
    bits = draws.random_(-(2**63), None).view(th.int16)[: keep.numel()].view(shape)
    return th.ge(bits, round(p * 2**16) - 2**15, out=keep)


def attend(query: th.Tensor, key_value: th.Tensor, heads: int, p: float) -> th.Tensor:
    """Attention by scaled dot products, with dropout of its weights.

    Args:
        query: (n, m, width), the heads' one after another.
        key_value: (n, length, 2·width), the keys' before the values.
        heads: how many; a divisor of the width.
        p: of dropout.

    Returns:
        What the m tokens gather, (n, m, width).
    """
    keep = None
    if p > 0:
        n, m, _ = query.shape
        keep = kept((n * heads, m, key_value.shape[1]), p, query)
    if th.is_grad_enabled() and (query.requires_grad or key_value.requires_grad):
        return cast(th.Tensor, _Attend.apply(query, key_value, heads, keep, p))  # type: ignore[no-untyped-call]
    return _forward(query, key_value, heads, keep, p)[0]


def _split(x: th.Tensor, heads: int) -> th.Tensor:
    """(n, m, width) → (n·heads, m, depth)."""
    n, m, width = x.shape
    return x.view(n, m, heads, -1).transpose(1, 2).reshape(n * heads, m, width // heads)


def _join(x: th.Tensor, heads: int) -> th.Tensor:
    """(n·heads, m, depth) → (n, m, width)."""
    _, m, depth = x.shape
    return x.view(-1, heads, m, depth).transpose(1, 2).reshape(-1, m, heads * depth)


def _forward(
    query: th.Tensor, key_value: th.Tensor, heads: int, keep: th.Tensor | None, p: float
) -> tuple[th.Tensor, tuple[th.Tensor, ...]]:
    """What is gathered, and what the backward pass needs."""
    n, length, width = key_value.shape
    depth = width // 2 // heads
    q = _split(query, heads)
    both = key_value.view(n, length, 2, heads, depth).permute(2, 0, 3, 1, 4)
    k, v = both.reshape(2, n * heads, length, depth).unbind(0)
    weights = th.bmm(q, k.transpose(1, 2)).mul_(depth**-0.5).softmax(dim=2)  # [n·heads, m, length]
    dropped = weights if keep is None else weights * keep
    gathered = th.bmm(dropped, v)
    if keep is not None:
        gathered.mul_(1 / (1 - p))
    return _join(gathered, heads), (q, k, v, weights, dropped, gathered)


class _Attend(th.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: th.Tensor,
        key_value: th.Tensor,
        heads: int,
        keep: th.Tensor | None,
        p: float,
    ) -> th.Tensor:
        joined, used = _forward(query, key_value, heads, keep, p)
        ctx.save_for_backward(*used, keep)
        ctx.heads, ctx.p = heads, p
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: th.Tensor) -> tuple[th.Tensor | None, ...]:
        q, k, v, weights, dropped, gathered, keep = ctx.saved_tensors
        (n_heads, length, depth), heads = k.shape, ctx.heads
        grad = _split(grads[0], heads)
        # Σ over keys of weight · its gradient, which softmax's derivative subtracts.
        mean = (grad * gathered).sum(dim=2, keepdim=True)
        of_weights = th.bmm(grad, v.transpose(1, 2))
        of_key_value = k.new_empty((2, n_heads, length, depth))
        th.bmm(dropped.transpose(1, 2), grad, out=of_key_value[1])
        if keep is not None:
            of_weights.mul_(keep).mul_(1 / (1 - ctx.p))
            of_key_value[1].mul_(1 / (1 - ctx.p))
        of_scores = of_weights.sub_(mean).mul_(weights).mul_(depth**-0.5)
        th.bmm(of_scores.transpose(1, 2), q, out=of_key_value[0])
        of_query = _join(th.bmm(of_scores, k), heads)
        laid_out = of_key_value.view(2, -1, heads, length, depth).permute(1, 3, 0, 2, 4)
        return of_query, laid_out.reshape(-1, length, 2 * heads * depth), None, None, None
