"""A user's own network, in one file: attention over the coordinates of any MultiDiscrete state."""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn

from gfn_gym import DAG
from gfn_gym.agents import Architecture


class AttentionOverCoordinates(Architecture):
    """A token per coordinate, one layer of attention between them, and their mean.

    Args:
        dag: its state_space must be a MultiDiscrete.
        width: of the tokens.
        heads: of the attention.
    """

    def __init__(self, dag: DAG, width: int = 16, heads: int = 2):
        super().__init__(dag)
        space: Any = dag.state_space
        sizes = th.as_tensor(space.nvec)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        self.width = width
        self.embedding = nn.Embedding(int(sizes.sum()), width)
        self.attention = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, batch_first=True)

    def encode(self, states: th.Tensor) -> th.Tensor:
        """States int64 (n, d) → (n, width)."""
        tokens = self.embedding(states + self.starts)  # [n, d, width]
        return self.attention(tokens).mean(dim=1)

    def make_forward_head(self) -> nn.Module:
        return nn.Linear(self.width, self.n_actions)

    def make_backward_head(self) -> nn.Module:
        return nn.Linear(self.width, self.n_backward_actions)

    def make_value_head(self) -> nn.Module:
        return nn.Linear(self.width, 1)
