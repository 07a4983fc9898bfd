"""A small DAG laid out as arrays: every state, every edge, in topological order.

Exact evaluation, exact solutions and the checks all read this one layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.arguments import whole
from gfn_gym.contract import require_dag
from gfn_gym.dag import DAG, Floats, States
from gfn_gym.edges import Edges
from gfn_gym.mdp import MDP, BackwardPolicy, log_reward_of
from gfn_gym.ragged import Indices as Indices
from gfn_gym.ragged import ragged_ranges

EDGES_AT_ONCE = 2**16  # of an exploration, before the states found are counted


@dataclass(slots=True)
class Graph:
    """The states and edges of a DAG that can be enumerated.

    States are numbered so that every edge leads to a higher number; state 0 is s0. Edges are
    sorted by the layer of their parent, where a state's layer is the length of the longest path
    to it.

    Attributes:
        dag: the DAG.
        states: (N, d).
        layers: int64 (L + 1,); states ``layers[i]:layers[i + 1]`` form layer i.
        parents, actions, children: int64 (E,), the construction edges.
        edge_layers: int64 (L + 1,); edges ``edge_layers[i]:edge_layers[i + 1]`` leave layer i.
        objects: int64 (X,), the states that are finished objects, in rising order.
    """

    dag: DAG
    states: States
    layers: Indices
    parents: Indices
    actions: Indices
    children: Indices
    edge_layers: Indices
    objects: Indices
    _sorted: tuple[NDArray[np.generic], Indices] | None = field(
        default=None, init=False, repr=False, compare=False
    )  # keys of the states in order, and whose they are

    def log_reward(self) -> Floats:
        """Return log R of the objects, float64 (X,)."""
        return log_reward_of(self.dag, self.states[self.objects])

    def log_partition(self) -> float:
        """Return log Z = log Σ R by summing over all the objects."""
        return float(np.logaddexp.reduce(self.log_reward()))

    def log_backward(self, backward_policy: BackwardPolicy | None = None) -> Floats:
        """Return log P_B of the edges, float64 (E,)."""
        mdp = MDP(self.dag, backward_policy)
        parts = [
            mdp.log_backward(edges.states, edges.actions, edges.next_states)
            for edges in map(self.edges, batches(len(self.parents)))
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def edges(self, part: slice) -> Edges:
        """Return a run of the edges as states, actions and next states."""
        parents, children = self.parents[part], self.children[part]
        return Edges(self.states[parents], self.actions[part], self.states[children])

    def index_of(self, states: States) -> Indices:
        """Return the numbers of given states (n, d), −1 where a row is not one of its states."""
        key = _Key(self.dag)
        if self._sorted is None:
            keys = key(self.states)
            order = np.argsort(keys)
            self._sorted = (keys[order], order)
        known, order = self._sorted
        wanted = key(states)
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(key.inside(states) & (known[place] == wanted), order[place], -1)


def enumerate_graph(dag: DAG, max_states: int = 1_000_000) -> Graph:
    """Explore a DAG from s0 and lay it out as a :class:`Graph`.

    Args:
        dag: the DAG.
        max_states: refuse DAGs with more states than this.

    Raises:
        ValueError: the DAG has more states, never ends, has a cycle, or a step that leaves the
            state space.
    """
    return lay_out(dag, *_explore(dag, max_states))


def lay_out(
    dag: DAG,
    states: States,
    parents: Indices,
    actions: Indices,
    children: Indices,
    finished: NDArray[np.bool_],
) -> Graph:
    """Sort states and the edges between them into a :class:`Graph`.

    Args:
        dag: the DAG.
        states: (N, d), in any order.
        parents, actions, children: (E,), the edges, by the places of their states.
        finished: bool (N,), which states are objects.

    Raises:
        ValueError: there is a cycle.
    """
    depth = _longest_paths(len(states), parents, children)
    if (depth < 0).any():
        raise ValueError(_name_cycle(states, parents, actions, children, depth < 0))
    order = np.argsort(depth, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    parents, children = number[parents], number[children]
    by_parent = np.argsort(parents, kind="stable")
    parents = parents[by_parent]
    layers = np.searchsorted(depth[order], np.arange(depth.max() + 2))
    return Graph(
        dag=dag,
        states=states[order],
        layers=layers,
        parents=parents,
        actions=actions[by_parent],
        children=children[by_parent],
        edge_layers=np.searchsorted(parents, layers),
        objects=np.flatnonzero(finished[order]),
    )


def batches(n: int, size: int = 16_384) -> Iterator[slice]:
    """Yield slices that cover range(n) in pieces, so that memory stays bounded."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def inside(space: spaces.MultiDiscrete, states: States) -> NDArray[np.bool_]:
    """Return which rows of integers (n, d) lie in the space, bool (n,): all are asked at once."""
    places = states - space.start
    return np.asarray(((places >= 0) & (places < space.nvec)).all(axis=1))


