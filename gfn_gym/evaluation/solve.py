"""The exact optimum of a small DAG, by soft value iteration: what learning should arrive at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.evaluation.exact import find_states, logsumexp_by_label
from gfn_gym.evaluation.policy import checked_backward_policy
from gfn_gym.graph import Graph, enumerate_graph
from gfn_gym.mdp import BackwardPolicy
from gfn_gym.ragged import ragged_ranges


@dataclass(slots=True)
class Solution:
    """The flows of a DAG under a backward policy; all are logarithms, float64.

    Attributes:
        graph: the enumerated DAG, whose numbers of states and edges are used.
        log_flow: (N,), log F(s) = V*(s).
        edge_log_flow: (E,), log F(edge) = Q*(s, a) of the construction edges.
        object_log_flow: (N,), log R of the states that are objects, −inf elsewhere; where there
            is a stop action, its Q*.
    """

    graph: Graph
    log_flow: Floats
    edge_log_flow: Floats
    object_log_flow: Floats

    @property
    def log_z(self) -> float:
        """log Z = log F(s0)."""
        return float(self.log_flow[0])

    @property
    def policy(self) -> OptimalPolicy:
        """The optimal policy: it ends in x with probability R(x)/Z."""
        return OptimalPolicy(self)


@dataclass(slots=True)
class OptimalPolicy:
    """The policy of a :class:`Solution`; looks states up in its graph."""

    solution: Solution

    def __call__(self, states: States, /) -> Floats:
        """Return log P_F = log F(edge) − log F(s), float64 (n, n_actions), −inf where illegal.

        Raises:
            ValueError: a state is not one of the graph's.
        """
        solution, graph = self.solution, self.solution.graph
        numbers = find_states(graph, states)
        log_flow = np.full((len(states), graph.dag.n_actions), -np.inf)
        first = np.searchsorted(graph.parents, numbers, side="left")
        end = np.searchsorted(graph.parents, numbers, side="right")
        rows, edges = ragged_ranges(first, end - first)
        log_flow[rows, graph.actions[edges]] = solution.edge_log_flow[edges]
        if graph.dag.stop_action is not None:
            log_flow[:, graph.dag.stop_action] = solution.object_log_flow[numbers]
        return log_flow - solution.log_flow[numbers, None]

    def log_flow(self, states: States) -> Floats:
        """Return log F(s), float64 (n,).

        Raises:
            ValueError: a state is not one of the graph's.
        """
        return self.solution.log_flow[find_states(self.solution.graph, states)]


def solve(dag: DAG | Graph, backward_policy: BackwardPolicy | None = None) -> Solution:
    """Solve the decision process of Theorem 1 (arXiv:2310.12934) exactly.

    log F(s) = logsumexp over the edges s → s' of log F(s') + log P_B(edge), and log R(s) besides
    where s is an object; from the last layer to s0.

    Args:
        dag: a DAG with at most a million states, or its :class:`Graph`.
        backward_policy: log-probabilities of backward actions; None is uniform.

    Raises:
        ValueError: too many states, or the backward policy returned no log-probabilities.
    """
    graph = dag if isinstance(dag, Graph) else enumerate_graph(dag)
    object_log_flow = np.full(len(graph.states), -np.inf)
    object_log_flow[graph.objects] = graph.log_reward()
    log_flow = object_log_flow.copy()
    edge_log_flow = graph.log_backward(checked_backward_policy(graph.dag, backward_policy))
    for layer in reversed(range(len(graph.edge_layers) - 1)):
        part = slice(graph.edge_layers[layer], graph.edge_layers[layer + 1])
        edge_log_flow[part] += log_flow[graph.children[part]]
        parents, log_sum = logsumexp_by_label(edge_log_flow[part], graph.parents[part])
        log_flow[parents] = np.logaddexp(log_flow[parents], log_sum)
    return Solution(graph, log_flow, edge_log_flow, object_log_flow)
