"""A copy of the policy to act by, and its weights by version, as they travel."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from gfn_gym.dag import DAG, Floats, Mask, States

from ..networks import ActingNetwork
from .built import Built, build, with_rewards

if TYPE_CHECKING:
    from ..base import GFNAlgorithm

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """What a collector is asked to do; it decides the result, wherever it is done.

    Attributes:
        number: of the task, in the order in which they are given out.
        entropy: of the seed of all tasks.
        version: of the weights.
        epsilon: float64 (m,), of each trajectory.
    """

    number: int
    entropy: int
    version: int
    epsilon: Floats

    def generator(self) -> np.random.Generator:
        """The task's own."""
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(self.number,)))


class PolicyCopy:
    """Builds trajectories as the agent would, by the weights that it was given last.

    Args:
        dag: whose objects.
        network: what acts; its weights may be any.
        temperature: λ.
        rewards: ask for rewards here.
    """

    def __init__(self, dag: DAG, network: ActingNetwork, temperature: float, rewards: bool):
        self.dag, self.network, self.temperature = dag, network, temperature
        self.rewards = rewards
        self.version: int | None = None

    @classmethod
    def of(cls, model: GFNAlgorithm, rewards: bool) -> PolicyCopy:
        """A copy on the CPU of what a model acts by."""
        network = copy.deepcopy(model.policy.online).cpu().requires_grad_(False)
        network.train(False)
        return cls(model.dag, network, model.policy.roles.temperature, rewards)

    def load(self, version: int, weights: Weights) -> None:
        """Act by these from now on."""
        self.network.load_state_dict({name: th.tensor(w) for name, w in weights.items()})
        self.version = version

    def do(self, task: Task) -> Built:
        """Build the trajectories of a task."""
        built = build(self.dag, self._acting, task.epsilon, task.generator(), task.version)
        return with_rewards(self.dag, built) if self.rewards else built

    @th.no_grad()
    def _acting(self, states: States, mask: Mask) -> NDArray[Any]:
        logits = self.network.logits(th.from_numpy(states.astype(np.int64)), th.from_numpy(mask))
        return logits.numpy() / self.temperature


def weights_of(model: GFNAlgorithm) -> Weights:
    """The weights that a model acts by, as arrays of their own.

    Raises:
        FloatingPointError: one is not finite: what is drawn by it may be illegal.
    """
    state = model.policy.online.state_dict()
    if not all(w.isfinite().all() for w in state.values()):
        raise model._diverged("a weight is not finite")
    return {name: w.detach().cpu().numpy().copy() for name, w in state.items()}
