"""Training on a Ray cluster while processes and nodes are killed: what is lost, repeated, learnt.

    OMP_NUM_THREADS=1 python benchmarks/ray_faults.py [none collector worker node …]

Three nodes are processes of this machine; words of five letters have a reward that takes a while,
computed on the cluster, as the trajectories are. In each part, for three seeds, one kind of fault
happens at ten random moments: ``kill -9`` of a collector, of a reward's worker, of a whole node
(which comes back), of the learner (which resumes from its checkpoint); or the object stores are
full, or a node is slow. Written to benchmarks/results/ray_faults.json: trajectories (the count must
be exact), exact total variation, calls of the reward (each begun and ended call is on record),
repeated ones, and words whose reward was computed twice. tests/test_ray.py has the short version.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym import GFNEnv
from gfn_gym.agents import RayCollectors, TrainingCheckpoint, TrajectoryBalance, exact_metrics
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.ray_cluster import connected, nodes_of_this_machine, processes_of
from gfn_gym.rewards import RayWorkers, StringReward

RESULTS = Path(__file__).parent / "results" / "ray_faults.json"
NODE = {"num_cpus": 3}
PROCESSES = {"collector": "ray::_do", "worker": "ray::_Caller.call"}  # Ray names them so, at work
FAULTS = 10
SECONDS = 0.2  # of a call of the reward


class Words(Sequence):
    """Words of four letters whose trajectories take a while, as by a large policy."""

    def step(self, states: Any, actions: Any) -> Any:
        time.sleep(0.02)
        return super().step(states, actions)


class Slow:
    """log R, half the number of A's, after a while; calls are written down."""

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = str(folder), seconds

    def __call__(self, words: list[str]) -> list[float]:
        for word in words:
            self.note("begun", word)
            time.sleep(self.seconds)
            self.note("ended", word)
        return [0.5 * word.count("A") for word in words]

    def note(self, what: str, word: str) -> None:
        with open(f"{self.folder}/{what}", "a") as file:  # atomic: one short line
            file.write(f"{word}\n")


