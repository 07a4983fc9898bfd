"""Weights in blocks, and the sums of the blocks: drawing in proportion without adding up all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats

BLOCK = 16  # leaves under one sum; a whole batch is handled by a dozen numpy calls


class SumTree:
    """A tree of two levels over non-negative weights, updated and searched in batches.

    Sums are recomputed from their leaves, never adjusted by differences, so they don't drift.

    Args:
        capacity: number of leaves; all start at 0.
    """

    def __init__(self, capacity: int):
        self._blocks = np.zeros((-(-capacity // BLOCK), BLOCK))
        self._sums = np.zeros(len(self._blocks))

    @property
    def leaves(self) -> Floats:
        """The weights; longer than ``capacity`` by some zeros."""
        return self._blocks.reshape(-1)

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self._sums.sum())

    def set(self, indices: NDArray[np.int64], weights: Floats) -> None:
        """Give leaves (k,) new weights (k,)."""
        self.leaves[indices] = weights
        blocks = indices // BLOCK
        self._sums[blocks] = self._blocks[blocks].sum(axis=1)

    def find(self, points: Floats) -> NDArray[np.int64]:
        """For points (k,) in [0, total), return the leaves (k,) on whose stretch each falls.

        A leaf of weight 0 has no stretch and is never found while any weight is positive.
        """
        ends = np.cumsum(self._sums)
        block = np.searchsorted(ends, _below(points, ends[-1]), side="right")
        inside = np.cumsum(self._blocks[block], axis=1)
        # What is left of a point in its block; rounding must not carry it out of the block, on
        # either side: below 0 it would be before the stretch of the first leaf, be that 0 wide.
        rest = np.maximum(points - (ends[block] - self._sums[block]), 0.0)
        rest = _below(rest, inside[:, -1])
        return block * BLOCK + (inside <= rest[:, None]).sum(axis=1)


def _below(points: Floats, end: Floats) -> Floats:
    return np.minimum(points, np.nextafter(end, 0.0))
