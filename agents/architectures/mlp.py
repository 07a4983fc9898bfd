"""A multi-layer perceptron over the one-hot state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from gfn_gym.arguments import whole
from gfn_gym.dag import DAG

from .base import Architecture


class MLP(Architecture):
    """ "MlpPolicy": fully connected layers over the one-hot state; any MultiDiscrete states.

    Args:
        dag: its state_space must be a MultiDiscrete.
        net_arch: widths of the hidden layers; [256, 256] in arXiv:2310.12934.
        activation_fn: a class or function that makes what follows each of them.
        ngram: the first layer also reads the one-hot values of every window of this many
            neighboring coordinates, for words whose reward depends on what stands side by side; at
            1 the coordinates alone. Its weights grow with the power of this of their sizes.

    Raises:
        TypeError: the DAG's states are something else, or ``ngram`` is not an integer.
        ValueError: ``net_arch`` is empty, or holds a width below 1; ``ngram`` is below 1 or more
            than the coordinates.
    """

    def __init__(
        self,
        dag: DAG,
        net_arch: Sequence[int] = (256, 256),
        activation_fn: Callable[[], nn.Module] = nn.ReLU,
        ngram: int = 1,
    ):
        super().__init__(dag)
        if not isinstance(dag.state_space, spaces.MultiDiscrete):
            raise TypeError(
                f"MlpPolicy reads MultiDiscrete states, but {dag!r} has {dag.state_space}: choose "
                "a policy made for it"
            )
        if not net_arch or min(net_arch) < 1:
            raise ValueError(f"net_arch={net_arch!r} must list the hidden widths, e.g. [256, 256]")
        nvec = dag.state_space.nvec.tolist()
        windows = (
            [] if whole("ngram", ngram, least=1, most=len(nvec)) == 1 else [NGrams(nvec, ngram)]
        )
        read = windows[0].nvec if windows else nvec
        layers: list[nn.Module] = [*windows, OneHotLinear(read, net_arch[0])]
        for below, above in itertools.pairwise(net_arch):
            layers += [activation_fn(), nn.Linear(below, above)]
        self.layers = nn.Sequential(*layers, activation_fn())
        self.width = net_arch[-1]

    def encode(self, states: th.Tensor) -> th.Tensor:
        """States int64 (n, d) → the last hidden layer, (n, width)."""
        return cast(th.Tensor, self.layers(states))

    def make_forward_head(self) -> nn.Module:
        return nn.Linear(self.width, self.n_actions)

    def make_backward_head(self) -> nn.Module:
        return nn.Linear(self.width, self.n_backward_actions)

    def make_value_head(self) -> nn.Module:
        return nn.Linear(self.width, 1)


class NGrams(nn.Module):
    """Each coordinate, and the number that the values of each window of ``n`` of them make.

    Args:
        nvec: how many values each coordinate has.
        n: length of a window.

    Attributes:
        nvec: how many values each number of the output has.
    """

    powers: th.Tensor

    def __init__(self, nvec: Sequence[int], n: int):
        super().__init__()
        base = max(nvec)
        self.n, self.nvec = n, [*nvec, *[base**n] * (len(nvec) - n + 1)]
        powers = th.as_tensor([base**place for place in range(n)])
        self.register_buffer("powers", powers, persistent=False)

    def forward(self, states: th.Tensor) -> th.Tensor:
        """States int64 (n, d) → int64 (n, 2d − n + 1)."""
        windows = states.unfold(1, self.n, 1)  # [n, d − n + 1, n]
        return th.cat([states, (windows * self.powers).sum(2)], dim=1)


class OneHotLinear(nn.Module):
    """A linear layer on the one-hot state, computed as the sum of one weight row a coordinate.

    The same function and the same initialization as ``nn.Linear`` on the one-hot observation, at
    a fraction of its cost.

    Args:
        nvec: how many values each coordinate has.
        width: of the output.
    """

    starts: th.Tensor

    def __init__(self, nvec: Sequence[int], width: int):
        super().__init__()
        rows = int(sum(nvec))
        starts = np.concatenate(([0], np.cumsum(nvec)[:-1]))
        self.register_buffer("starts", th.as_tensor(starts, dtype=th.int64), persistent=False)
        # Measured at 12 to 121 coordinates of 2 to 5 values: the gradient of a sum of rows then
        # takes 2 to 4 times as long as a product with the one-hot matrix.
        self.many_of_few_values = len(nvec) >= 12 and rows <= 8 * len(nvec)
        bound = rows**-0.5
        self.weight = nn.Parameter(th.empty(rows, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(width).uniform_(-bound, bound))

    def forward(self, states: th.Tensor) -> th.Tensor:
        """States int64 (n, d) → (n, width)."""
        rows = states + self.starts
        if self.many_of_few_values and th.is_grad_enabled():
            onehot = self.weight.new_zeros(len(rows), len(self.weight)).scatter_(1, rows, 1.0)
            return th.addmm(self.bias, onehot, self.weight)
        return F.embedding_bag(rows, self.weight, mode="sum") + self.bias