def _explore(
    dag: DAG, max_states: int
) -> tuple[States, Indices, Indices, Indices, NDArray[np.bool_]]:
    """Breadth first: all states, the edges between them, and which states are objects.

    The count is looked at every :data:`EDGES_AT_ONCE` edges, so that a layer that is too large is
    never there as a whole.
    """
    require_dag(dag)
    _check_size(dag, max_states)
    key = _Key(dag)
    frontier = dag.initial_states(1)
    found, numbering = [frontier], _Numbering(key(frontier))
    first = 0  # the number of the states at hand's first
    edges: list[tuple[Indices, Indices, Indices]] = []  # parents, actions, children
    ended: list[Indices] = []  # states with a legal stop
    while len(frontier):
        layer = []  # the next one
        for part in batches(len(frontier), max(1, EDGES_AT_ONCE // dag.n_actions)):
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
            if len(numbering) > max_states:
                raise _too_many(dag, max_states)
        frontier = np.concatenate(layer)
        found.append(frontier)
    states = np.concatenate(found)
    # Completed: nothing left to do.
    finished: NDArray[np.bool_] = np.logical_not(dag.action_mask(states).any(axis=1))
    finished[np.concatenate(ended)] = True
    parents, all_actions, children = (np.concatenate(c) for c in zip(*edges, strict=True))
    return states, parents, all_actions, children, finished


def _check_size(dag: DAG, max_states: int) -> None:
    """Refuse a DAG that says itself that it is too large, before a state of it is made."""
    whole("max_states", max_states, least=1)
    known = dag.n_states()
    if known is not None and known > max_states:
        raise _too_many(dag, max_states)


def _too_many(dag: DAG, max_states: int) -> ValueError:
    return ValueError(
        f"{dag!r} has more than max_states={max_states} states: too many to enumerate; evaluate it "
        "by samples instead, with sample, elbo and log_likelihood of gfn_gym.evaluation, or "
        "EvaluationCallback(metrics=sampled_metrics)"
    )


def _check_inside(
    key: _Key, states: States, rows: Indices, actions: Indices, nexts: States
) -> None:
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


def _longest_paths(n: int, parents: Indices, children: Indices) -> Indices:
    """The length of the longest path from s0 to each state, −1 on and after a cycle.

    Sources are taken off round by round; the round in which a state becomes one is that length.
    """
    depth = np.full(n, -1)
    missing = np.bincount(children, minlength=n)  # edges into each state not yet followed
    by_parent = np.argsort(parents, kind="stable")
    bounds = np.searchsorted(parents[by_parent], np.arange(n + 1))
    ready, length = np.flatnonzero(missing == 0), 0
    while len(ready):
        depth[ready] = length
        length += 1
        _, places = ragged_ranges(bounds[ready], bounds[ready + 1] - bounds[ready])
        targets = children[by_parent[places]]
        missing -= np.bincount(targets, minlength=n)
        ready = np.unique(targets)
        ready = ready[missing[ready] == 0]
    return depth


def _name_cycle(
    states: States,
    parents: Indices,
    actions: Indices,
    children: Indices,
    stuck: NDArray[np.bool_],
) -> str:
    """Say where a cycle is, given which states (N,) lie on or after one.

    Each of those has a parent among them, so whoever walks from one to such a parent, again and
    again, comes round.
    """
    inside = np.flatnonzero(stuck[parents] & stuck[children])
    into = np.full(len(states), -1)
    into[children[inside]] = inside  # one edge into each
    state, seen = int(np.argmax(stuck)), set()
    while state not in seen:
        seen.add(state)
        state = int(parents[into[state]])
    edge = into[state]
    before = parents[edge]
    return (
        f"the graph has a cycle: action {actions[edge]} leads from state "
        f"{states[before].tolist()} back to {states[state].tolist()}; {int(stuck.sum())} of "
        f"{len(states)} states lie on or after one"
    )


class _Key:
    """Turns rows into one comparable scalar each, so that sets of states are sorted arrays."""

    def __init__(self, dag: DAG):
        space = dag.state_space
        self.weights: NDArray[np.int64] | None = None
        self.space: spaces.MultiDiscrete | None = None
        if isinstance(space, spaces.MultiDiscrete):
            if space.start.any():
                raise ValueError(f"state_space = {space}: its values must start at 0")
            self.space = space
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
        rows = np.ascontiguousarray(states)
        return rows.view([("", rows.dtype)] * rows.shape[1]).reshape(-1)
