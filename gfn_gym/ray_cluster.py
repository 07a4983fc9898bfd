"""The connection to a Ray cluster, for whatever can run on one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
