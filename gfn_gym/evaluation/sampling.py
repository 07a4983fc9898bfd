"""Trajectories: forward from s0 by a policy, and backward from given objects by P_B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from gfn_gym.arguments import seeded, whole
from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.edges import Edges, parallel_edges
from gfn_gym.evaluation.policy import (
    Policy,
    checked_backward_policy,
    log_probs_of,
    log_probs_of_actions,
)
from gfn_gym.graph import Indices, batches, inside
from gfn_gym.mdp import (
    MDP,
    BackwardPolicy,
    log_reward_of,
    sample_from_log_probs,
    sample_legal_actions,
)


@dataclass(slots=True)
class Samples:
    """Objects, each with the trajectory τ that was drawn for it.

    Attributes:
        states: (n, d), the objects.
        log_reward: float64 (n,), log R of them.
        log_forward: float64 (n,), log P_F(τ), summed over its edges, the stop action included.
        log_backward: float64 (n,), log P_B(τ | x), summed over its edges.
        lengths: int64 (n,), actions of the trajectory, the stop action included.
    """

    states: States
    log_reward: Floats
    log_forward: Floats
    log_backward: Floats
    lengths: Indices

    def __len__(self) -> int:
        return len(self.states)

    def log_weights(self) -> Floats:
        """Return log R + log P_B − log P_F, float64 (n,): log Z everywhere for a perfect policy."""
        return self.log_reward + self.log_backward - self.log_forward


def sample(
    dag: DAG,
    policy: Policy,
    n: int,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> Samples:
    """Draw ``n`` objects by the policy.

    Args:
        dag: the DAG, of any size.
        policy: states → log-probabilities.
        n: how many, at least 1.
        seed: of a generator of its own, or a generator to draw from. The same seed and
            batch_size give the same samples.
        batch_size: trajectories built at once; bounds the memory.
        backward_policy: log-probabilities of backward actions for ``log_backward``; None is
            uniform.

    Raises:
        ValueError: n or batch_size below 1, or the policy returned no log-probabilities.
    """
    whole("n", n, least=1)
    whole("batch_size", batch_size, least=1)
    generator = seeded("seed", seed)
    mdp = MDP(dag, checked_backward_policy(dag, backward_policy))
    return _concatenate(
        [
            _draw_forward(mdp, policy, part.stop - part.start, generator)
            for part in batches(n, batch_size)
        ]
    )


def _draw_forward(mdp: MDP, policy: Policy, n: int, generator: np.random.Generator) -> Samples:
    states = mdp.dag.initial_states(n)
    drawn = Samples(states.copy(), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n, np.int64))
    rows = np.arange(n)  # the trajectories that still go on; states are theirs
    while len(rows):
        log_probs = log_probs_of(mdp.dag, policy, states)
        actions = sample_from_log_probs(log_probs, generator)
        edge = mdp.step(states, actions)
        drawn.log_forward[rows] += log_probs[np.arange(len(rows)), actions]
        drawn.log_backward[rows] += edge.log_backward
        drawn.lengths[rows] += 1
        over = rows[edge.done]
        drawn.states[over] = edge.next_states[edge.done]
        drawn.log_reward[over] = edge.log_reward[edge.done]
        rows, states = rows[~edge.done], edge.next_states[~edge.done]
    return drawn


def sample_backward(
    dag: DAG,
    policy: Policy,
    objects: ArrayLike,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> Samples:
    """Draw one trajectory to each given object from P_B(τ | x), from the object back to s0.

    P_B is a distribution over edges: where several actions lead from the parent to the state,
    each is equally likely.

    Args:
        dag: the DAG, of any size.
        policy: states → log-probabilities, for ``log_forward`` of the same trajectories.
        objects: (n, d), finished objects; repeat a row for several trajectories to it.
        seed: of a generator of its own, or a generator to draw from.
        batch_size: trajectories drawn at once; bounds the memory.
        backward_policy: log-probabilities of backward actions; None is uniform.

    Returns:
        :class:`Samples` whose ``states`` are the objects.

    Raises:
        ValueError: a row is not a finished object of the DAG, or a policy returned no
            log-probabilities.
    """
    whole("batch_size", batch_size, least=1)
    states = check_objects(dag, objects)
    generator = seeded("seed", seed)
    mdp = MDP(dag, checked_backward_policy(dag, backward_policy))
    return _concatenate(
        [
            draw_backward(mdp, policy, states[part], generator)
            for part in batches(len(states), batch_size)
        ]
    )


def draw_backward(
    mdp: MDP, policy: Policy, objects: States, generator: np.random.Generator
) -> Samples:
    """:func:`sample_backward` of one batch of checked objects."""
    dag, n = mdp.dag, len(objects)
    log_forward, log_backward, lengths = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    if dag.stop_action is not None:
        log_forward += log_probs_of(dag, policy, objects)[:, dag.stop_action]
        lengths += 1
    rows, states = np.arange(n), objects
    while True:
        unfinished = dag.backward_mask(states).any(axis=1)
        check_reached_start(dag, states[~unfinished])
        rows, states = rows[unfinished], states[unfinished]
        if not len(rows):
            log_reward = log_reward_of(dag, objects)
            return Samples(objects, log_reward, log_forward, log_backward, lengths)
        edges = draw_edges_into(mdp, states, generator)
        parents, actions = edges.states, edges.actions
        log_forward[rows] += log_probs_of_actions(dag, policy, parents, actions)
        log_backward[rows] += mdp.log_backward(parents, actions, states)
        lengths[rows] += 1
        states = parents


def draw_edges_into(mdp: MDP, states: States, generator: np.random.Generator) -> Edges:
    """Draw one edge into each state (n, d) by P_B; none may be s0."""
    undo = sample_from_log_probs(mdp.backward_log_probs(states), generator)
    parents = mdp.dag.backward_step(states, undo)
    redo = np.asarray(mdp.dag.forward_action(states, undo))
    edges = Edges(parents, redo, states)
    return Edges(parents, _draw_parallel(mdp.dag, edges, generator), states)


def _draw_parallel(dag: DAG, edges: Edges, generator: np.random.Generator) -> Actions:
    """Choose uniformly among the actions that lead from each edge's state to its next state."""
    actions = edges.actions.copy()
    many = np.flatnonzero(dag.n_parallel(edges) > 1)
    if len(many):
        rows, found = parallel_edges(dag, edges[many])
        same = np.zeros((len(many), dag.n_actions), dtype=bool)
        same[rows, found.actions] = True
        actions[many] = sample_legal_actions(same, generator)
    return actions


