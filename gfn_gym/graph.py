"""A small DAG laid out as arrays: every state, every edge, in topological order.

Exact evaluation, exact solutions and the checks all read this one layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.edges import Edges
from gfn_gym.enumeration import Key, explore
from gfn_gym.mdp import MDP, BackwardPolicy, log_reward_of
from gfn_gym.ragged import Indices as Indices
from gfn_gym.ragged import batches as batches
from gfn_gym.ragged import inside as inside
from gfn_gym.ragged import ragged_ranges


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
        key = Key(self.dag)
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
    return lay_out(dag, *explore(dag, max_states))


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
