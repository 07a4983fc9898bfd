"""What does the tasks of collecting: this process, or a Ray cluster."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch as th

from gfn_gym.ray_cluster import Patience, connected, losses
from gfn_gym.rewards import slow_reward_of

from .built import Built
from .policy_copy import PolicyCopy, Task, weights_of

if TYPE_CHECKING:
    from ..base import GFNAlgorithm
    from .config import RayCollectors

logger = logging.getLogger(__name__)


class Source(ABC):
    """Tasks go in, trajectories come out.

    Attributes:
        repeated: how many tasks were done again since their process or node was lost.
    """

    repeated = 0

    @abstractmethod
    def publish(self, version: int) -> None:
        """Have the tasks that are started from now on act by the weights as they are."""

    @abstractmethod
    def start(self, task: Task) -> None:
        """Have a task done; it acts by the version that was published last."""

    @abstractmethod
    def done(self, wait: float | None) -> list[tuple[Task, Built]]:
        """What has been done since the last call.

        Args:
            wait: seconds to wait for something; None: about as long as it takes.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up what is under way."""


class ThisProcess(Source):
    """Does each task when it is started."""

    def __init__(self, model: GFNAlgorithm):
        self._model = model
        self._copy = PolicyCopy.of(model, rewards=False)
        self._done: list[tuple[Task, Built]] = []

    def publish(self, version: int) -> None:
        self._copy.load(version, weights_of(self._model))

    def start(self, task: Task) -> None:
        self._done.append((task, self._copy.do(task)))

    def done(self, wait: float | None) -> list[tuple[Task, Built]]:
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        self._done.clear()


class RaySource(Source):
    """Ray tasks. The policy is shipped once, each version of the weights once a node.

    A task whose process or node is lost is given to Ray again, by the same weights, and counted.
    Ray could do that itself, but does not tell how often it did.
    """

    def __init__(self, config: RayCollectors, model: GFNAlgorithm):
        self._ray = connected(config.address)
        self._model = model
        threads = max(1, int(config.num_cpus))
        shipped = PolicyCopy.of(model, rewards=slow_reward_of(model.dag) is None), threads
        self._policy = self._ray.put(shipped)
        self._weights: Any = None
        self._do = self._ray.remote(**config.options())(_do)
        self._patience = Patience("no collector has sent anything", config.options())
        self._under_way: dict[Any, tuple[Task, Any]] = {}  # and the weights that it acts by

    def publish(self, version: int) -> None:
        self._weights = self._ray.put(weights_of(self._model))

    def start(self, task: Task) -> None:
        self._start(task, self._weights)

    def _start(self, task: Task, weights: Any) -> None:
        # In a list references stay references, which a process follows only when it has to.
        self._under_way[self._do.remote([self._policy, weights], task)] = task, weights

    def done(self, wait: float | None) -> list[tuple[Task, Built]]:
        references = list(self._under_way)
        if not references:
            self._patience.begin_anew()
            return []
        done = []
        for reference in self._patience.arrived(self._ray, references, wait):
            task, weights = self._under_way.pop(reference)
            try:
                done.append((task, Built(*self._ray.get(reference))))
            except losses(self._ray) as error:
                logger.warning("task %d of collecting is done again: %s", task.number, error)
                self.repeated += 1
                self._start(task, weights)
        return done

    def close(self) -> None:
        if self._ray.is_initialized():  # else it is over, and asking would start a new cluster
            for reference in self._under_way:
                self._ray.cancel(reference)
        self._under_way.clear()


_copies: dict[bytes, PolicyCopy] = {}  # of a process of the cluster: the one in use


def _do(references: list[Any], task: Task) -> tuple[Any, ...]:
    """Do a task on the cluster, by a policy that this process may have already."""
    import ray

    policy, weights = references
    key = policy.binary()
    if key not in _copies:
        _copies.clear()
        _copies[key], threads = ray.get(policy)
        th.set_num_threads(threads)
    copy = _copies[key]
    if copy.version != task.version:
        copy.load(task.version, ray.get(weights))
    return tuple(copy.do(task).state_dict().values())
