"""What a user knows about the graph: edges that it must have, or must not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.bayesian_network.bits import acyclic

Edges = Iterable[tuple[str | int, str | int]]
"""Pairs (from, to) of columns, by name or by number."""


def parse_edges(name: str, pairs: Any, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return pairs of columns as an adjacency matrix, bool (d, d).

    Args:
        name: the argument's, for messages.
        pairs: see :data:`Edges`.
        names: of the d columns.

    Raises:
        TypeError: not a list of pairs.
        ValueError: not a pair, not a column, or an edge from a node to itself.
    """
    edges = np.zeros((len(names), len(names)), dtype=bool)
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise TypeError(f"{name}={pairs!r} must be a list of pairs (from, to) of columns")
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, (Sequence, np.ndarray)) or len(pair) != 2:
            raise ValueError(f"{name}: {pair!r} is not a pair (from, to) of columns")
        i, j = (_node(name, node, names) for node in pair)
        if i == j:
            raise ValueError(f"{name}: {pair!r} is an edge from a node to itself")
        edges[i, j] = True
    return edges


def check_constraints(
    names: Sequence[str],
    required: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    max_parents: int,
) -> None:
    """Raise a ValueError where no graph can keep the constraints, adjacency matrices (d, d)."""
    both = np.argwhere(required & ~allowed)
    if len(both):
        raise ValueError(f"required: {tuple(names[i] for i in both[0])} is also forbidden")
    if not acyclic(required[None])[0]:
        shown = [(names[i], names[j]) for i, j in np.argwhere(required)]
        raise ValueError(f"required={shown} has a cycle, so that no graph is acyclic")
    most = int(required.sum(axis=0).max())
    if most > max_parents:
        raise ValueError(
            f"required gives a node {most} parents; max_parents={max_parents} must be at least that"
        )


def _node(name: str, node: Any, names: Sequence[str]) -> int:
    if isinstance(node, str) and node in names:
        return list(names).index(node)
    whole = isinstance(node, (int, np.integer)) and not isinstance(node, bool)
    if whole and 0 <= node < len(names):
        return int(node)
    raise ValueError(
        f"{name}: {node!r} is not a column; columns are {list(names)}, or their numbers from 0 to "
        f"{len(names) - 1}"
    )
