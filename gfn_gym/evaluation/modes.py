"""Modes found, by Hamming distance, and how well a policy ranks the neighbourhoods of modes."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gfn_gym.dag import DAG, States
from gfn_gym.evaluation.likelihood import log_likelihood
from gfn_gym.evaluation.metrics import spearman
from gfn_gym.evaluation.policy import Policy
from gfn_gym.mdp import BackwardPolicy, log_reward_of


@runtime_checkable
class HasModes(Protocol):
    """A domain with known modes; a :class:`gfn_gym.DAG` with these members is one."""

    @property
    def modes(self) -> States:
        """(n_modes, d); repeats allowed."""

    @property
    def mode_threshold(self) -> int:
        """An object within this distance of a mode has found it."""

    def mode_distances(self, states: States) -> NDArray[np.integer]:
        """States (n, d) → distances (n, n_modes)."""


class Tracker(Protocol):
    """Counts modes among finished objects that it is shown a few at a time."""

    def __len__(self) -> int:
        """How many were found."""

    def add(self, states: States) -> None:
        """Look at finished objects (n, d)."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


class ModeTracker:
    """Remembers which modes the objects seen so far have found; duplicates count once.

    Args:
        dag: whose modes.

    Attributes:
        found: bool (m,), over the distinct modes.
    """

    def __init__(self, dag: HasModes):
        self.dag = dag
        _, self._distinct = np.unique(dag.modes, axis=0, return_index=True)
        self.found: NDArray[np.bool_] = np.zeros(len(self._distinct), dtype=bool)

    def __len__(self) -> int:
        """How many distinct modes were found."""
        return int(self.found.sum())

    def add(self, states: States) -> None:
        """Look at finished objects (n, d)."""
        if len(states) and not self.found.all():
            near = self.dag.mode_distances(states)[:, self._distinct] <= self.dag.mode_threshold
            self.found |= near.any(axis=0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: which ones were found."""
        return {"found": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.found = state["found"]


def reward_correlation(
    dag: DAG,
    policy: Policy,
    objects: ArrayLike,
    n_samples: int = 10,
    seed: int | np.random.Generator = 0,
    batch_size: int = 1024,
    backward_policy: BackwardPolicy | None = None,
) -> dict[str, float]:
    """Return Spearman's correlation of R and P_θ over given objects.

    log P_θ is estimated by ``n_samples`` backward trajectories each (:func:`log_likelihood`); in
    arXiv:2310.12934 by 10, over objects near the modes. They are drawn from ``backward_policy``;
    None is uniform.

    Returns:
        - ``spearman``;
        - ``log_prob_error``: the median over the objects of log P_θ's standard error, in nats.
          An error near 1 or above says that the estimates have long tails.

    Raises:
        ValueError: as :func:`log_likelihood`.
    """
    found = log_likelihood(dag, policy, objects, n_samples, 0, seed, batch_size, backward_policy)
    log_reward = log_reward_of(dag, np.asarray(objects))
    return {
        "spearman": spearman(log_reward, found.log_prob),
        "log_prob_error": float(np.median(found.standard_error)),
    }
