"""Whole trajectories side by side, as if several environments had just stepped through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import Actions, States
from gfn_gym.mdp import Transition

from .trajectory import Trajectory, transitions_of

Columns = list[NDArray[Any]]
"""Of k transitions: states, actions, next states, dones, log P_B, log R, shaping."""


class Lanes:
    """``n`` lanes, which trajectories are laid into end to end.

    Args:
        n: how many.
    """

    def __init__(self, n: int):
        self._parts: list[list[Columns]] = [[] for _ in range(n)]
        self._lengths = np.zeros(n, dtype=np.int64)

    def put(self, trajectories: Sequence[Trajectory]) -> None:
        """Lay each into the lane that is shortest then."""
        for trajectory in trajectories:
            lane = int(self._lengths.argmin())
            states, actions, t = transitions_of(trajectory)
            rewards = [t.log_backward, t.log_reward, t.shaping]
            self._parts[lane].append([states, actions, t.next_states, t.done, *rewards])
            self._lengths[lane] += len(actions)

    def rows(self) -> Iterator[tuple[States, Actions, Transition]]:
        """Take out, as a buffer takes a step, what all lanes have: (n, d), (n,) and transition."""
        k = int(self._lengths.min())
        if not k:
            return
        lanes = [[np.concatenate(column) for column in zip(*p, strict=True)] for p in self._parts]
        self._parts = [[[c[k:] for c in lane]] if len(lane[0]) > k else [] for lane in lanes]
        self._lengths -= k
        columns = [
            np.stack([c[:k] for c in same], axis=1) for same in zip(*lanes, strict=True)
        ]  # (k, n, …) each
        for states, actions, *rest in zip(*columns, strict=True):
            yield states, actions, Transition(*rest)

    def state_dict(self) -> list[Columns]:
        """What is left in each lane; nothing where all are empty."""
        if not self._lengths.any():
            return []
        return [[np.concatenate(column) for column in zip(*p, strict=True)] for p in self._parts]

    def load_state_dict(self, state: list[Columns]) -> None:
        """Take back what :meth:`state_dict` gave."""
        n = len(self._lengths)
        lanes = state or [[] for _ in range(n)]
        self._parts = [[columns] if columns else [] for columns in lanes]
        self._lengths = np.array([len(c[0]) if c else 0 for c in lanes], dtype=np.int64)
