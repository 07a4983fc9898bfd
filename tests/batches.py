"""Transitions and trajectories as the agents see them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.agents.replay.trajectory_buffer import (
    Trajectory,
    TrajectoryBatch,
    TrajectoryBuffer,
)
from gfn_gym.agents.replay.transition_buffer import TransitionBatch, TransitionBuffer
from gfn_gym.dag import DAG, Actions, States
from gfn_gym.mdp import MDP


def batch_of(dag: DAG, states: States, actions: Actions) -> TransitionBatch:
    """The transitions that actions (n,) lead to from states (n, d), in this order."""
    n = len(states)
    buffer = TransitionBuffer(dag, n, n, "cpu", 0.0, np.random.default_rng(0))
    buffer.add(states, actions, MDP(dag).step(states, actions))
    indices: NDArray[np.int64] = np.arange(n)
    return buffer.batch_at(indices)


def trajectories_of(
    dag: DAG, walks: list[list[int]], learnt_backward: bool = False
) -> TrajectoryBatch:
    """The trajectories that lists of actions lead along from s0, in this order."""
    buffer, mdp = TrajectoryBuffer(dag, 0, 1, "cpu", np.random.default_rng(0)), MDP(dag)
    for walk in walks:
        states = dag.initial_states(1)
        for action in walk:
            transition = mdp.step(states, np.array([action]))
            buffer.add(states, np.array([action]), transition)
            states = transition.next_states
    assert len(buffer.new) == len(walks), "a walk goes on after its end, or has none"
    return buffer.batch(buffer.take_new(), learnt_backward)


def on_policy(model: Any, n: int) -> list[Trajectory]:
    """At least ``n`` trajectories by an agent's own policy."""
    model.env.reset()
    model.replay_buffer.reset()
    while len(model.replay_buffer.new) < n:
        states = model.env.simulator.states
        actions, _ = model._sample_action(0)
        model.replay_buffer.add(states, actions, model.env.step_states(actions)[0])
    taken: list[Trajectory] = model.replay_buffer.take_new()
    return taken
