"""log P(x) of given objects: exactly over their ancestors, or by importance sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.evaluation.exact import log_terminal_distribution
from gfn_gym.evaluation.policy import Policy, checked_backward_policy
from gfn_gym.evaluation.sampling import (
    check_objects,
    check_reached_start,
    parallel_actions,
    walk_back,
)
from gfn_gym.graph import Graph, Indices, batches, lay_out
from gfn_gym.mdp import MDP, BackwardPolicy


@dataclass(slots=True)
class Likelihood:
    """log P(x) of n objects.

    Attributes:
        log_prob: float64 (n,).
        standard_error: float64 (n,), of ``log_prob``; 0 where it is exact. Where sampled it is
            first order (the delta method) and itself an estimate: trust it where it is well
            below 1.
        exact: bool (n,), computed exactly, not sampled.
    """

    log_prob: Floats
    standard_error: Floats
    exact: NDArray[np.bool_]


def log_likelihood(
    dag: DAG,
    policy: Policy,
    objects: ArrayLike,
    n_samples: int = 100,
    max_ancestors: int = 1000,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> Likelihood:
    """Return the log-probability with which the policy ends in each of the given objects.

    An object with at most ``max_ancestors`` ancestors (the states on any way to it, itself
    included) is evaluated exactly, by pushing probability through them. For the others,
    P(x) = E[P_F(τ)/P_B(τ | x)] over trajectories τ from P_B is averaged over ``n_samples`` of
    them (arXiv:2310.12934 takes 10 for bit sequences): unbiased for P, a little low for log P.
    Where the weights have a long tail, estimate and error are both too low until enough of it was
    seen; an error near 1 is the sign.

    Args:
        dag: the DAG, of any size.
        policy: states → log-probabilities.
        objects: (n, d), finished objects.
        n_samples: trajectories to each object that is sampled, at least 2.
        max_ancestors: explore so many ancestors of an object at most; 0 samples always.
        seed: of a generator of its own, or a generator to go on with.
        batch_size: states or trajectories at once; bounds the memory.
        backward_policy: what trajectories are drawn from; None is uniform. It changes the
            standard error, not what is estimated.

    Raises:
        ValueError: a row is no finished object of the DAG, a policy returned no
            log-probabilities, or n_samples is below 2.
    """
    if n_samples < 2:
        raise ValueError(f"n_samples={n_samples!r} must be at least 2, or there is no error of it")
    states = check_objects(dag, objects)
    n = len(states)
    result = Likelihood(np.empty(n), np.zeros(n), np.zeros(n, dtype=bool))
    for row in range(n):
        graph = _ancestors(dag, states[row : row + 1], max_ancestors)
        if graph is not None:
            result.log_prob[row] = log_terminal_distribution(graph, policy, batch_size)[0]
            result.exact[row] = True
    mdp = MDP(dag, checked_backward_policy(dag, backward_policy))
    generator = np.random.default_rng(seed)
    sampled = np.flatnonzero(~result.exact)
    for part in batches(len(sampled), max(1, batch_size // n_samples)):
        rows = sampled[part]
        log_ratio = _log_ratios(mdp, policy, states[rows], n_samples, batch_size, generator)
        result.log_prob[rows], result.standard_error[rows] = _log_mean(log_ratio)
    return result


def _log_ratios(
    mdp: MDP,
    policy: Policy,
    objects: States,
    n_samples: int,
    batch_size: int,
    generator: np.random.Generator,
) -> Floats:
    """log P_F(τ)/P_B(τ | x) of n_samples trajectories to each object, (n, n_samples)."""
    wanted = np.repeat(objects, n_samples, axis=0)
    log_ratio = np.empty(len(wanted))
    for part in batches(len(wanted), batch_size):
        walks = walk_back(mdp, policy, wanted[part], generator)
        log_ratio[part] = walks.log_forward - walks.log_backward
    return log_ratio.reshape(len(objects), n_samples)


def _log_mean(log_values: Floats) -> tuple[Floats, Floats]:
    """The logarithm of each row's mean, and its standard error: that of the mean over the mean."""
    largest = log_values.max(axis=1)
    possible = np.isfinite(largest)  # else all are −inf: the policy never took such a way
    scaled = np.exp(log_values[possible] - largest[possible, None])
    mean, m = scaled.mean(axis=1), log_values.shape[1]
    log_mean = np.full(len(log_values), -np.inf)
    error = np.full(len(log_values), np.inf)
    log_mean[possible] = largest[possible] + np.log(mean)
    error[possible] = scaled.std(axis=1, ddof=1) / (np.sqrt(m) * mean)
    return log_mean, error


# ---- ancestors ------------------------------------------------------------------------------


def _ancestors(dag: DAG, target: States, max_states: int) -> Graph | None:
    """The part of the DAG that leads to one object (1, d); None if it has more states.

    Its only object is the target. Edges that lead elsewhere are left out, so what the policy
    spends on them is lost, as it should be.
    """
    found = _explore_back(dag, target, max_states)
    if found is None:
        return None
    states, parents, actions, children = found
    is_target = (states == target).all(axis=1)
    graph = lay_out(dag, states, parents, actions, children, is_target)
    check_reached_start(dag, graph.states[: graph.layers[1]])
    return graph


def _explore_back(
    dag: DAG, target: States, max_states: int
) -> tuple[States, Indices, Indices, Indices] | None:
    """Breadth first from the target: the ancestors, and the edges between them.

    States are numbered as they are found, the target first.
    """
    if max_states < 1:
        return None
    numbers = {target[0].tobytes(): 0}
    found, frontier, first = [target], target, 0  # first: the number of the frontier's first
    edges: list[tuple[Indices, Indices, Indices]] = []
    while len(frontier):
        rows, undo = np.nonzero(dag.backward_mask(frontier))
        parents = dag.backward_step(frontier[rows], undo)
        parents = np.ascontiguousarray(parents, dtype=target.dtype)  # rows are compared as bytes
        count = len(numbers)
        named = [numbers.setdefault(row.tobytes(), len(numbers)) for row in parents]
        if len(numbers) > max_states:
            return None
        number = np.array(named, dtype=np.int64)
        actions = np.asarray(dag.forward_action(frontier[rows], undo), dtype=np.int64)
        edges.append(_all_edges(dag, parents, number, actions, frontier[rows], first + rows))
        distinct, pick = np.unique(number, return_index=True)
        first, frontier = count, parents[pick[distinct >= count]]
        found.append(frontier)
    sources, steps, targets = (np.concatenate(column) for column in zip(*edges, strict=True))
    return np.concatenate(found), sources, steps, targets


def _all_edges(
    dag: DAG,
    parents: States,
    parent_numbers: Indices,
    actions: Indices,
    children: States,
    child_numbers: Indices,
) -> tuple[Indices, Indices, Indices]:
    """Every edge between the given pairs once, parallel ones included: parent, action, child."""
    # Several backward actions may lead to the same parent: the pair counts once.
    pairs = np.column_stack([parent_numbers, child_numbers])
    _, pick = np.unique(pairs, axis=0, return_index=True)
    single = dag.n_parallel(parents[pick], actions[pick]) == 1
    one, many = pick[single], pick[~single]
    if not len(many):
        return parent_numbers[one], actions[one], child_numbers[one]
    rows, parallel = parallel_actions(dag, parents[many], children[many])
    edges = np.concatenate([one, many[rows]])
    return (
        parent_numbers[edges],
        np.concatenate([actions[one], parallel]),
        child_numbers[edges],
    )
