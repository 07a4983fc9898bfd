"""How trajectories are collected, for ``learn(collectors=…)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gfn_gym.arguments import flag, whole
from gfn_gym.ray_cluster import check_address, check_reserved
from gfn_gym.rewards import slow_reward_of, string_rewards_of

from .sources import RaySource, Source, ThisProcess

if TYPE_CHECKING:
    from ..base import GFNAlgorithm


class Collectors(ABC):
    """What collects trajectories in place of the environment that ``learn`` steps.

    Attributes:
        n: tasks at a time.
        n_envs: trajectories of a task, built side by side from beginning to end.
        synchronous: all of a round are in before the policy changes.
        publish_every: updates between two versions of the weights that are acted by.
        max_lag: updates between the policy that built a trajectory and the one that learns from
            it, at most.
        asynchronous_rewards: go on while rewards are computed.
        max_pending: trajectories whose rewards are computed, at most.
    """

    n: int
    n_envs: int
    synchronous: bool
    publish_every: int
    max_lag: int
    asynchronous_rewards: bool
    max_pending: int

    @abstractmethod
    def source(self, model: GFNAlgorithm) -> Source:
        """Return what does the tasks."""

    def check(self, model: GFNAlgorithm) -> None:
        """Raise a ValueError that says why a model cannot learn from what these collect."""
        if model.local_search:
            raise ValueError(
                f"local_search={model.local_search!r} begins trajectories in the environments of "
                "this process: leave it out with collectors; replay_pool works"
            )
        if getattr(model, "planning_simulations", 0):
            raise ValueError(
                "planning_simulations acts by a tree search in this process: set it to 0 with "
                "collectors"
            )
        if self.asynchronous_rewards:
            self._check_rewards(model)
        if getattr(model, "on_policy", False):
            self._check_on_policy(model)

    def _check_rewards(self, model: GFNAlgorithm) -> None:
        reward = slow_reward_of(model.dag)
        if reward is None:
            raise ValueError(
                f"asynchronous_rewards=True, but the reward of {model.dag!r} has no workers that "
                "could compute it meanwhile: give a StringReward with workers=, as an attribute "
                "of the DAG, or leave this out"
            )
        most = self.max_pending + self.n * self.n_envs
        if reward.cache_size < most:
            raise ValueError(
                f"cache_size={reward.cache_size} of the reward must be at least the {most} "
                "trajectories that may wait for one, or what has arrived is dropped and computed "
                "again"
            )

    def _check_on_policy(self, model: GFNAlgorithm) -> None:
        name, freq = type(model).__name__, model.train_freq
        amount, unit = freq.frequency, freq.unit.value  # type: ignore[union-attr]
        if not self.synchronous or self.asynchronous_rewards:
            raise ValueError(
                f"{name} learns from its own policy's trajectories only: collect with "
                "synchronous=True, and without asynchronous_rewards"
            )
        if unit != "episode" or amount != self.n * self.n_envs:
            raise ValueError(
                f"{name} learns from its own policy's trajectories only: a round of n={self.n} "
                f"collectors with n_envs={self.n_envs} must be those of one round of updates, "
                f"train_freq=({self.n * self.n_envs}, 'episode'), not ({amount}, {unit!r})"
            )

    def _check_numbers(self) -> None:
        for name in ("n", "n_envs", "publish_every", "max_pending"):
            whole(name, getattr(self, name), least=1)
        whole("max_lag", self.max_lag, least=0)
        flag("synchronous", self.synchronous)
        flag("asynchronous_rewards", self.asynchronous_rewards)
        if self.synchronous and self.publish_every > 1:
            raise ValueError(
                f"publish_every={self.publish_every} has no effect with synchronous=True, where "
                "each round acts by the policy as it is: leave it out"
            )
        if self.publish_every > self.max_lag + 1:
            raise ValueError(
                f"publish_every={self.publish_every} lets the policy grow older than "
                f"max_lag={self.max_lag} updates: make it at most {self.max_lag + 1}"
            )


@dataclass(frozen=True)
class RayCollectors(Collectors):
    """Collectors on a Ray cluster, each with a copy of the policy.

    A task builds ``n_envs`` whole trajectories from a seed of its own by a version of the policy,
    so it gives the same wherever it is done, and is repeated elsewhere when a process dies or a
    node is lost, which is logged as ``collect/repeated``. What comes back are states, actions and
    log R; masks and log P_B are derived here. Where the reward is a slow one with workers of its
    own (:class:`gfn_gym.rewards.StringReward`), it is asked for here, so that no object is
    evaluated twice in the whole cluster.

    Args:
        n: tasks at a time.
        n_envs: trajectories of a task.
        synchronous: rounds of n tasks by the policy as it is when they begin; what is learnt is
            then the same for the same seed, ``n`` and ``n_envs``, on any cluster. Otherwise
            trajectories are learnt from as they come.
        publish_every: updates between two versions of the weights.
        max_lag: a trajectory is learnt from at most this many updates after the policy that built
            it; of what would become older, the learner waits for. Logged as ``collect/lag``.
        asynchronous_rewards: go on while slow rewards are computed. Nothing is learnt from a
            trajectory before its reward is known.
        max_pending: trajectories that wait for a reward, at most.
        num_cpus, num_gpus, resources: what Ray reserves for a task. Workers of a slow reward keep
            theirs, so the cluster must have room for both.
        address: of the cluster, as in :class:`gfn_gym.rewards.RayWorkers`.
    """

    n: int = 8
    n_envs: int = 64
    synchronous: bool = False
    publish_every: int = 1
    max_lag: int = 100
    asynchronous_rewards: bool = False
    max_pending: int = 4096
    num_cpus: float = 1
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    address: str | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        check_reserved(self.num_cpus, self.num_gpus, self.resources)
        check_address(self.address)

    def check(self, model: GFNAlgorithm) -> None:
        super().check(model)
        if any(r.journal and not r.workers for r in string_rewards_of(model.dag)):
            raise ValueError(
                f"the reward of {model.dag!r} has a journal but no workers, so each collector "
                "would write one where it runs: give workers=, then the learner asks and writes"
            )

    def options(self) -> dict[str, Any]:
        """What Ray is asked for, for each task."""
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "resources": dict(self.resources),
            "max_calls": 0,  # keep the process, and the policy in it, also where it has a GPU
            "max_retries": 0,  # a lost task is repeated by RaySource, where repeats are counted
            "scheduling_strategy": "SPREAD",
        }

    def source(self, model: GFNAlgorithm) -> Source:
        return RaySource(self, model)


@dataclass(frozen=True)
class LocalCollector(Collectors):
    """Collects in this process, in whole batches, while slow rewards are computed elsewhere.

    Args:
        n_envs: trajectories of a batch, built side by side from beginning to end.
        asynchronous_rewards: go on while rewards are computed. Nothing is learnt from a trajectory
            before its reward is known.
        max_pending: trajectories that wait for a reward, at most.
        max_lag: as in :class:`RayCollectors`.
    """

    n_envs: int = 64
    asynchronous_rewards: bool = True
    max_pending: int = 4096
    max_lag: int = 100
    n = 1
    synchronous = False
    publish_every = 1

    def __post_init__(self) -> None:
        self._check_numbers()

    def source(self, model: GFNAlgorithm) -> Source:
        return ThisProcess(model)
