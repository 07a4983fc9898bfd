"""Trajectories on their way to the learner: those whose rewards are known, and the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from gfn_gym.dag import DAG
from gfn_gym.rewards import StringReward

from .built import Built, with_rewards


class Inbox:
    """Hands out trajectories whose rewards are known, oldest policy first.

    Args:
        dag: whose objects.
        reward: computes rewards while the learner goes on; None: they are waited for.

    Attributes:
        ready: trajectories with rewards.
        pending: trajectories whose rewards are being computed.
    """

    def __init__(self, dag: DAG, reward: StringReward | None):
        self.dag, self.reward = dag, reward
        self.ready: list[Built] = []
        self.pending: list[Built] = []

    @property
    def n_ready(self) -> int:
        """How many trajectories can be handed out."""
        return sum(map(len, self.ready))

    @property
    def n_pending(self) -> int:
        """How many wait for their rewards."""
        return sum(map(len, self.pending))

    def put(self, built: Built) -> None:
        """Take trajectories in, with rewards or without."""
        if not np.isnan(built.log_reward).any():
            self.ready.append(built)
        elif self.reward is None:
            self.ready.append(with_rewards(self.dag, built))
        else:
            self._look_up(built)

    def receive(self, wait: float | None = 0.0) -> None:
        """Take the rewards that have arrived; wait for one if that is asked for."""
        if self.reward is not None and self.pending and self.reward.receive(wait):
            pending, self.pending = self.pending, []
            for built in pending:
                self._look_up(built)

    def forget(self, before: int) -> None:
        """Drop what was built by versions of the policy before this one."""
        self.ready = [built for built in self.ready if built.versions[0] >= before]
        self.pending = [built for built in self.pending if built.versions[0] >= before]

    def _look_up(self, built: Built) -> None:
        assert self.reward is not None
        with self.reward.deferring():  # NaN where unknown, which is asked for
            objects = built.objects.astype(self.dag.state_space.dtype)
            built.log_reward = np.asarray(self.dag.log_reward(objects), dtype=np.float64)
        unknown = np.isnan(built.log_reward)
        if not unknown.all():
            # Checked where it is known, as everywhere.
            self.ready.append(with_rewards(self.dag, built.at(~unknown)))
        if unknown.any():
            self.pending.append(built.at(unknown))

    def take(self, trajectories: int, edges: int | None = None) -> Built:
        """Hand out at most this many trajectories, and no more than make up this many edges."""
        self.ready.sort(key=lambda built: int(built.versions[0]))  # each is of one version
        taken: list[Built] = []
        while self.ready and trajectories > 0 and (edges is None or edges > 0):
            first = self.ready.pop(0)
            n = min(trajectories, len(first))
            if edges is not None:
                n = min(n, int(np.searchsorted(first.lengths.cumsum(), edges)) + 1)
            if n < len(first):
                self.ready.insert(0, first.at(slice(n, None)))
            taken.append(first.at(slice(n)))
            trajectories -= n
            edges = None if edges is None else edges - len(taken[-1].states)
        return Built.joined(taken)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "ready": [built.state_dict() for built in self.ready],
            "pending": [built.state_dict() for built in self.pending],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; what was being computed is asked for again."""
        self.ready = [Built(**built) for built in state["ready"]]
        for built in state["pending"]:
            self.put(Built(**built))
