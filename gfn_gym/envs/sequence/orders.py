"""The orders in which a word can be written: what an action is, forward and backward.

Rows are token numbers (n, L), ``empty`` where there is no token. Methods get construction steps
only; stopping is the same in every order and lies in :class:`.dag.Sequence`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Actions, Floats, Mask, States


class Order(ABC):
    """One way to write a word of at most ``length`` tokens out of ``size``.

    Attributes:
        n_steps: number of construction actions.
        n_backward_actions: of ways to take a token away.
    """

    n_steps: int
    n_backward_actions: int

    def __init__(self, length: int, size: int):
        self.length, self.size, self.empty = length, size, size

    @abstractmethod
    def mask(self, states: States) -> Mask:
        """Return the legal construction steps, bool (n, n_steps) or broadcast to it."""

    @abstractmethod
    def step(self, states: States, actions: Actions) -> States:
        """Return the next states (n, L)."""

    @abstractmethod
    def backward_mask(self, states: States) -> Mask:
        """Return the tokens that can be taken away, bool (n, n_backward_actions)."""

    @abstractmethod
    def backward_step(self, states: States, backward_actions: Actions) -> States:
        """Return the parents (n, L)."""

    @abstractmethod
    def backward_action(self, actions: Actions) -> Actions:
        """Return the backward action that undoes each step, (n,)."""

    @abstractmethod
    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        """Return the step that puts back what is taken away, (n,)."""

    @abstractmethod
    def log_uniform_backward(self, next_states: States) -> Floats:
        """Return log P_B of edges into states under the uniform backward policy, float64 (n,)."""

    def is_parallel(self, states: States, actions: Actions) -> Mask:
        """Return whether a second action gives the same next state, bool (n,)."""
        return np.zeros(len(states), dtype=bool)


class AnyOrder(Order):
    """Positions are filled in any order; action position·A + token writes the token there."""

    def __init__(self, length: int, size: int):
        super().__init__(length, size)
        self.n_steps, self.n_backward_actions = length * size, length

    def mask(self, states: States) -> Mask:
        return np.repeat(states == self.empty, self.size, axis=1)

    def step(self, states: States, actions: Actions) -> States:
        nexts = states.copy()
        positions, tokens = np.divmod(actions, self.size)
        nexts[np.arange(len(states)), positions] = tokens
        return nexts

    def backward_mask(self, states: States) -> Mask:
        return np.asarray(states != self.empty)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), backward_actions] = self.empty
        return parents

    def backward_action(self, actions: Actions) -> Actions:
        return actions // self.size

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        tokens = states[np.arange(len(states)), backward_actions]
        return backward_actions * self.size + tokens

    def log_uniform_backward(self, next_states: States) -> Floats:
        return -np.log(lengths(next_states, self.empty))


class Append(Order):
    """Left to right: action t appends token t. A tree, so P_B = 1."""

    def __init__(self, length: int, size: int):
        super().__init__(length, size)
        self.n_steps, self.n_backward_actions = size, 1

    def mask(self, states: States) -> Mask:
        return np.repeat(states[:, -1:] == self.empty, self.n_steps, axis=1)

    def step(self, states: States, actions: Actions) -> States:
        nexts = states.copy()
        nexts[np.arange(len(states)), lengths(states, self.empty)] = actions
        return nexts

    def backward_mask(self, states: States) -> Mask:
        return np.asarray(states[:, :1] != self.empty)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents = states.copy()
        parents[np.arange(len(states)), lengths(states, self.empty) - 1] = self.empty
        return parents

    def backward_action(self, actions: Actions) -> Actions:
        return np.zeros_like(actions)

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        last = lengths(states, self.empty) - 1
        return states[np.arange(len(states)), last].astype(np.int64)

    def log_uniform_backward(self, next_states: States) -> Floats:
        return np.zeros(len(next_states))


class BothEnds(Order):
    """Action t appends token t, action A + t prepends it; backward action 0 takes the last, 1 the
    first token away.

    Two actions give the same word where w·t = t·w, that is where w is empty or repeats t alone:
    two parallel edges, undone by either backward action.
    """

    def __init__(self, length: int, size: int):
        super().__init__(length, size)
        self.n_steps, self.n_backward_actions = 2 * size, 2

    def mask(self, states: States) -> Mask:
        return np.repeat(states[:, -1:] == self.empty, self.n_steps, axis=1)

    def step(self, states: States, actions: Actions) -> States:
        nexts, rows = states.copy(), np.arange(len(states))
        prepends, tokens = np.divmod(actions, self.size)
        first = np.flatnonzero(prepends)
        nexts[first, 1:] = states[first, :-1]
        nexts[rows, np.where(prepends, 0, lengths(states, self.empty))] = tokens
        return nexts

    def backward_mask(self, states: States) -> Mask:
        return np.repeat(states[:, :1] != self.empty, 2, axis=1)

    def backward_step(self, states: States, backward_actions: Actions) -> States:
        parents, rows = states.copy(), np.arange(len(states))
        first = np.flatnonzero(backward_actions)
        parents[first, :-1] = states[first, 1:]
        last = np.where(backward_actions, self.length, lengths(states, self.empty)) - 1
        parents[rows, last] = self.empty
        return parents

    def backward_action(self, actions: Actions) -> Actions:
        return actions // self.size

    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        last = lengths(states, self.empty) - 1
        tokens = states[np.arange(len(states)), np.where(backward_actions, 0, last)]
        return backward_actions * self.size + tokens

    def is_parallel(self, states: States, actions: Actions) -> Mask:
        tokens = (actions % self.size)[:, None]
        return np.asarray(((states == tokens) | (states == self.empty)).all(axis=1))

    def log_uniform_backward(self, next_states: States) -> Floats:
        # One of two backward actions; or both of two, shared by two parallel edges.
        return np.full(len(next_states), -np.log(2.0))


def lengths(states: States, empty: int) -> NDArray[np.int64]:
    """Return how many tokens rows (n, L) have, int64 (n,)."""
    return (states != empty).sum(axis=1)


ORDERS: dict[str, type[Order]] = {"any": AnyOrder, "append": Append, "both_ends": BothEnds}
