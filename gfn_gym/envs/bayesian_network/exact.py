"""Exact posteriors over graphs: by enumeration where they are few, else by sums over sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats, States
from gfn_gym.envs.bayesian_network.bits import pack, unpack
from gfn_gym.graph import batches

if TYPE_CHECKING:
    from gfn_gym.envs.bayesian_network.dag import BayesianNetwork

LARGEST_ENUMERATED = 5  # nodes, without being asked; 29,281 graphs
LARGEST_SUMMED = 14  # nodes; time and memory grow as 3^d and d·2^d
CODED = 7  # nodes up to which a graph fits an int64


def enumerate_graphs(dag: BayesianNetwork, max_graphs: int = 4_000_000) -> States:
    """Return every graph that the environment can build, int8 (n, d²).

    There are 25, 543, 29,281 and 3,781,503 over 3 to 6 nodes, less what is forbidden.

    Args:
        dag: the environment, of at most 7 nodes.
        max_graphs: refuse to list more.

    Raises:
        ValueError: too many nodes or graphs.
    """
    if dag.d > CODED:
        raise ValueError(f"{dag!r} has too many graphs to enumerate; at most {CODED} nodes do")
    place = 1 << np.arange(dag.d**2)  # of each edge in a graph's code
    layer = dag.initial_states(1)
    layers, count = [layer], 1
    while len(layer):  # by the number of edges
        found = [np.zeros(0, dtype=np.int64)]
        for part in batches(len(layer)):
            rows, edges = np.nonzero(dag.action_mask(layer[part])[:, : dag.stop_action])
            found.append(np.unique((layer[part] @ place)[rows] + place[edges]))
        codes = np.unique(np.concatenate(found))
        count += len(codes)
        if count > max_graphs:
            raise ValueError(f"{dag!r} has more than max_graphs={max_graphs} graphs")
        layer = ((codes[:, None] >> np.arange(dag.d**2)) & 1).astype(np.int8)
        layers.append(layer)
    return np.concatenate(layers)


def posterior(dag: BayesianNetwork, max_graphs: int = 4_000_000) -> tuple[States, Floats]:
    """Return every graph, int8 (n, d²), and its probability R/Z, float64 (n,).

    Raises:
        ValueError: too many graphs.
    """
    states = enumerate_graphs(dag, max_graphs)
    log_reward = np.concatenate([dag.log_reward(states[part]) for part in batches(len(states))])
    weights = np.exp(log_reward - log_reward.max())
    return states, weights / weights.sum()


@dataclass(frozen=True)
class GraphSums:
    """What sums over all graphs give.

    Attributes:
        log_partition: log Z, in units of log R.
        edges: float64 (d, d), the posterior probability of each edge i → j.
    """

    log_partition: float
    edges: Floats


def sum_over_graphs(dag: BayesianNetwork) -> GraphSums:
    """Sum over all graphs under the uniform prior, in time O(3^d).

    After Tian and He 2009 (arXiv:1205.2612), with the weights of parent sets B_j(P) = R's factor:

        A_j(U) = Σ_{P ⊆ U} B_j(P)                                   parents within U
        H(S)   = Σ_{∅ ≠ T ⊆ S} (−1)^{|T|+1} H(S∖T)·∏_{j ∈ T} A_j(S∖T)   graphs over S: T are sinks
        G(U)   = Σ_{∅ ≠ T ⊆ V∖U} (−1)^{|T|+1} ∏_{j ∈ T} A_j(U)·G(U ∪ T)  the rest, given U

    H(V) = Z. The derivative of log Z by log A_j(U) is the probability W_j(U) that V∖U are j and
    its descendants, so the edge i → j has Σ_{U ∋ i} W_j(U)·(1 − A_j(U∖i)/A_j(U)). All sums are
    taken in logarithms with their sign apart; what cancels is at most 2^d times what is left.

    Raises:
        ValueError: more than 14 nodes, or a prior that is not uniform.
        FloatingPointError: rounding has eaten more than six digits.
    """
    if dag.d > LARGEST_SUMMED:
        raise ValueError(f"{dag!r}: sums over graphs take at most {LARGEST_SUMMED} nodes")
    if dag.log_prior is not None:
        raise ValueError(f"{dag!r}: sums over graphs need the uniform prior, log_prior=None")
    d = dag.d
    log_a = _sums_over_subsets(_log_families(dag))
    log_h = _sums_from_below(log_a)
    if not math.isfinite(log_h[-1]):
        raise FloatingPointError(f"{dag!r}: rounding has eaten every digit of Z")
    weights = _weights(log_a, log_h)
    lost = np.abs(weights.sum(axis=1) - 1).max()
    if lost > 1e-6:
        raise FloatingPointError(f"{dag!r}: rounding has left an error of {lost:.1g}")
    edges = np.zeros((d, d))
    sets = np.arange(2**d)
    for i in range(d):
        with_i = sets[(sets >> i & 1) == 1]
        for j in set(range(d)) - {i}:
            used = with_i[weights[j, with_i] != 0]
            share = -np.expm1(log_a[j, used & ~(1 << i)] - log_a[j, used])
            edges[i, j] = (weights[j, used] * share).sum()
    initial = dag.initial_score
    return GraphSums(float(log_h[-1]) - initial, edges.clip(0.0, 1.0))


def _log_families(dag: BayesianNetwork) -> Floats:
    """log B_j(P), float64 (d, 2^d); −inf where P is not allowed as the parents of j."""
    sets = np.arange(2**dag.d)
    required, allowed = (pack(edges.T)[:, None] for edges in (dag.required, dag.allowed))
    few = unpack(sets, dag.d).sum(axis=1) <= dag.max_parents
    legal = ((sets & required) == required) & ((sets & ~allowed) == 0) & few
    result = np.full(legal.shape, -np.inf)
    node, place = np.nonzero(legal)
    result[legal] = dag.local_scores.local(node, sets[place])
    return result


def _sums_over_subsets(log_b: Floats) -> Floats:
    """log A_j(U) = log Σ_{P ⊆ U} B_j(P), float64 (d, 2^d)."""
    d = len(log_b)
    log_a = log_b.copy()
    for bit in range(d):
        halves = log_a.reshape(d, -1, 2, 2**bit)  # without the bit, with it
        halves[:, :, 1] = np.logaddexp(halves[:, :, 0], halves[:, :, 1])
    return log_a


def _sinks(
    log_a: Floats, u: int, signs: Floats
) -> tuple[NDArray[np.int64], Floats, Floats, list[int]]:
    """All T that can come next after U: U ∪ T, log ∏ A_j(U), (−1)^{|T|+1}, and the nodes.

    Entry t of the arrays (2^k − 1,) is the T of the nodes that the bits of t + 1 tell.
    """
    column = log_a[:, u]
    nodes = [j for j in range(len(column)) if not u >> j & 1 and column[j] > -np.inf]
    unions, logs = np.full(2 ** len(nodes), u), np.zeros(2 ** len(nodes))
    for k, j in enumerate(nodes):
        unions[2**k : 2 ** (k + 1)] = unions[: 2**k] | 1 << j
        logs[2**k : 2 ** (k + 1)] = logs[: 2**k] + column[j]
    return unions[1:], logs[1:], signs[1 : len(unions)], nodes


def _signs(d: int) -> Floats:
    return np.array([1.0 if t.bit_count() % 2 else -1.0 for t in range(2**d)])


def _sums_from_below(log_a: Floats) -> Floats:
    """log H(S), float64 (2^d,): each set, complete in its turn, is added to its supersets."""
    d = len(log_a)
    signs, top, rest = _signs(d), np.full(2**d, -np.inf), np.zeros(2**d)
    top[0], rest[0] = 0.0, 1.0  # H = rest·exp(top)
    result = np.full(2**d, -np.inf)
    for u in range(2**d):
        if rest[u] <= 0:
            continue
        result[u] = top[u] + math.log(rest[u])
        unions, logs, sign, _ = _sinks(log_a, u, signs)
        logs += result[u]
        old = top[unions]
        new = np.maximum(old, logs)
        rest[unions] = rest[unions] * np.exp(old - new) + sign * np.exp(logs - new)
        top[unions] = new
    return result


def _weights(log_a: Floats, log_h: Floats) -> Floats:
    """W_j(U), float64 (d, 2^d), with G(U) on the way from the whole set down."""
    d = len(log_a)
    signs, log_g = _signs(d), np.full(2**d, -np.inf)
    log_g[-1] = 0.0
    weights = np.zeros((d, 2**d))
    for u in range(2**d - 2, -1, -1):
        unions, logs, sign, nodes = _sinks(log_a, u, signs)
        if not nodes:
            continue
        logs += log_g[unions]
        top = logs.max()
        if top == -np.inf:
            continue
        terms = np.concatenate([[0.0], sign * np.exp(logs - top)])
        total = terms.sum()
        if total > 0:
            log_g[u] = top + math.log(total)
        scale = math.exp(top + log_h[u] - log_h[-1])
        for k, j in enumerate(nodes):
            weights[j, u] = scale * terms.reshape(-1, 2, 2**k)[:, 1].sum()
    return weights
