"""Q as a table: what learning would be without a network's errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from gfn_gym import DAG
from gfn_gym.agents.networks import QNetwork
from gfn_gym.agents.policy import GFNPolicy
from gfn_gym.dag import Floats, States
from gfn_gym.evaluation import Solution


class TableNetwork(QNetwork):
    """One float64 row of Q for each state of a MultiDiscrete space, reachable or not."""

    def __init__(self, dag: DAG):
        super().__init__()
        space: Any = dag.state_space
        self.nvec = tuple(space.nvec.tolist())
        self.table = th.nn.Parameter(
            th.zeros(int(np.prod(self.nvec)), dag.n_actions, dtype=th.float64), requires_grad=False
        )

    def forward(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return self.table[self.rows(states.numpy())].masked_fill(~mask, -th.inf)

    def rows(self, states: States) -> th.Tensor:
        """Where the states (n, d) lie in the table, int64 (n,)."""
        return th.as_tensor(np.ravel_multi_index(tuple(states.T), self.nvec))


class TablePolicy(GFNPolicy):
    def make_q_net(self, **network_kwargs: Any) -> QNetwork:
        return TableNetwork(self.dag)


def fill_with_flows(network: TableNetwork, solution: Solution, temperature: float = 1.0) -> None:
    """Write the fixed point: log F(edge), plus αλ·log π with α = 1 − 1/λ for Munchausen DQN."""
    states = solution.graph.states
    states = states[solution.graph.dag.action_mask(states).any(axis=1)]
    log_pi: Floats = solution.policy(states)
    q = solution.policy.log_flow(states)[:, None] + temperature * log_pi
    network.table[network.rows(states)] = th.as_tensor(np.where(np.isfinite(q), q, 0.0))
