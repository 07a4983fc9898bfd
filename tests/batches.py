"""Transitions as the agents see them, without collecting any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.agents.common.buffers import TransitionBatch, TransitionBuffer
from gfn_gym.dag import DAG, Actions, States
from gfn_gym.mdp import MDP


def batch_of(dag: DAG, states: States, actions: Actions) -> TransitionBatch:
    """The transitions that actions (n,) lead to from states (n, d), in this order."""
    n = len(states)
    buffer = TransitionBuffer(dag, n, n, "cpu", 0.0, np.random.default_rng(0))
    buffer.add(states, actions, MDP(dag).step(states, actions))
    indices: NDArray[np.int64] = np.arange(n)
    return buffer.batch_at(indices)
