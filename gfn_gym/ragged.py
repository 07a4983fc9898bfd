"""Runs of different lengths, laid out one after another in one array."""

from __future__ import annotations

from typing import Any

import numpy as np
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
