"""Data to try things on: a random graph, random weights, Gaussian noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import number, whole
from gfn_gym.dag import Floats


def erdos_renyi_data(
    nodes: int = 5,
    observations: int = 100,
    edges_per_node: float = 1.0,
    noise: float = 0.1,
    seed: int = 0,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw a linear Gaussian network and observations of it.

    Each pair of nodes is joined with the same probability (Erdős and Rényi), the edge pointing
    along a random order of the nodes. An edge's weight is standard normal, and a node is the
    weighted sum of its parents plus noise: the set-up of arXiv:2202.13903, section 5.1.

    Args:
        nodes: number of nodes d, at least 2.
        observations: rows of data.
        edges_per_node: expected number of edges divided by d; at most (d − 1)/2.
        noise: variance of the noise.
        seed: of the graph, the weights and the noise.

    Returns:
        The observations, float64 (observations, d), and the graph, bool (d, d): [i, j] is the
        edge i → j.

    Raises:
        ValueError: a number out of range; the message names it.
    """
    d, n = whole("nodes", nodes, least=2), whole("observations", observations, least=1)
    number("noise", noise, above=0)
    probability = 2 * number("edges_per_node", edges_per_node, above=0) / (d - 1)
    if probability > 1:
        raise ValueError(
            f"edges_per_node={edges_per_node!r} must be at most (nodes − 1)/2 = {(d - 1) / 2}"
        )
    generator = np.random.default_rng(whole("seed", seed, least=0))
    order = generator.permutation(d)
    upper = np.triu(generator.random((d, d)) < probability, k=1)
    graph = np.zeros((d, d), dtype=bool)
    graph[np.ix_(order, order)] = upper
    weights = np.where(graph, generator.normal(size=(d, d)), 0.0)
    data = math.sqrt(noise) * generator.normal(size=(n, d))
    for node in order:  # parents come first
        data[:, node] += data @ weights[:, node]
    return data, graph
