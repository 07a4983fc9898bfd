"""The best objects found so far that are unlike each other, and trajectories that lead to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.evaluation.sampling import draw_edges_into
from gfn_gym.mdp import MDP

from .trajectory import Trajectory

CROWDED = 1.5  # times the distance below which objects are alike


class ObjectPool:
    """Finished objects of high reward, no two of them alike.

    Alike are objects whose distance (:meth:`gfn_gym.DAG.distances`) is below the DAG's
    ``similar_distance``; of several the best stays. Where a pool is full, the worst goes of those
    in its lower half that lie within one and a half times that distance of a better one, if there
    are any: so it does not fill up with what lies around the modes that were found first.

    Args:
        dag: whose objects.
        size: how many at most.
        generator: draws from it.

    Attributes:
        states: (m, d), the objects; log_reward: float64 (m,), log R of them.
    """

    def __init__(self, dag: DAG, size: int, generator: np.random.Generator):
        self.dag, self.size, self.generator = dag, size, generator
        self.reset()

    def __len__(self) -> int:
        return len(self.states)

    def reset(self) -> None:
        """Drop everything."""
        self.states: States = self.dag.initial_states(0)
        self.log_reward: Floats = np.zeros(0)

    def add(self, states: States, log_reward: Floats) -> None:
        """Look at finished objects (n, d) with log R (n,), and keep those that are better."""
        order = np.argsort(-log_reward, kind="stable")
        for state, value in zip(states[order], log_reward[order], strict=True):
            if len(self) == self.size and value <= self.log_reward.min():
                return  # as are all that follow
            self._add_one(state[None], float(value))

    def _add_one(self, state: States, value: float) -> None:
        near = np.zeros(len(self), dtype=bool)
        if len(self):
            near = self.dag.distances(state, self.states)[0] < self.dag.similar_distance
            if (self.log_reward[near] >= value).any():
                return
        self.states = np.concatenate([self.states[~near], state])
        self.log_reward = np.append(self.log_reward[~near], value)
        if len(self) > self.size:
            kept = np.arange(len(self)) != self._one_too_many()
            self.states, self.log_reward = self.states[kept], self.log_reward[kept]

    def _one_too_many(self) -> int:
        apart = self.dag.distances(self.states, self.states)
        better = self.log_reward[:, None] < self.log_reward
        crowded = ((apart < CROWDED * self.dag.similar_distance) & better).any(axis=1)
        crowded &= self.log_reward < np.median(self.log_reward)
        if not crowded.any():
            return int(np.argmin(self.log_reward))
        return int(np.argmin(np.where(crowded, self.log_reward, np.inf)))

    def draw(self, n: int) -> tuple[States, Floats]:
        """Return n of the objects (n, d) and their log R (n,), uniformly, with repetition."""
        chosen = self.generator.integers(len(self), size=n)
        return self.states[chosen], self.log_reward[chosen]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "states": self.states,
            "log_reward": self.log_reward,
            "generator": self.generator.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.states, self.log_reward = state["states"], state["log_reward"]
        self.generator.bit_generator.state = state["generator"]


def trajectories_to(
    mdp: MDP, backward: MDP, objects: States, log_reward: Floats, generator: np.random.Generator
) -> list[Trajectory]:
    """Draw a complete trajectory to each finished object (n, d) backwards by P_B.

    Args:
        mdp: the decision process whose log P_B are stored.
        backward: the same with the P_B that draws.
        objects: (n, d).
        log_reward: (n,), log R of them, which is not asked for again.
        generator: draws.
    """
    dag = mdp.dag
    paths: list[list[tuple[Any, ...]]] = [[] for _ in objects]  # edges, the last one first
    if dag.stop_action is not None:
        shaping = -mdp.potential_of(objects)
        for path, state, added in zip(paths, objects, shaping, strict=True):
            path.append((state, dag.stop_action, 0.0, added))
    rows, states = np.arange(len(objects)), objects
    while True:
        unfinished = dag.backward_mask(states).any(axis=1)
        rows, states = rows[unfinished], states[unfinished]
        if not len(rows):
            break
        edges = draw_edges_into(backward, states, generator)
        log_backward = mdp.log_backward(edges.states, edges.actions, states)
        done = np.array([not paths[row] for row in rows.tolist()])
        shaping = mdp.shaping(edges.states, states, done)
        for place, row in enumerate(rows.tolist()):
            numbers = log_backward[place], shaping[place]
            paths[row].append((edges.states[place], edges.actions[place], *numbers))
        states = edges.states
    return [
        _trajectory(path[::-1], float(value), state)
        for path, value, state in zip(paths, log_reward, objects, strict=True)
    ]


def _trajectory(path: list[tuple[Any, ...]], log_reward: float, final: Any) -> Trajectory:
    states, actions, log_backward, shaping = zip(*path, strict=True)
    return Trajectory(
        np.stack(states),
        np.array(actions, dtype=np.int32),
        np.array(log_backward, dtype=np.float32),
        np.array(shaping, dtype=np.float32),
        log_reward,
        np.array(final),
    )
