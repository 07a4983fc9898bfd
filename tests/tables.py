"""Q as a table: what learning would be without a network's errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from gfn_gym import DAG
from gfn_gym.agents import Architecture
from gfn_gym.agents.networks import QNetwork
from gfn_gym.dag import Floats
from gfn_gym.evaluation import Solution


class Table(Architecture):
    """One float64 row of each head for each state of a MultiDiscrete space, reachable or not."""

    def __init__(self, dag: DAG):
        super().__init__(dag)
        space: Any = dag.state_space
        self.nvec = tuple(space.nvec.tolist())
        self.n_rows = int(np.prod(self.nvec))

    def encode(self, states: th.Tensor) -> th.Tensor:
        """Where the states int64 (n, d) lie in the table, int64 (n,)."""
        return th.as_tensor(np.ravel_multi_index(tuple(states.numpy().T), self.nvec))

    def make_forward_head(self) -> Rows:
        return Rows(self.n_rows, self.n_actions)

    def make_backward_head(self) -> Rows:
        return Rows(self.n_rows, self.n_backward_actions)

    def make_value_head(self) -> Rows:
        return Rows(self.n_rows, 1)


class Rows(th.nn.Module):
    """A head: the rows themselves, which a test writes; no gradient goes into them."""

    def __init__(self, n_rows: int, n_outputs: int):
        super().__init__()
        self.table = th.nn.Parameter(
            th.zeros(n_rows, n_outputs, dtype=th.float64), requires_grad=False
        )

    def forward(self, rows: th.Tensor) -> th.Tensor:
        return self.table[rows]


def table_of(network: QNetwork) -> th.Tensor:
    """The rows of Q, (n_rows, n_actions), to be written."""
    table = network.head.table
    assert isinstance(table, th.Tensor)
    return table


def fill_with_flows(network: QNetwork, solution: Solution, temperature: float = 1.0) -> None:
    """Write the fixed point: log F(edge), plus αλ·log π with α = 1 − 1/λ for Munchausen DQN."""
    states = solution.graph.states
    states = states[solution.graph.dag.action_mask(states).any(axis=1)]
    log_pi: Floats = solution.policy(states)
    q = solution.policy.log_flow(states)[:, None] + temperature * log_pi
    rows = network.architecture.encode(th.as_tensor(states.astype(np.int64)))
    table_of(network)[rows] = th.as_tensor(np.where(np.isfinite(q), q, 0.0))
