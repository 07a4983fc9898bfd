"""Tiny DAGs that differ from the hypergrid where the contract allows it."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from gfn_gym import DAG
from gfn_gym.dag import Actions, Floats, Mask, States
from gfn_gym.edges import Edges


class Words(DAG):
    """Fill ``length`` positions with one of ``size`` words, in any order; the last one completes.

    Rows are int64 (n, length), ``size`` where a position is empty. Action p·size + w writes word w
    at position p; backward action p empties position p.
    """

    stop_action = None

    def __init__(self, length: int = 3, size: int = 2):
        self.length, self.size = length, size
        self.state_space = spaces.MultiDiscrete([size + 1] * length)
        self.n_actions = length * size
        self.n_backward_actions = length

    def initial_states(self, n: int) -> States:
        return np.full((n, self.length), self.size)

    def action_mask(self, states: States) -> Mask:
        return np.repeat(states == self.size, self.size, axis=1)

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        positions, words = np.divmod(actions, self.size)
        nexts = states.copy()
        nexts[np.arange(len(states)), positions] = words
        return nexts, (nexts < self.size).all(axis=1)

    def backward_mask(self, states: States) -> Mask:
        return states < self.size

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), backward_actions] = self.size
        return parents

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions // self.size

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        words = states[np.arange(len(states)), backward_actions]
        return backward_actions * self.size + words

    def log_reward(self, states: States) -> Floats:
        return np.sin(1.0 + states @ (1.7 ** np.arange(self.length)))


class Piles(DAG):
    """Drop coins onto ``n_piles`` piles that nobody can tell apart, none above ``height``.

    Rows are the heights in descending order, so piles of equal height are parallel edges. A stop
    action ends it, or, where ``total`` is given, the coin with which there are that many.
    """

    def __init__(self, n_piles: int = 3, height: int = 3, total: int | None = None):
        self.n_piles, self.height, self.total = n_piles, height, total
        self.state_space = spaces.MultiDiscrete([height + 1] * n_piles)
        self.stop_action = n_piles if total is None else None
        self.n_actions = n_piles + (total is None)
        self.n_backward_actions = n_piles

    def initial_states(self, n: int) -> States:
        return np.zeros((n, self.n_piles), dtype=np.int64)

    def action_mask(self, states: States) -> Mask:
        room = states < self.height
        if self.total is None:
            return np.concatenate([room, np.ones((len(states), 1), dtype=bool)], axis=1)
        return room & (states.sum(axis=1) < self.total)[:, None]

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        nexts = self._sorted(states + (actions[:, None] == np.arange(self.n_piles)))
        if self.total is None:
            return nexts, actions == self.stop_action
        return nexts, nexts.sum(axis=1) == self.total

    def backward_mask(self, states: States) -> Mask:
        return states > 0

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        return self._sorted(states - (backward_actions[:, None] == np.arange(self.n_piles)))

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return np.argmax(self.backward_group(Edges.of(self, states, actions)), axis=1)

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        parents = self.backward_step(states, backward_actions)
        lower = states[np.arange(len(states)), backward_actions] - 1
        return np.argmax(parents == lower[:, None], axis=1)

    def n_parallel(self, edges: Edges) -> Actions:
        return (edges.states == self._height_at(edges.states, edges.actions)).sum(axis=1)

    def backward_group(self, edges: Edges) -> Mask:
        return edges.next_states == self._height_at(edges.states, edges.actions) + 1

    def log_reward(self, states: States) -> Floats:
        return np.cos(states @ (1.3 ** np.arange(self.n_piles))) - 0.5

    def _height_at(self, states: States, actions: Actions) -> States:
        return states[np.arange(len(states)), actions][:, None]

    def _sorted(self, states: States) -> States:
        return -np.sort(-states, axis=1)


class Strides(DAG):
    """Walk on a ``height`` × ``height`` board by 1 or by 2: walks to a cell differ in length.

    Action 2·c + k adds k + 1 to coordinate c; action 4 stops.
    """

    stop_action = 4

    def __init__(self, height: int = 4):
        self.height = height
        self.state_space = spaces.MultiDiscrete([height, height])
        self.n_actions, self.n_backward_actions = 5, 4

    def initial_states(self, n: int) -> States:
        return np.zeros((n, 2), dtype=np.int64)

    def action_mask(self, states: States) -> Mask:
        moves = [states[:, c] + k < self.height for c in (0, 1) for k in (1, 2)]
        return np.stack([*moves, np.ones(len(states), dtype=bool)], axis=1)

    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        return states + self._moves(actions), actions == self.stop_action

    def backward_mask(self, states: States) -> Mask:
        return np.stack([states[:, c] >= k for c in (0, 1) for k in (1, 2)], axis=1)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        return states - self._moves(backward_actions)

    def backward_action(self, states: States, actions: Actions) -> Actions:
        return actions

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        return backward_actions

    def log_reward(self, states: States) -> Floats:
        return np.sin(3.0 * states[:, 0]) - 0.3 * states[:, 1]

    def _moves(self, actions: Actions) -> States:
        return np.array([[1, 0], [2, 0], [0, 1], [0, 2], [0, 0]])[actions]


DAGS = {
    "words": Words(),
    "piles": Piles(),
    "piles_total": Piles(total=5),
    "strides": Strides(),
}
