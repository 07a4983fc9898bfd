"""Which states a DAG has, and its edges: breadth first, and no further than a limit.

A DAG that is too large is refused early: by what it says itself, by an estimate from random walks,
or as soon as the count passes the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import whole
from gfn_gym.contract import require_dag
from gfn_gym.dag import DAG, States
from gfn_gym.mdp import MDP, sample_legal_actions
from gfn_gym.ragged import Indices, batches, inside

EDGES_AT_ONCE = 2**16  # of an exploration, before the states found are counted
NUMBERS_AT_ONCE = 2**21  # in the rows of their states
ESTIMATED_FROM = 2**14  # states found, where the DAG does not say how many it has
WALKS, UNLIKELY = 256, 1000.0  # of the estimate, and how far beyond the limit it is believed
STEPS_OF_WALKS = 1000  # of the estimate
STEPS_UNTOLD = 2**12  # of a construction, where the DAG does not say that it ends


def explore(
    dag: DAG, max_states: int
) -> tuple[States, Indices, Indices, Indices, NDArray[np.bool_]]:
    """Breadth first: all states, the edges between them, and which states are objects.

    The count is looked at every 2¹⁶ edges, so that a layer that is too large is
    never there as a whole.

    Returns:
        states (N, d); parents, actions and children, (E,) each; and bool (N,), who is an object.

    Raises:
        ValueError: there are more states than ``max_states``, or it looks as if it never ended,
            or a step leaves the state space.
    """
    require_dag(dag)
    size = _Size(dag, max_states)
    key = Key(dag)
    frontier = dag.initial_states(1)
    found, numbering = [frontier], _Numbering(key(frontier))
    first = 0  # the number of the states at hand's first
    edges: list[tuple[Indices, Indices, Indices]] = []  # parents, actions, children
    ended: list[Indices] = []  # states with a legal stop
    at_once = min(EDGES_AT_ONCE, NUMBERS_AT_ONCE // frontier.shape[1])
    while len(frontier):
        layer = []  # the next one
        for part in batches(len(frontier), max(1, at_once // dag.n_actions)):
            states = frontier[part]
            # All m legal actions of the states: (m,), (m,), (m, d), (m,)
            rows, actions, nexts, stopped = _expand(dag, states)
            ended.append(first + rows[stopped])
            rows, actions, nexts = rows[~stopped], actions[~stopped], nexts[~stopped]
            _check_inside(key, states, rows, actions, nexts)
            # Many edges lead to one state: each distinct one is numbered once.
            distinct, pick, inverse = np.unique(key(nexts), return_index=True, return_inverse=True)
            numbers, new = numbering.add(distinct)
            edges.append((first + rows, actions, numbers[inverse]))
            layer.append(nexts[pick[new]])
            first += len(states)
            size.check_count(len(numbering))
        frontier = np.concatenate(layer)
        if len(frontier):
            size.check_depth(len(found))
        found.append(frontier)
    states = np.concatenate(found)
    # Completed: nothing left to do.
    finished: NDArray[np.bool_] = np.logical_not(dag.action_mask(states).any(axis=1))
    finished[np.concatenate(ended)] = True
    parents, all_actions, children = (np.concatenate(c) for c in zip(*edges, strict=True))
    return states, parents, all_actions, children, finished


class _Size:
    """Refuses a DAG that is too large, as early as that can be known.

    Raises:
        ValueError: it says so itself; here, before a state of it is made.
    """

    def __init__(self, dag: DAG, max_states: int):
        self.dag, self.max_states = dag, whole("max_states", max_states, least=1)
        known = dag.n_states()
        self._may_be_huge = known is None
        self._longest = dag.max_trajectory_length()
        if self._longest is None and known is None:
            self._longest = STEPS_UNTOLD
        if known is not None and known > max_states:
            raise self._too_many()

    def check_count(self, found: int) -> None:
        """Raise a ValueError where the states found so far are too many, or will be."""
        if found > self.max_states:
            raise self._too_many()
        if self._may_be_huge and found > ESTIMATED_FROM:
            self._may_be_huge = False  # looked at once
            if estimated_states(self.dag, stop_at=UNLIKELY * self.max_states) is None:
                raise self._too_many()

    def check_depth(self, steps: int) -> None:
        """Raise a ValueError where no construction should take that many steps."""
        if self._longest is not None and steps > self._longest:
            raise ValueError(
                f"{self.dag!r} does not end within {self._longest} steps: it is not enumerated "
                "unless n_states() or max_trajectory_length() says that it does end, and when"
            )

    def _too_many(self) -> ValueError:
        return ValueError(
            f"{self.dag!r} has more than max_states={self.max_states} states: too many to "
            "enumerate; evaluate it by samples instead, with sample, elbo and log_likelihood of "
            "gfn_gym.evaluation, or EvaluationCallback(metrics=sampled_metrics)"
        )


def estimated_states(dag: DAG, stop_at: float) -> float | None:
    """Estimate the number of states from random walks; None: at least ``stop_at``.

    P_B over all walks from s0 to a state sums to one, so the mean of Π P_B / P_F over walks by P_F
    is the number of states at that depth, whatever P_F is. The estimate has no bias and is never
    negative: with a chance of at most 1/c it is c times the truth (Markov).
    """
    mdp, generator = MDP(dag), np.random.default_rng(0)
    states, log_weights = dag.initial_states(WALKS), np.zeros(WALKS)
    total = 1.0  # s0
    for _ in range(STEPS_OF_WALKS):
        mask = dag.action_mask(states)
        if dag.stop_action is not None:
            mask[:, dag.stop_action] = False
        goes_on = mask.any(axis=1)
        states, log_weights, mask = states[goes_on], log_weights[goes_on], mask[goes_on]
        if not len(states) or total >= stop_at:
            break
        actions = sample_legal_actions(mask, generator)
        nexts, _ = dag.step(states, actions)
        log_weights += mdp.log_backward(states, actions, nexts) + np.log(mask.sum(axis=1))
        total += float(np.exp(np.minimum(log_weights, 700.0)).sum()) / WALKS
        states = nexts
    return None if total >= stop_at else total


def _check_inside(key: Key, states: States, rows: Indices, actions: Indices, nexts: States) -> None:
    """Raise a ValueError unless all next states (m, d) lie in the state space."""
    inside = key.inside(nexts)
    if not inside.all():
        bad = int(np.argmin(inside))
        raise ValueError(
            f"action {actions[bad]} leads from state {states[rows[bad]].tolist()} to "
            f"{nexts[bad].tolist()}, outside state_space = {key.space}"
        )


class _Numbering:
    """Numbers states in the order in which they are found, by their keys; ``len``: so far.

    Keys lie in sorted runs, each more than twice as long as the next, so that to add a few is
    cheap however many there are.
    """

    def __init__(self, keys: NDArray[np.generic]):
        self._runs = [(keys, np.arange(len(keys)))]  # sorted, and the number of each
        self._count = len(keys)

    def __len__(self) -> int:
        return self._count

    def add(self, keys: NDArray[np.generic]) -> tuple[Indices, NDArray[np.bool_]]:
        """The numbers of distinct keys (m,), and which of them are new, bool (m,)."""
        numbers = np.full(len(keys), -1)
        for known, its_numbers in self._runs:
            place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            here = known[place] == keys
            numbers[here] = its_numbers[place[here]]
        new = numbers < 0
        numbers[new] = self._count + np.arange(int(new.sum()))
        if new.any():
            self._count += int(new.sum())
            self._runs.append((keys[new], numbers[new]))
            while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
                pair = self._runs.pop(), self._runs.pop()
                all_keys, all_numbers = (np.concatenate(c) for c in zip(*pair, strict=True))
                order = np.argsort(all_keys, kind="stable")
                self._runs.append((all_keys[order], all_numbers[order]))
        return numbers, new


def _expand(dag: DAG, states: States) -> tuple[Indices, Indices, States, NDArray[np.bool_]]:
    """All legal actions of some rows: row, action, next state, and whether it was the stop."""
    rows, acts = np.nonzero(dag.action_mask(states))
    nexts, _ = dag.step(states[rows], acts)
    stop = -1 if dag.stop_action is None else dag.stop_action
    return rows, acts, nexts, acts == stop


class Key:
    """Turns rows into one comparable scalar each, so that sets of states are sorted arrays."""

    def __init__(self, dag: DAG):
        space = dag.state_space
        self.weights: NDArray[np.int64] | None = None
        self.space: spaces.MultiDiscrete | None = None
        self._compact: np.dtype[Any] = np.dtype(np.int64)
        if isinstance(space, spaces.MultiDiscrete):
            if space.start.any():
                raise ValueError(f"state_space = {space}: its values must start at 0")
            self.space = space
            self._compact = np.min_scalar_type(int(space.nvec.max()) - 1)
            nvec = [int(size) for size in space.nvec]
            weights = [1]
            for size in nvec[:0:-1]:
                weights.append(weights[-1] * size)
            if weights[-1] * nvec[0] < 2**63:
                self.weights = np.array(weights[::-1], dtype=np.int64)

    def inside(self, states: States) -> NDArray[np.bool_]:
        """Which rows lie in a MultiDiscrete space; others would share the keys of those that do."""
        if self.space is None:
            return np.ones(len(states), dtype=bool)
        return inside(self.space, states)

    def __call__(self, states: States) -> NDArray[np.generic]:
        if self.weights is not None:
            return states.astype(np.int64) @ self.weights
        # As bytes, the highest first, so that they sort as the rows do.
        rows = np.ascontiguousarray(states, dtype=self._compact.newbyteorder(">"))
        return rows.view(f"S{rows.shape[1] * rows.itemsize}").reshape(-1)