def train(
    folder: Path,
    seed: int,
    trajectories: int,
    address: str,
    faults: BaseCallback | None = None,
) -> None:
    """Train, or go on from the checkpoint in the folder; write the outcome there."""
    connected(address)
    path = folder / "checkpoint.zip"
    if path.exists():
        model, totals = TrajectoryBalance.resume(path, trusted=True), {}
    else:
        reward = StringReward(
            Slow(folder, SECONDS),
            workers=RayWorkers(4, num_cpus=0.5, retries=20),
            journal=folder / "rewards.jsonl",
        )
        dag = Words("ABCD", 5, reward=reward)
        model = TrajectoryBalance(
            "MlpPolicy", GFNEnv(dag), n_envs=16, learning_rate=3e-3, seed=seed,
            policy_kwargs={"net_arch": [64, 64]},
        )  # fmt: skip
        totals = {"total_trajectories": trajectories}
    collectors = RayCollectors(3, 32, max_lag=50, asynchronous_rewards=True)
    checkpoint = TrainingCheckpoint(path, (trajectories // 20, "episode"))
    model.learn(
        **totals, collectors=collectors, callback=[checkpoint, *([faults] if faults else [])]
    )
    reward = model.dag.reward.function
    exact = exact_metrics(model)(model.policy.log_probs)
    outcome = {
        "trajectories": model._episode_num,
        "total_variation": round(exact["total_variation"], 4),
        "updates": model._n_updates,
        "repeated": reward.repeated,
        "tasks": model._collected["tasks"],
        "tasks_repeated": model._collected["repeated"],
        "failures": dict(reward.failures),
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))
    reward.close()


def calls_of(folder: Path) -> dict[str, int]:
    """What the record of calls says."""
    begun, ended = (Counter((folder / what).read_text().split()) for what in ("begun", "ended"))
    return {
        "words": len(begun),
        "begun": sum(begun.values()),
        "ended": sum(ended.values()),
        "words_computed_twice": sum(count > 1 for count in ended.values()),
    }


# ---- faults -------------------------------------------------------------------------------------


def kill_one(cluster: Any, name: str) -> bool:
    """kill −9 of a process that is at such a task."""
    pids = [pid for node in cluster.worker_nodes for pid in processes_of(node, name)]
    if pids:
        os.kill(pids[np.random.default_rng().integers(len(pids))], signal.SIGKILL)
    return bool(pids)


def lose_node(cluster: Any) -> bool:
    """kill −9 of a whole node; another takes its place."""
    nodes = sorted(cluster.worker_nodes, key=id)
    if len(nodes) < 2:
        cluster.add_node(object_store_memory=100_000_000, include_dashboard=False, **NODE)
        return False
    node = nodes[np.random.default_rng().integers(len(nodes))]
    for pid in processes_of(node, "ray::"):  # at once, as when the power fails
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    with contextlib.suppress(Exception):  # on a busy machine it may not start in time
        cluster.add_node(object_store_memory=100_000_000, include_dashboard=False, **NODE)
    return True


@contextlib.contextmanager
def in_a_thread(run: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function beside, until what is here is over, which the event tells it."""
    over = threading.Event()
    thread = threading.Thread(target=run, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Faults:
    """Has a fault happen ten times, at random moments some seconds apart.

    Args:
        fault: tries, and tells whether it has happened.
        seconds: between two, on average.

    Attributes:
        moments: when, in seconds from the beginning.
    """

    def __init__(self, fault: Callable[[], bool], seconds: float):
        self.fault, self.seconds = fault, seconds
        self.moments: list[float] = []
        self.generator = np.random.default_rng()
        self.start = time.monotonic()
        self.due = self.start + self.generator.uniform(0, 2 * seconds)

    def happen(self) -> None:
        """If it is time, try."""
        if time.monotonic() >= self.due and len(self.moments) < FAULTS and self.fault():
            self.moments.append(round(time.monotonic() - self.start, 1))
            self.due = time.monotonic() + self.generator.uniform(0, 2 * self.seconds)

    @contextlib.contextmanager
    def meanwhile(self) -> Iterator[None]:
        """In a thread of their own, whatever the learner is at."""

        def run(over: threading.Event) -> None:
            while not over.wait(0.01):
                self.happen()

        with in_a_thread(run):
            yield


class OnSteps(BaseCallback):
    """Faults in the main thread, where alone a node can be started."""

    def __init__(self, faults: Faults):
        super().__init__()
        self.faults = faults

    def _on_step(self) -> bool:
        self.faults.happen()
        return True


def learner_killed(folder: Path, seed: int, trajectories: int, address: str) -> list[float]:
    """Train in another process, which is killed again and again, some time after a checkpoint.

    Returns the seconds that each lived.
    """
    command = [sys.executable, __file__, "--train", str(folder), str(seed), str(trajectories)]
    path, seen = folder / "checkpoint.zip", 0.0
    moments: list[float] = []
    generator = np.random.default_rng()
    while True:
        learner, start = subprocess.Popen([*command, address], env=os.environ), time.monotonic()
        while learner.poll() is None:
            written = path.stat().st_mtime if path.exists() else 0.0
            if written > seen and len(moments) < FAULTS:
                time.sleep(generator.uniform(0, 2))
                learner.kill()
                moments.append(round(time.monotonic() - start, 1))
                seen = path.stat().st_mtime
            time.sleep(0.05)
        if learner.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the learner ended with exit code {learner.returncode}")
        if (folder / "outcome.json").exists():
            return moments


def fill_stores(ray: Any) -> list[Any]:
    """Objects that nearly fill the driver's object store, so that others are spilled to disk."""
    return [ray.put(np.zeros(10_000_000, dtype=np.uint8)) for _ in range(12)]


@contextlib.contextmanager
def slow_node(cluster: Any) -> Iterator[None]:
    """Stop and continue all tasks of a node, so that they run a fifth of the time."""
    node = min(cluster.worker_nodes, key=id)

    def run(over: threading.Event) -> None:
        while not over.is_set():
            pids = [p for name in ("ray::_do", "ray::_Caller") for p in processes_of(node, name)]
            for signum, seconds in ((signal.SIGSTOP, 0.8), (signal.SIGCONT, 0.2)):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signum)
                time.sleep(seconds)

    with in_a_thread(run):
        yield


# ---- one part -----------------------------------------------------------------------------------


def part(name: str, seed: int, trajectories: int, seconds: float) -> dict[str, Any]:
    """One training under one kind of fault."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as path, nodes_of_this_machine(NODE, NODE) as cluster:
        folder = Path(path)
        arguments = folder, seed, trajectories, cluster.address
        moments: list[float] = []
        if name in PROCESSES:
            kills = Faults(lambda: kill_one(cluster, PROCESSES[name]), seconds)
            with kills.meanwhile():
                train(*arguments)
            moments = kills.moments
        elif name == "node":
            losses = Faults(lambda: lose_node(cluster), seconds)
            train(*arguments, OnSteps(losses))
            moments = losses.moments
        elif name == "learner":
            moments = learner_killed(*arguments)
        elif name == "slow":
            with slow_node(cluster):
                train(*arguments)
        else:
            held = fill_stores(connected()) if name == "store" else []
            train(*arguments)
            del held
        outcome = json.loads((folder / "outcome.json").read_text())
        outcome |= calls_of(folder) | {"faults": len(moments), "after_seconds": moments}
    outcome["seconds"] = round(time.perf_counter() - start, 1)
    outcome["load"] = round(os.getloadavg()[0], 1)
    assert outcome["trajectories"] == trajectories, outcome
    assert not outcome["failures"], outcome
    return outcome


PARTS = ("none", "collector", "worker", "node", "learner", "store", "slow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trajectories", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=2.5, help="between faults, on average")
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        folder, seed, trajectories, address = args.train
        train(Path(folder), int(seed), int(trajectories), address)
        return
    for seed in range(args.seeds):
        for name in args.parts or PARTS:
            outcome = part(name, seed, args.trajectories, args.seconds)
            print(name, seed, json.dumps(outcome), flush=True)
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results.setdefault(name, {})[str(seed)] = outcome
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
