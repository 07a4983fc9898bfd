"""Maximum-entropy tree search over a DAG: many searches at once, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Actions, Floats, Mask, States
from gfn_gym.graph import batches
from gfn_gym.mdp import MDP, sample_from_log_probs, sample_legal_actions
from gfn_gym.ragged import Indices

EdgeLogFlow = Callable[[States, Mask], NDArray[Any]]
"""States (n, d) and their masks → log F of the edges out of them, (n, n_actions), −inf if none."""

NUMBERS_AT_ONCE = 2**24  # of the tables of Q, 128 MiB


def search(
    mdp: MDP,
    edge_log_flow: EdgeLogFlow,
    roots: States,
    simulations: int,
    epsilon: float,
    generator: np.random.Generator,
) -> Floats:
    """Improve estimates of Q at some states by MENTS (Xiao et al. 2019; arXiv:2406.13655).

    Each simulation descends from the root through what is known by the tree policy, uniform
    with probability λ_s = min(1, ε·|A(s)|/log(N(s) + 1)) and softmax Q else, where N(s) counts the
    visits to s and its discovery. It takes one edge that is not known, looks at where that leads,
    and puts Q(s, a) = r + V(s'), V = logsumexp Q, along the path. A new state gets its Q from
    ``edge_log_flow``; an end has the reward alone, exactly. A state that is reached by several
    walks is one node: where it is known, its new edge leads there.

    All roots are searched side by side, with one call of ``edge_log_flow`` a simulation.

    Args:
        mdp: the decision process; its rewards are asked for.
        edge_log_flow: estimates of Q where it is not known.
        roots: (n, d), each with a legal action.
        simulations: edges that are looked at from each root, at most; 0 returns the estimates.
        epsilon: ε.
        generator: draws the simulations.

    Returns:
        Q at the roots, float64 (n, n_actions), −inf where illegal.

    Raises:
        FloatingPointError: an estimate is not finite, or a root has no legal action.
    """
    if not len(roots):
        return np.empty((0, mdp.dag.n_actions))
    size = max(1, NUMBERS_AT_ONCE // ((simulations + 1) * mdp.dag.n_actions))
    parts = []
    for part in batches(len(roots), size):
        forest = _Forest(mdp, edge_log_flow, roots[part], simulations, epsilon, generator)
        for _ in range(simulations):
            forest.simulate()
        parts.append(forest.q[:, 0])
    return np.concatenate(parts)


def check_planning(simulations: Any, epsilon: Any, prefix: str = "") -> None:
    """Raise a ValueError that names the bad one of the two arguments."""
    if not isinstance(simulations, (int, np.integer)) or simulations < 0:
        raise ValueError(f"{prefix}simulations={simulations!r} must be a whole number, at least 0")
    if not 0 <= epsilon < np.inf:
        raise ValueError(f"{prefix}epsilon={epsilon!r} must be finite and at least 0")


class _Forest:
    """n searches. Node 0 of each is its root; edges are numbered by simulation.

    Attributes:
        states: (n, nodes, d).
        q: float64 (n, nodes, n_actions); v: float64 (n, nodes), its logsumexp.
        visits: int64 (n, nodes).
        parent, action, child: int64 (n, edges); a child of −1 is an end, a parent of −1 no edge.
        reward: float64 (n, edges).
    """

    def __init__(
        self,
        mdp: MDP,
        edge_log_flow: EdgeLogFlow,
        roots: States,
        simulations: int,
        epsilon: float,
        generator: np.random.Generator,
    ):
        self.mdp, self.edge_log_flow = mdp, edge_log_flow
        self.epsilon, self.generator = epsilon, generator
        n, nodes = len(roots), simulations + 1
        self.states = np.repeat(roots[:, None], nodes, axis=1)
        self.q = np.empty((n, nodes, mdp.dag.n_actions))
        self.v = np.empty((n, nodes))
        self.visits = np.ones((n, nodes), dtype=np.int64)
        self.n_nodes = np.zeros(n, dtype=np.int64)
        self.parent, self.action, self.child = np.full((3, n, simulations), -1, dtype=np.int64)
        self.reward = np.zeros((n, simulations))
        self.n_edges = np.zeros(n, dtype=np.int64)
        self._add_nodes(np.arange(n), roots)

    def simulate(self) -> None:
        """Descend from every root, look at one new edge, and back up along the path."""
        trees, nodes = np.arange(len(self.q)), np.zeros(len(self.q), dtype=np.int64)
        path: list[tuple[Indices, Indices]] = []
        unknown: list[tuple[Indices, Indices, Actions]] = []
        while len(trees):
            path.append((trees, nodes))
            actions = self._choose(trees, nodes)
            self.visits[trees, nodes] += 1
            taken = (self.parent[trees] == nodes[:, None]) & (
                self.action[trees] == actions[:, None]
            )
            known = taken.any(axis=1)
            unknown.append((trees[~known], nodes[~known], actions[~known]))
            child = self.child[trees, taken.argmax(axis=1)]
            goes_on = known & (child >= 0)
            trees, nodes = trees[goes_on], child[goes_on]
        self._look(*(np.concatenate(column) for column in zip(*unknown, strict=True)))
        for trees, nodes in reversed(path):
            self._back_up(trees, nodes)

    def _choose(self, trees: Indices, nodes: Indices) -> Actions:
        """An action (m,) in each node, by the tree policy."""
        q = self.q[trees, nodes]
        legal = q > -np.inf
        share = self.epsilon * legal.sum(axis=1) / np.log(self.visits[trees, nodes] + 1)
        explore = self.generator.random(len(q)) < share
        actions = sample_from_log_probs(q, self.generator)
        if explore.any():
            actions[explore] = sample_legal_actions(legal[explore], self.generator)
        return actions

    def _look(self, trees: Indices, nodes: Indices, actions: Actions) -> None:
        """Take new edges (m,), of different trees, and keep what they lead to."""
        if not len(trees):
            return
        step = self.mdp.step(self.states[trees, nodes], actions)
        edges = self.n_edges[trees]
        self.parent[trees, edges], self.action[trees, edges] = nodes, actions
        self.reward[trees, edges] = step.rewards
        self.n_edges[trees] += 1
        # Nodes not yet used hold the root, to which no edge leads.
        same = (self.states[trees] == step.next_states[:, None]).all(axis=2)
        child = np.where(same.any(axis=1), same.argmax(axis=1), self.n_nodes[trees])
        self.child[trees, edges] = np.where(step.done, -1, child)
        new = ~step.done & ~same.any(axis=1)
        self._add_nodes(trees[new], step.next_states[new])

    def _add_nodes(self, trees: Indices, states: States) -> None:
        """Give some trees a node more, (m, d)."""
        if not len(trees):
            return
        nodes = self.n_nodes[trees]
        q = self.edge_log_flow(states, self.mdp.dag.action_mask(states))
        self.states[trees, nodes], self.q[trees, nodes] = states, q
        with np.errstate(invalid="ignore"):
            value = np.logaddexp.reduce(self.q[trees, nodes], axis=1)
        if not np.isfinite(value).all():  # else illegal actions would be taken
            bad = states[int(np.argmin(np.isfinite(value)))].tolist()
            raise FloatingPointError(
                f"no finite Q in state {bad}: it has no legal action, or training has diverged; "
                "lower learning_rate or tau"
            )
        self.v[trees, nodes] = value
        self.n_nodes[trees] += 1

    def _back_up(self, trees: Indices, nodes: Indices) -> None:
        """Put Q = r + V(s') on all known edges of nodes (m,), and V on the nodes."""
        rows, edges = np.nonzero(self.parent[trees] == nodes[:, None])
        of, child = trees[rows], self.child[trees[rows], edges]
        value = np.where(child >= 0, self.v[of, child], 0.0)
        self.q[of, nodes[rows], self.action[of, edges]] = self.reward[of, edges] + value
        self.v[trees, nodes] = np.logaddexp.reduce(self.q[trees, nodes], axis=1)
