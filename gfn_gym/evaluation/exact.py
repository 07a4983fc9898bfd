"""Exact evaluation: the terminal distribution of any policy on a DAG that can be enumerated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.evaluation.policy import Policy, check_policy, log_probs_of
from gfn_gym.graph import Graph, Indices, batches, enumerate_graph


def evaluate_exact(
    dag: DAG | Graph, policy: Policy, max_states: int = 1_000_000, batch_size: int = 4096
) -> dict[str, float]:
    """Compare the policy's exact terminal distribution P with the target R/Z.

    Args:
        dag: a DAG, or its :class:`Graph`; enumerate it once where policies are evaluated often.
        policy: states → log-probabilities, optionally with ``log_flow``.
        max_states: refuse DAGs with more states than this.
        batch_size: how many states the policy is asked about at once.

    Returns:
        - ``total_variation``: ½·Σ|P − R/Z|, in [0, 1];
        - ``kl``: KL(R/Z ‖ P) in nats, inf where the policy misses an object;
        - ``reverse_kl``: KL(P ‖ R/Z) in nats;
        - ``jensen_shannon``: in nats, in [0, log 2];
        - ``log_z``: the policy's ``log_flow`` of s0, and ``log_z_error``: that minus log Z; both
          only if the policy has ``log_flow``.

    Raises:
        ValueError: too many states, or the policy returned no log-probabilities (see
            :func:`log_probs_of`) or no finite log flow.
    """
    check_policy(policy)  # before the enumeration, which may take long
    graph = dag if isinstance(dag, Graph) else enumerate_graph(dag, max_states)
    log_z = graph.log_partition()
    log_target = graph.log_reward() - log_z
    log_learnt = log_terminal_distribution(graph, policy, batch_size)
    target, learnt = np.exp(log_target), np.exp(log_learnt)
    result = {
        "total_variation": total_variation(learnt, target),
        "kl": _kl(target, log_target, log_learnt),
        "reverse_kl": _kl(learnt, log_learnt, log_target),
        "jensen_shannon": jensen_shannon(learnt, target),
    }
    estimate = initial_log_flow(graph.dag, policy)
    if estimate is not None:
        result |= {"log_z": estimate, "log_z_error": estimate - log_z}
    return result


def initial_log_flow(dag: DAG, policy: Policy) -> float | None:
    """Return the policy's estimate of log Z, its ``log_flow`` of s0; None if it has none.

    Raises:
        ValueError: ``log_flow`` returned another shape than (n,), NaN or an infinity.
    """
    log_flow = getattr(policy, "log_flow", None)
    if log_flow is None:
        return None
    value = np.asarray(log_flow(dag.initial_states(1)), dtype=np.float64)
    if value.shape != (1,) or not np.isfinite(value).all():
        raise ValueError(
            f"the policy's log_flow returned {value} for s0; it must return log F, "
            "one finite number for each state, shape (1,)"
        )
    return float(value[0])


# ---- distributions --------------------------------------------------------------------------


def target_distribution(graph: Graph) -> Floats:
    """Return R/Z over ``graph.objects``, float64 (X,)."""
    log_reward = graph.log_reward()
    return np.exp(log_reward - np.logaddexp.reduce(log_reward))


def terminal_distribution(graph: Graph, policy: Policy, batch_size: int = 4096) -> Floats:
    """Return the probability with which the policy ends in each of ``graph.objects``.

    Args:
        graph: the enumerated DAG.
        policy: states → log-probabilities.
        batch_size: how many states the policy is asked about at once; beyond one such batch only
            a number per state and per edge is kept.

    Returns:
        float64 (X,), sums to one.

    Raises:
        ValueError: the policy returned no log-probabilities (see :func:`log_probs_of`).
    """
    return np.exp(log_terminal_distribution(graph, policy, batch_size))


def log_terminal_distribution(graph: Graph, policy: Policy, batch_size: int = 4096) -> Floats:
    """Return log P(x) of ``graph.objects``, float64 (X,); see :func:`terminal_distribution`.

    Computed in logarithms throughout, so that nothing underflows.
    """
    log_edge, log_stop = _forward_log_probs(graph, policy, batch_size)
    log_visit = _log_visits(graph, log_edge)[graph.objects]
    # Where there is no stop action, to arrive at a completed object is to end in it.
    return log_visit if graph.dag.stop_action is None else log_visit + log_stop[graph.objects]


def _forward_log_probs(graph: Graph, policy: Policy, batch_size: int) -> tuple[Floats, Floats]:
    """log P_F of all edges, (E,), and of the stop action in all states, (N,), −inf elsewhere."""
    dag, states = graph.dag, graph.states
    log_edge, log_stop = np.empty(len(graph.parents)), np.full(len(states), -np.inf)
    for part in batches(len(states), batch_size):
        mask = dag.action_mask(states[part])
        # Completed objects have nothing to choose from, and a softmax of nothing is NaN.
        alive = np.flatnonzero(mask.any(axis=1))
        if not len(alive):
            continue
        log_probs = np.full(mask.shape, -np.inf)
        log_probs[alive] = log_probs_of(dag, policy, states[part][alive], mask[alive])
        # Edges are sorted by parent, so those of a run of states are a run themselves.
        first, last = np.searchsorted(graph.parents, [part.start, part.stop])
        rows = graph.parents[first:last] - part.start
        log_edge[first:last] = log_probs[rows, graph.actions[first:last]]
        if dag.stop_action is not None:
            log_stop[part] = log_probs[:, dag.stop_action]
    return log_edge, log_stop


def _log_visits(graph: Graph, log_edge: Floats) -> Floats:
    """The log-probability of ever visiting each state, (N,), pushed from s0 layer by layer."""
    by_child = np.argsort(graph.children, kind="stable")
    parents, children = graph.parents[by_child], graph.children[by_child]
    log_edge = log_edge[by_child]
    bounds = np.searchsorted(children, graph.layers)
    log_visit = np.zeros(len(graph.states))  # s0 is visited surely
    for first, last in pairwise(bounds[1:]):
        arriving = log_visit[parents[first:last]] + log_edge[first:last]
        reached, log_sum = logsumexp_by_label(arriving, children[first:last])
        log_visit[reached] = log_sum
    return log_visit


def logsumexp_by_label(values: Floats, labels: Indices) -> tuple[Indices, Floats]:
    """Return the distinct labels and the log-sum-exp of each one's values; labels are sorted."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return labels[starts], np.logaddexp.reduceat(values, starts)


