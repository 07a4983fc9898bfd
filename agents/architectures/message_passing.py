"""Message passing over trees as one function with a gradient of its own.

The arithmetic is matrix products, four of a node's vector in each step, and they are at the
processor's limit already. What autograd would add beside them is left out here: nodes lie roots
first, so what goes down to a child is written, not added, where the child is; sums are made in
place; and a backward pass reads what the forward pass has at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch as th
from torch import nn
from torch.autograd.function import once_differentiable

N_WEIGHTS = 9
"""Tensors of a step, in the order of :meth:`MessageStep.weights`."""
EPSILON = 1e-5  # of the norms


class MessageStep(nn.Module):
    """The weights of one step: each node reads its neighbors through the bonds between.

    With x = norm(node) of each of M nodes, and the bond's own vector b:

        node += join(relu(own(x) + received(Σ_neighbors relu(message(x_neighbor) + b))))
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, EPSILON)
        self.message, self.own = nn.Linear(width, width), nn.Linear(width, width)
        self.received, self.join = nn.Linear(width, width, bias=False), nn.Linear(width, width)

    def weights(self) -> tuple[th.Tensor, ...]:
        """All of them, as :func:`pass_messages` takes them."""
        norm, message, own, join = self.norm, self.message, self.own, self.join
        matrices = (message.weight, message.bias, own.weight, own.bias, self.received.weight)
        return norm.weight, norm.bias, *matrices, join.weight, join.bias


def pass_messages(
    nodes: th.Tensor,
    up: th.Tensor,
    down: th.Tensor,
    parent: th.Tensor,
    steps: Sequence[MessageStep],
) -> th.Tensor:
    """Take all steps and return the nodes' new vectors, (M, width).

    Args:
        nodes: (M, width), n roots and then K other nodes.
        up, down: (K, width), what the bond of each of those with its parent is, on the way from
            the node to the parent, and back.
        parent: int64 (K,), the parents' numbers among the M.
        steps: the weights.
    """
    weights = [tensor for step in steps for tensor in step.weights()]
    tensors = (nodes, up, down, *weights)
    if th.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return cast(th.Tensor, _PassMessages.apply(parent, *tensors))  # type: ignore[no-untyped-call]
    for step in _pieces(weights, N_WEIGHTS):
        nodes = _forward(nodes, up, down, parent, step)[0]
    return nodes


def _pieces(tensors: Sequence[th.Tensor], size: int) -> list[Sequence[th.Tensor]]:
    return [tensors[i : i + size] for i in range(0, len(tensors), size)]


class _Kept(NamedTuple):
    """What the backward pass of a step needs."""

    nodes: th.Tensor
    mean: th.Tensor
    rstd: th.Tensor
    read: th.Tensor
    rising: th.Tensor
    falling: th.Tensor
    gathered: th.Tensor
    update: th.Tensor


def _forward(
    nodes: th.Tensor,
    up: th.Tensor,
    down: th.Tensor,
    parent: th.Tensor,
    step: Sequence[th.Tensor],
) -> tuple[th.Tensor, _Kept]:
    scale, shift, message, message_bias, own, own_bias, received, join, join_bias = step
    n_roots = len(nodes) - len(parent)
    read, mean, rstd = th.native_layer_norm(nodes, scale.shape, scale, shift, EPSILON)
    said = (read @ message.t()).add_(message_bias)
    rising = said[n_roots:].add(up).relu_()  # [K, width]
    falling = said.index_select(0, parent).add_(down).relu_()
    gathered = said  # no longer needed: its memory is
    gathered[:n_roots] = 0
    gathered[n_roots:] = falling
    gathered.index_add_(0, parent, rising)
    update = (read @ own.t()).addmm_(gathered, received.t()).add_(own_bias).relu_()
    new = th.addmm(nodes, update, join.t()).add_(join_bias)
    return new, _Kept(nodes, mean, rstd, read, rising, falling, gathered, update)


def _backward(
    grad: th.Tensor, parent: th.Tensor, step: Sequence[th.Tensor], kept: _Kept
) -> tuple[th.Tensor, th.Tensor, th.Tensor, list[th.Tensor]]:
    """The gradients with respect to nodes, up, down and the step's weights."""
    scale, shift, message, _, own, _, received, join, _ = step
    n_roots = len(grad) - len(parent)
    of_join = grad.t() @ kept.update, grad.sum(0)
    before = (grad @ join).mul_(kept.update.sign())  # sign: relu's derivative where relu is known
    of_received, of_own = before.t() @ kept.gathered, (before.t() @ kept.read, before.sum(0))
    gathered = before @ received
    falling = gathered[n_roots:] * kept.falling.sign()
    rising = gathered.index_select(0, parent).mul_(kept.rising.sign())
    said = gathered  # no longer needed: its memory is
    said[:n_roots] = 0
    said[n_roots:] = rising
    said.index_add_(0, parent, falling)
    of_message = said.t() @ kept.read, said.sum(0)
    read = (before @ own).addmm_(said, message)
    through, *of_norm = th.ops.aten.native_layer_norm_backward(
        read, kept.nodes, scale.shape, kept.mean, kept.rstd, scale, shift, [True, True, True]
    )
    weights = [*of_norm, *of_message, *of_own, of_received, *of_join]
    return through.add_(grad), rising, falling, weights


class _PassMessages(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parent: th.Tensor, *tensors: th.Tensor) -> th.Tensor:
        nodes, up, down, *weights = tensors
        kept: list[th.Tensor] = []
        for step in _pieces(weights, N_WEIGHTS):
            nodes, of_step = _forward(nodes, up, down, parent, step)
            kept += of_step
        ctx.n_weights = len(weights)
        ctx.save_for_backward(parent, *weights, *kept)
        return nodes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: th.Tensor) -> tuple[th.Tensor | None, ...]:
        (grad,), (parent, *tensors) = grads, ctx.saved_tensors
        weights = _pieces(tensors[: ctx.n_weights], N_WEIGHTS)
        kept = _pieces(tensors[ctx.n_weights :], len(_Kept._fields))
        of_weights: list[th.Tensor] = []
        up = down = None
        for step, of_step in zip(reversed(weights), reversed(kept), strict=True):
            grad, rising, falling, added = _backward(grad, parent, step, _Kept(*of_step))
            up = rising if up is None else up.add_(rising)
            down = falling if down is None else down.add_(falling)
            of_weights = added + of_weights
        return None, grad, up, down, *of_weights
