"""The connection to a Ray cluster, for whatever can run on one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from gfn_gym.arguments import ArgumentTypeError, mapping, number

logger = logging.getLogger(__name__)

OBJECT_STORE = 100_000_000  # bytes of each node of :func:`nodes_of_this_machine`
HEALTH = {"period_ms": 1000, "timeout_ms": 5000, "failure_threshold": 3, "initial_delay_ms": 1000}


def connected(address: str | None = None) -> Any:
    """Return the module ray, connected to a cluster.

    Args:
        address: as for ``ray.init``; None: the cluster that this process is connected to, else
            Ray's own default: RAY_ADDRESS, the cluster that runs here, or a new one.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("a Ray cluster needs Ray: pip install 'gfn-gym[ray]'") from error
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    return ray


def losses(ray: Any) -> tuple[type[Exception], ...]:
    """Errors of Ray that say that a process or a node is lost, and no task is to blame."""
    errors = ray.exceptions
    return (
        errors.RayActorError,
        errors.WorkerCrashedError,
        errors.LocalRayletDiedError,
        errors.NodeDiedError,
        errors.ObjectLostError,
        errors.OutOfMemoryError,
    )


def check_reserved(num_cpus: Any, num_gpus: Any, resources: Any) -> None:
    """Raise an error that names what Ray would not reserve for a worker or a task."""
    number("num_cpus", num_cpus, least=0)
    if number("num_gpus", num_gpus, least=0) > 1 and num_gpus != int(num_gpus):
        raise ValueError(f"num_gpus={num_gpus!r} must be a whole number where it is above 1")
    for name, amount in mapping("resources", resources).items():
        number(f"resources[{name!r}]", amount, least=0)
        if name in ("CPU", "GPU"):
            raise ValueError(f"resources={resources!r}: give num_{name.lower()}s= instead")


def check_address(address: Any) -> None:
    """Raise an error for what is neither None nor a string."""
    if address is not None and not isinstance(address, str):
        raise ArgumentTypeError(f"address={address!r} must be a string, as for ray.init, or None")


def arrived(ray: Any, references: list[Any], timeout: float | None) -> list[Any]:
    """Wait for the first of some results, None: as long as it takes; return all that are there."""
    first, _ = ray.wait(references, num_returns=1, timeout=timeout)
    if not first:
        return []
    ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
    return list(ready)


class Patience:
    """Waits for results, and says in the log what the cluster lacks when none comes for long.

    Else a cluster that has no room, and never will have, would look like one at work.

    Args:
        what: is missing, for the message.
        options: what Ray reserves for each, as of ``RayWorkers.options``.
    """

    seconds: ClassVar[float] = 30.0  # until it is said; then twice as long, and so on

    def __init__(self, what: str, options: Mapping[str, Any]):
        self._what, self._options = what, options
        self.begin_anew()

    def begin_anew(self) -> None:
        """Something has come, or nothing is waited for."""
        self._since: float | None = None
        self._enough = self.seconds

    def arrived(self, ray: Any, references: list[Any], timeout: float | None) -> list[Any]:
        """As :func:`arrived`; None: until there is something to be said, at the longest."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left = max(0.0, self._since + self._enough - now)
        timeout = left if timeout is None else min(timeout, left)
        there = arrived(ray, references, timeout)
        if there:
            self.begin_anew()
        elif timeout >= left:  # not by the clock again: Ray may return a moment early
            logger.warning("%s for %.0f s: %s", self._what, self._enough, self._room(ray))
            self._enough *= 2
        return there

    def _room(self, ray: Any) -> str:
        asked = {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]}
        asked |= self._options["resources"]
        total, free = ray.cluster_resources(), ray.available_resources()
        each = ", ".join(
            f"{amount:g} {name} (of {total.get(name, 0):g} in the cluster {free.get(name, 0):g} "
            "are free)"
            for name, amount in asked.items()
            if amount
        )
        return f"each needs {each or 'nothing'}; workers of a reward keep what they have"


@contextmanager
def nodes_of_this_machine(*nodes: dict[str, Any]) -> Iterator[Any]:
    """A cluster of several nodes that are processes of this machine, to test and to try with.

    They listen at 127.0.0.1 only. The driver's own node has no CPUs; inside, this process is
    connected to it. Nothing else of this process may have imported ray before.

    Args:
        nodes: what ``ray.cluster_utils.Cluster.add_node`` takes, for each other node, such as
            {"num_cpus": 4, "resources": {"gpu_like": 1}}.

    Yields:
        The Cluster: ``add_node`` and ``remove_node`` are what faults are made of.
    """
    # Ray's switch for systems whose firewalls ask about any other address; read at its import.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine takes long
    os.environ.setdefault("RAY_worker_niceness", "0")  # where others are busy, 15 is starved
    import ray
    from ray.cluster_utils import Cluster

    common = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    health = {f"health_check_{name}": value for name, value in HEALTH.items()}  # a few seconds
    head = {**common, "num_cpus": 0, "_system_config": health}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        for node in nodes:
            cluster.add_node(**{**common, **node})
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def processes_of(node: Any, name: str) -> list[int]:
    """The processes of such a node whose names begin so, such as ``ray::_do``; on Linux.

    Ray names a process by what it does.
    """
    (raylet,) = node.all_processes["raylet"]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                called = (entry / "cmdline").read_text()
            except OSError:  # it has ended meanwhile
                continue
            if int(parent) == raylet.process.pid and called.startswith(name):
                found.append(int(entry.name))
    return found
