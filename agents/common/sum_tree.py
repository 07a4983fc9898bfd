"""Numbers in leaves, their sums above them: drawing in proportion without adding up every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Floats

FAN_OUT = 64  # three levels hold 262,144 leaves; numpy handles a whole batch level by level


class SumTree:
    """A tree of sums over non-negative weights, updated and searched in batches.

    Sums are recomputed from their children, never adjusted by differences, so they don't drift.

    Args:
        capacity: number of leaves; all start at 0.
    """

    def __init__(self, capacity: int):
        self.levels: list[Floats] = []  # from the leaves up to a level of one node's children
        size = capacity
        while True:
            size = -(-size // FAN_OUT) * FAN_OUT
            self.levels.append(np.zeros(size))
            if size == FAN_OUT:
                break
            size //= FAN_OUT

    @property
    def leaves(self) -> Floats:
        """The weights; longer than ``capacity`` by some zeros."""
        return self.levels[0]

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self.levels[-1].sum())

    def set(self, indices: NDArray[np.int64], weights: Floats) -> None:
        """Give leaves (k,) new weights (k,)."""
        self.levels[0][indices] = weights
        for below, above in zip(self.levels[:-1], self.levels[1:], strict=True):
            indices = indices // FAN_OUT
            above[indices] = below.reshape(-1, FAN_OUT)[indices].sum(axis=1)

    def find(self, points: Floats) -> NDArray[np.int64]:
        """For points (k,) in [0, total), return the leaves (k,) on whose stretch each falls.

        A leaf of weight 0 has no stretch and is never found while any weight is positive.
        """
        node = np.zeros(len(points), dtype=np.int64)
        for level in reversed(self.levels):
            sums = level.reshape(-1, FAN_OUT)[node].cumsum(axis=1)
            # Rounding may carry a point past the last stretch; keep it on the last one.
            points = np.minimum(points, np.nextafter(sums[:, -1], 0.0))
            child = (sums <= points[:, None]).sum(axis=1)
            before = np.where(child > 0, sums[np.arange(len(node)), child - 1], 0.0)
            points = points - before
            node = node * FAN_OUT + child
        return node
