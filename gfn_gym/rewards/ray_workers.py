"""Actors of a Ray cluster that call a user's slow function, one object at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gfn_gym.arguments import whole
from gfn_gym.ray_cluster import (
    Patience,
    arrived,
    check_address,
    check_reserved,
    connected,
    losses,
)
from gfn_gym.rewards.pool import Failure, Outcome, StringFunction, Workers, attempt
from gfn_gym.rewards.processes import ProcessWorkers

GRACE_SECONDS = 60.0  # beyond the time limit, for a worker that does not even say that it is late


@dataclass(frozen=True)
class RayWorkers:
    """Workers on a Ray cluster, for ``workers=`` of a slow reward.

    The function is shipped once and loaded once a worker. A call that hangs (longer than the
    reward's ``timeout``), whose process dies or whose node is lost, is repeated by another worker.
    Workers that the cluster has no room for wait until it has; the others go on.

    Args:
        n: calls at a time, in the whole cluster.
        num_cpus, num_gpus: what Ray reserves for each worker; shares of one are possible.
        resources: custom resources of Ray that each takes, such as {"licence": 1}.
        retries: how often a call is repeated before it counts as failed. A worker that dies with
            nothing to do is seen only when it is sent the next call, which is then repeated too.
        address: of the cluster, as for ``ray.init``; None: the one that this process is connected
            to, else Ray's own default, which is a cluster of this machine if there is no other.
    """

    n: int
    num_cpus: float = 1
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    retries: int = 2
    address: str | None = None

    def __post_init__(self) -> None:
        whole("n", self.n, least=1)
        check_reserved(self.num_cpus, self.num_gpus, self.resources)
        whole("retries", self.retries, least=0)
        check_address(self.address)

    def __hash__(self) -> int:
        rest = self.n, self.num_cpus, self.num_gpus, self.retries, self.address
        return hash((*rest, tuple(sorted(self.resources.items()))))

    def options(self) -> dict[str, Any]:
        """What Ray is asked for, for each worker."""
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "resources": dict(self.resources),
            "max_restarts": 0,  # a dead worker is replaced here, where repeats are counted
            "scheduling_strategy": "SPREAD",
        }


class RayPool(Workers["_Actor"]):
    """Actors of a cluster, as many as ``config`` says; see :class:`RayWorkers`."""

    def __init__(
        self,
        config: RayWorkers,
        function: StringFunction,
        timeout: float | None,
        objects: str = "strings",
    ):
        self._ray = connected(config.address)
        super().__init__(config.n, config.retries)
        self.timeout = timeout
        self._make = self._ray.remote(_Caller).options(**config.options())
        self._function = self._ray.put(function)
        self._objects = objects
        self._patience = Patience("no worker of the reward has started", config.options())

    def _start(self) -> _Actor:
        actor = self._make.remote(self._function, self._objects, self.timeout)
        return _Actor(self._ray, actor, self.timeout)

    def _with_news(self, timeout: float | None) -> list[_Actor]:
        waited = [worker.answer for worker in self._workers if worker.answer is not None]
        if not waited:
            return []
        if any(worker.ready for worker in self._workers):
            self._patience.begin_anew()
            answered = set(arrived(self._ray, waited, timeout))
        else:
            answered = set(self._patience.arrived(self._ray, waited, timeout))
        return [worker for worker in self._workers if worker.answer in answered]


class _Actor:
    """The pool's side of a worker."""

    def __init__(self, ray: Any, actor: Any, timeout: float | None):
        self._ray, self._actor, self._timeout = ray, actor, timeout
        self.ready, self.alive = False, True
        self.string: str | None = None
        self.deadline = np.inf
        self.answer = actor.ready.remote()  # what is waited for

    def send(self, string: str) -> None:
        self.string = string
        if self._timeout is not None:
            self.deadline = time.monotonic() + self._timeout + GRACE_SECONDS
        self.answer = self._actor.call.remote(string)

    def receive(self) -> Outcome | None:
        if time.monotonic() >= self.deadline:
            self.kill()
            return Failure("timeout", f"no answer within {self._timeout} s")
        answer, self.answer, self.deadline = self.answer, None, np.inf
        try:
            value = self._ray.get(answer)
        except losses(self._ray) as error:
            self.kill()
            if getattr(error, "actor_init_failed", False):
                raise RuntimeError(
                    f"a Ray worker for the reward could not start: {error}"
                ) from None
            return Failure("died", f"its worker died, or its node: {error}")
        if isinstance(value, Exception):
            raise value
        self.ready = True
        return None if value is None else value

    def kill(self) -> None:
        self.alive = False
        self.deadline = np.inf
        if self._ray.is_initialized():  # else it is over, and asking would start a new cluster
            self._ray.kill(self._actor)


class _Caller:
    """The cluster's side of a worker.

    With a time limit the function runs in a process of its own, which can be killed with the
    programs that it has started before the failure is reported: so no call is repeated while the
    first goes on.
    """

    def __init__(self, function: StringFunction, objects: str, timeout: float | None):
        self._function, self._objects = function, objects
        self._process = None
        if timeout is not None:
            self._process = ProcessWorkers(function, 1, timeout, objects)

    def ready(self) -> None:
        """Return when it has started."""

    def call(self, string: str) -> Outcome | Exception:
        """The reward of a string, its failure, or an error that no string is to blame for."""
        try:
            if self._process is None:
                return attempt(self._function, [string], self._objects)[0]
            self._process.ask([string])
            return self._process.answers()[string]
        except (ValueError, RuntimeError) as error:
            return error
