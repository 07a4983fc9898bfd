"""Runs of different lengths laid out one after another, pieces of a range, rows in a space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def ragged_ranges(starts: NDArray[Any], counts: NDArray[Any]) -> tuple[Indices, Indices]:
    """Lay out the ranges starts[i], starts[i] + 1, …, starts[i] + counts[i] − 1, one by one.

    ``ragged_ranges([5, 0, 9], [2, 0, 3])`` gives rows [0, 0, 2, 2, 2] and positions
    [5, 6, 9, 10, 11].

    Args:
        starts: int (n,).
        counts: int (n,), none below 0.

    Returns:
        The rows, int64 (sum of counts,): the i that each entry belongs to, rising; and the
        positions, int64 (sum of counts,).
    """
    rows = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts  # entries before each range
    return rows, np.arange(len(rows)) + np.repeat(starts - before, counts)


def batches(n: int, size: int = 16_384) -> Iterator[slice]:
    """Yield slices that cover range(n) in pieces, so that memory stays bounded."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def inside(space: spaces.MultiDiscrete, states: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows of integers (n, d) lie in the space, bool (n,): all are asked at once."""
    places = states - space.start
    return np.asarray(((places >= 0) & (places < space.nvec)).all(axis=1))
