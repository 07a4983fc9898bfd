"""Features of graphs: edges, directed paths and Markov blankets, and how probable they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats
from gfn_gym.envs.bayesian_network.bits import Adjacency, ancestors, parent_sets, unpack
from gfn_gym.graph import batches

Feature = Callable[[Adjacency], Adjacency]
"""Graphs, bool (n, d, d) → which pairs of nodes have the feature, bool (n, d, d)."""


def edges(graphs: Adjacency) -> Adjacency:
    """[i, j]: there is the edge i → j."""
    return graphs


def paths(graphs: Adjacency) -> Adjacency:
    """[i, j]: a directed path leads from i to j."""
    return unpack(ancestors(parent_sets(graphs)), graphs.shape[1]).swapaxes(1, 2)


def markov_blankets(graphs: Adjacency) -> Adjacency:
    """[i, j]: j is in the Markov blanket of i, its parents, children and their other parents."""
    d = graphs.shape[1]
    together = np.zeros_like(graphs)  # i and j have a child in common
    for child in range(d):
        parents = graphs[:, :, child]
        together |= parents[:, :, None] & parents[:, None, :]
    return (graphs | graphs.swapaxes(1, 2) | together) & ~np.eye(d, dtype=bool)


FEATURES: dict[str, Feature] = {"edge": edges, "path": paths, "markov_blanket": markov_blankets}


def marginals(
    graphs: Adjacency, feature: str | Feature = "edge", weights: NDArray[np.floating] | None = None
) -> Floats:
    """Return the probability of a feature for every pair of nodes, float64 (d, d).

    Args:
        graphs: bool (n, d, d), samples or all graphs.
        feature: "edge", "path", "markov_blanket", or a function of graphs.
        weights: (n,), the graphs' probabilities; None for samples.

    Raises:
        ValueError: an unknown feature, no graphs, or weights of another shape.
    """
    if isinstance(feature, str):
        if feature not in FEATURES:
            raise ValueError(
                f"feature={feature!r} must be one of {sorted(FEATURES)}, or a function"
            )
        feature = FEATURES[feature]
    n, d = graphs.shape[:2]
    if n == 0:
        raise ValueError("graphs is empty: marginals need at least one graph")
    shares = np.full(n, 1.0 / n) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (n,):
        raise ValueError(f"weights has shape {shares.shape}; it must be ({n},), one a graph")
    total = np.zeros((d, d))
    for part in batches(n):
        total += np.tensordot(shares[part], feature(graphs[part]).astype(np.float64), axes=1)
    return total
