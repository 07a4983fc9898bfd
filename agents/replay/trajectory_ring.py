"""The latest trajectories in a handful of arrays: memory that no training outgrows.

As an array of its own each, they would lie scattered over the heap among the large temporary
arrays of the updates, which then can be neither reused as a whole nor given back to the system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .trajectory import Trajectory

FIRST_LENGTH = 16  # edges for which there is room at first; doubled where one is longer


class TrajectoryRing:
    """At most ``capacity`` trajectories, oldest first; one more takes the place of the oldest.

    What it returns are views: good until the next :meth:`append`.

    Args:
        capacity: how many at most; may be 0.
        d: the width of a state.
        dtype: of the states.
        longest: no trajectory has more edges, as far as is known; None: not known.

    Attributes:
        states: (capacity, T, d), with T at least the length of the longest trajectory so far.
        actions: int32 (capacity, T).
        log_backward, shaping: float32 (capacity, T).
        log_reward: float64 (capacity,).
        final: (capacity, d).
        lengths: int64 (capacity,), edges of each.
    """

    def __init__(self, capacity: int, d: int, dtype: DTypeLike, longest: int | None = None):
        self.capacity, self.longest = capacity, longest
        self._added = 0  # since the beginning: the next one's place is this modulo the capacity
        # Zeros take no memory until they are written to.
        self.states = np.zeros((capacity, FIRST_LENGTH, d), dtype)
        self.actions = np.zeros((capacity, FIRST_LENGTH), np.int32)
        self.log_backward = np.zeros((capacity, FIRST_LENGTH), np.float32)
        self.shaping = np.zeros((capacity, FIRST_LENGTH), np.float32)
        self.log_reward = np.zeros(capacity)
        self.final = np.zeros((capacity, d), dtype)
        self.lengths = np.zeros(capacity, np.int64)

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Trajectory:
        """The i-th of them, 0 ≤ i < len, oldest first."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        row = (max(self._added - self.capacity, 0) + i) % self.capacity
        steps = slice(self.lengths[row])
        return Trajectory(
            self.states[row, steps],
            self.actions[row, steps],
            self.log_backward[row, steps],
            self.shaping[row, steps],
            float(self.log_reward[row]),
            self.final[row],
        )

    @property
    def nbytes(self) -> int:
        """The memory of all the arrays in bytes, once they are filled."""
        return sum(v.nbytes for v in vars(self).values() if isinstance(v, np.ndarray))

    def append(self, trajectory: Trajectory) -> None:
        """Keep a copy of a finished trajectory."""
        if not self.capacity:
            return
        length = len(trajectory.actions)
        if self.actions.shape[1] < length:
            doubled = 2 * length
            at_most = doubled if self.longest is None else max(length, self.longest)
            self._lengthen(min(doubled, at_most))
        row = self._added % self.capacity
        self.states[row, :length] = trajectory.states
        self.actions[row, :length] = trajectory.actions
        self.log_backward[row, :length] = trajectory.log_backward
        self.shaping[row, :length] = trajectory.shaping
        self.log_reward[row] = trajectory.log_reward
        self.final[row] = trajectory.final
        self.lengths[row] = length
        self._added += 1

    def extend(self, trajectories: Iterable[Trajectory]) -> None:
        """Keep copies of several, one after another."""
        for trajectory in trajectories:
            self.append(trajectory)

    def _lengthen(self, length: int) -> None:
        """Make room for trajectories of that many edges."""
        for name in ("states", "actions", "log_backward", "shaping"):
            old: NDArray[np.generic] = getattr(self, name)
            new = np.zeros((self.capacity, length, *old.shape[2:]), old.dtype)
            new[: len(self), : old.shape[1]] = old[: len(self)]
            setattr(self, name, new)