# ---- checks ---------------------------------------------------------------------------------


def check_objects(dag: DAG, objects: ArrayLike) -> States:
    """Return given objects as states (n, d), in the DAG's dtype.

    Raises:
        ValueError: no rows, another shape or dtype, a row outside ``state_space`` or not
            canonical, or a state in which the construction cannot end; the message names it.
    """
    states = np.asarray(objects)
    start = dag.initial_states(1)
    if states.ndim != 2 or not len(states) or states.shape[1] != start.shape[1]:
        raise ValueError(
            f"objects must be states of {dag!r}, shape (n, {start.shape[1]}) with n at least 1, "
            f"not {states.shape}"
        )
    if not np.issubdtype(states.dtype, np.integer):
        raise ValueError(f"objects must be integers, as states are, not {states.dtype}")
    _require(_inside(dag, states), states, f"lies outside the states of {dag!r}")
    states = states.astype(start.dtype)
    mask = dag.action_mask(states)
    ends = ~mask.any(axis=1) if dag.stop_action is None else mask[:, dag.stop_action]
    _require(
        ends, states, f"is not a finished object of {dag!r}: the construction cannot end there"
    )
    backward = dag.backward_mask(states)
    built = np.flatnonzero(backward.any(axis=1))
    check_reached_start(dag, np.delete(states, built, axis=0))
    undo = backward[built].argmax(axis=1)
    parents = dag.backward_step(states[built], undo)
    again, _ = dag.step(parents, dag.forward_action(states[built], undo))
    canonical = np.asarray((again == states[built]).all(axis=1))
    _require(canonical, states[built], f"is not a canonical state of {dag!r}")
    return states


def check_reached_start(dag: DAG, states: States) -> None:
    """Raise a ValueError unless these states (n, d), which have no parent, are all s0."""
    at_start = (states == dag.initial_states(len(states))).all(axis=1)
    _require(at_start, states, f"has no parent and is not s0 of {dag!r}; nothing leads there")


def _inside(dag: DAG, states: States) -> NDArray[np.bool_]:
    space = dag.state_space
    if isinstance(space, spaces.MultiDiscrete):
        return inside(space, states)
    return np.array([state in space for state in states])


def _require(good: NDArray[np.bool_] | np.bool_, states: States, problem: str) -> None:
    if not good.all():
        raise ValueError(f"{states[int(np.argmin(good))].tolist()} {problem}")


def _concatenate(parts: Sequence[Samples]) -> Samples:
    columns: list[Any] = [
        np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Samples)
    ]
    return Samples(*columns)