# ---- distances ------------------------------------------------------------------------------


def total_variation(p: ArrayLike, q: ArrayLike) -> float:
    """Return ½·Σ|p − q| of two distributions (X,), in [0, 1].

    Raises:
        ValueError: p or q is not a distribution, or their shapes differ.
    """
    p, q = _distributions(p, q)
    return float(0.5 * np.abs(p - q).sum())


def kl_divergence(p: ArrayLike, q: ArrayLike) -> float:
    """Return KL(p ‖ q) = Σ p·log(p/q) of two distributions (X,), in nats.

    It is inf where p > 0 but q = 0.

    Raises:
        ValueError: p or q is not a distribution, or their shapes differ.
    """
    p, q = _distributions(p, q)
    with np.errstate(divide="ignore"):
        return _kl(p, np.log(p), np.log(q))


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """Return ½·KL(p ‖ m) + ½·KL(q ‖ m) with m = (p + q)/2, in nats, in [0, log 2].

    Raises:
        ValueError: p or q is not a distribution, or their shapes differ.
    """
    p, q = _distributions(p, q)
    with np.errstate(divide="ignore"):
        log_p, log_q, log_m = np.log(p), np.log(q), np.log((p + q) / 2)
    return 0.5 * _kl(p, log_p, log_m) + 0.5 * _kl(q, log_q, log_m)


def _kl(p: Floats, log_p: Floats, log_q: Floats) -> float:
    support = p > 0
    divergence = np.sum(p[support] * (log_p[support] - log_q[support]))
    return max(0.0, float(divergence))  # rounding can leave −1e-17


def _distributions(p: ArrayLike, q: ArrayLike) -> tuple[Floats, Floats]:
    first, second = _distribution("p", p), _distribution("q", q)
    if first.shape != second.shape:
        raise ValueError(f"p has {len(first)} probabilities, q has {len(second)}")
    return first, second


def _distribution(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be probabilities of shape (X,), not of shape {array.shape}")
    if not (array >= 0).all():  # NaN fails too
        bad = int(np.argmin(array >= 0))
        raise ValueError(f"{name}[{bad}] = {array[bad]} is not a probability")
    if abs(array.sum() - 1) > 1e-6:
        raise ValueError(f"{name} sums to {array.sum():.9g}, not 1")
    return array


# ---- numbers of states ----------------------------------------------------------------------


def find_states(graph: Graph, states: States) -> Indices:
    """Return the numbers of states (n, d) in the graph, int64 (n,).

    Raises:
        ValueError: a state is not one of the graph's; the message names it.
    """
    numbers = graph.index_of(states)
    if (numbers < 0).any():
        bad: NDArray[Any] = states[int(np.argmax(numbers < 0))]
        raise ValueError(f"{bad.tolist()} is not a state of {graph.dag!r}")
    return numbers
