"""Whole trajectories as compact arrays, and how they are built: a pure function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import DAG, Floats, Mask, States
from gfn_gym.mdp import MDP, log_reward_of, sample_from_log_probs, sample_legal_actions

from ..replay.trajectory import Trajectory
from ..replay.transition_buffer import compact_dtype

Acting = Callable[[States, Mask], NDArray[Any]]
"""States (n, d) and masks (n, n_actions) → log π up to a constant, (n, n_actions)."""


@dataclass(slots=True)
class Built:
    """m trajectories from s0 to an object, their n edges one after another.

    What can be derived is left out: masks, log P_B, shaping.

    Attributes:
        states: (n, d), what each edge leaves, in the smallest type that holds it.
        actions: (n,), in the smallest type.
        lengths: int64 (m,), edges of each.
        objects: (m, d), in the type of ``states``.
        log_reward: float64 (m,), log R of the objects; NaN where it is not known yet.
        versions: int64 (m,), how many updates the policy that built it had seen.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    lengths: NDArray[np.int64]
    objects: NDArray[Any]
    log_reward: Floats
    versions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, which: NDArray[Any] | slice) -> Built:
        """The trajectories at indices, in a slice, or where a mask is True."""
        which = np.arange(len(self))[which]
        starts = self.lengths.cumsum() - self.lengths
        lengths = self.lengths[which]
        places = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        edges = np.repeat(starts[which], lengths) + places
        ends = self.objects[which], self.log_reward[which], self.versions[which]
        return Built(self.states[edges], self.actions[edges], lengths, *ends)

    @staticmethod
    def joined(parts: Sequence[Built]) -> Built:
        """Several, at least one, as one."""
        if len(parts) == 1:
            return parts[0]
        names = [each.name for each in fields(Built)]
        return Built(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def state_dict(self) -> dict[str, Any]:
        """The arrays by name."""
        return {each.name: getattr(self, each.name) for each in fields(Built)}

    def trajectories(self, mdp: MDP) -> list[Trajectory]:
        """Derive log P_B and shaping by a decision process, and take them apart."""
        dag, ends = mdp.dag, self.lengths.cumsum()
        states, actions = self.states.astype(dag.state_space.dtype), self.actions.astype(np.int64)
        next_states = np.roll(states, -1, axis=0)
        next_states[ends - 1] = self.objects
        done = np.zeros(len(states), dtype=bool)
        done[ends - 1] = True
        log_backward = mdp.log_backward(states, actions, next_states).astype(np.float32)
        shaping = mdp.shaping(states, next_states, done).astype(np.float32)
        columns = [
            np.split(column, ends[:-1])
            for column in (self.states, self.actions.astype(np.int32), log_backward, shaping)
        ]
        rows = zip(*columns, self.log_reward.tolist(), self.objects, strict=True)
        return [Trajectory(*row) for row in rows]


def build(
    dag: DAG, acting: Acting, epsilon: Floats, generator: np.random.Generator, version: int = 0
) -> Built:
    """Build as many whole trajectories as there are ε, (m,); rewards are NaN.

    Every trajectory that is begun is finished, so none is preferred for being short, and the
    result depends on the arguments only.
    """
    m = len(epsilon)
    states, rows = dag.initial_states(m), np.arange(m)
    compact = compact_dtype(dag.state_space)
    objects = states.astype(compact)
    steps: list[tuple[NDArray[Any], ...]] = []
    while len(rows):
        mask = dag.action_mask(states)
        actions = sample_from_log_probs(acting(states, mask), generator)
        if epsilon.any():
            explore = generator.random(len(rows)) < epsilon[rows]
            actions = np.where(explore, sample_legal_actions(mask, generator), actions)
        next_states, done = dag.step(states, actions)
        steps.append((rows, states.astype(compact), actions))
        objects[rows[done]] = next_states[done]
        rows, states = rows[~done], next_states[~done]
    trajectory, edges, actions = (np.concatenate(column) for column in zip(*steps, strict=True))
    order = np.argsort(trajectory, kind="stable")  # steps of one are in order already
    return Built(
        edges[order],
        actions[order].astype(np.min_scalar_type(dag.n_actions - 1)),
        np.bincount(trajectory, minlength=m),
        objects,
        np.full(m, np.nan),
        np.full(m, version, dtype=np.int64),
    )


def with_rewards(dag: DAG, built: Built) -> Built:
    """Ask for the rewards of the objects, all at once."""
    built.log_reward = log_reward_of(dag, built.objects.astype(dag.state_space.dtype))
    return built
