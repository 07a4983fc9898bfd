"""Exact terminal distribution of a hypergrid policy, by pushing flow through the grid.

A second implementation beside gfn_gym's evaluation, on purpose: gfn_gym is not installed in the
peers' environment, and two that were written apart can be checked against each other.

States are numbered in C order, the last coordinate fastest, as `numpy.ravel_multi_index` does.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def all_states(ndim: int, height: int) -> NDArray[np.int64]:
    """Coordinates of every state, in the order of their numbers; [height ** ndim, ndim]."""
    return np.indices((height,) * ndim).reshape(ndim, -1).T


def target_distribution(ndim: int, height: int, reward: tuple[float, float, float]) -> FloatArray:
    """R(x) / Z over all states, R0 + R1 in the outer band + R2 in the ring within it."""
    r0, r1, r2 = reward
    distance = np.abs(all_states(ndim, height) / (height - 1) - 0.5)
    outer = (distance > 0.25).all(axis=1)
    ring = ((distance > 0.3) & (distance < 0.4)).all(axis=1)
    values = r0 + r1 * outer + r2 * ring
    return values / values.sum()


def terminal_distribution(log_policy: FloatArray, ndim: int, height: int) -> FloatArray:
    """Probability that a trajectory ends in each state.

    `log_policy` is [height ** ndim, ndim + 1], stop last, -inf where illegal. All edges lead
    from one level (the sum of coordinates) to the next, so when a level is reached its inflow
    is complete.
    """
    states = all_states(ndim, height)
    level = states.sum(axis=1)
    strides = height ** np.arange(ndim - 1, -1, -1)
    policy = np.exp(np.asarray(log_policy, dtype=np.float64))
    flow = np.zeros(len(states))
    flow[0] = 1.0
    by_level = np.argsort(level, kind="stable")
    bounds = np.searchsorted(level[by_level], np.arange(ndim * (height - 1) + 2))
    for begin, end in itertools.pairwise(bounds):
        rows = by_level[begin:end]
        for axis in range(ndim):
            movable = rows[states[rows, axis] < height - 1]
            flow[movable + strides[axis]] += flow[movable] * policy[movable, axis]
    return flow * policy[:, ndim]


def total_variation(p: FloatArray, q: FloatArray) -> float:
    """Half the summed absolute difference."""
    return float(0.5 * np.abs(p - q).sum())
