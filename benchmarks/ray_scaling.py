"""How far a Ray cluster carries: what calls, trajectories, weights and old policies cost.

    OMP_NUM_THREADS=1 python benchmarks/ray_scaling.py [PART …]

Each part adds what it measured to benchmarks/results/ray_scaling.json, with the machine's load, for
wall time on a busy machine says little. The cluster's nodes are processes of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

import gfn_gym
from gfn_gym.agents import LocalCollector, RayCollectors, SoftDQN, exact_metrics
from gfn_gym.agents.collectors.built import Built, build, with_rewards
from gfn_gym.agents.collectors.policy_copy import Task, weights_of
from gfn_gym.agents.collectors.sources import Source, ThisProcess
from gfn_gym.ray_cluster import nodes_of_this_machine
from gfn_gym.rewards import RayWorkers, StringReward
from gfn_gym.rewards.ray_workers import RayPool, _Actor, _Caller

RESULTS = Path(__file__).parent / "results" / "ray_scaling.json"
DOMAINS = {
    "hypergrid 20^4": "gfn_gym:HypergridGFN-v0",
    "bit sequences": "gfn_gym:BitSequenceGFN-v0",
    "molecules": "gfn_gym:MoleculeGFN-v0",
}


def sleeps(strings: list[str]) -> list[float]:
    """A reward of 50 ms that needs no processor."""
    time.sleep(0.05 * len(strings))
    return [0.0] * len(strings)


# ---- a reward that sleeps -----------------------------------------------------------------------


def rewards(sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> dict[str, Any]:
    """Calls per second, and the share of n / 50 ms that this is."""
    found = {}
    with nodes_of_this_machine({"num_cpus": 1}, {"num_cpus": 1}):
        for n in sizes:
            reward = StringReward(sleeps, workers=RayWorkers(n, num_cpus=0.01))
            start_all(reward, n)
            calls = 40 * n
            start, cpu = time.perf_counter(), time.process_time()
            reward([f"call {i}" for i in range(calls)])
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            reward.close()
            found[str(n)] = {
                "calls_per_second": round(calls / seconds, 1),
                "efficiency": round(calls / seconds * 0.05 / n, 3),
                "driver_cpu_ms_per_call": round(1000 * cpu / calls, 3),
                "load": os.getloadavg()[0],
            }
            print(n, found[str(n)], flush=True)
    return found


def start_all(reward: StringReward, n: int) -> None:
    """Call until all workers have started."""
    called, pool = 0, reward._workers_pool()
    while sum(worker.ready for worker in pool._workers) < n:
        reward([f"start {called + i}" for i in range(2 * n)])
        called += 2 * n


# ---- a thousand calls at a time -----------------------------------------------------------------


def about_a_second(strings: list[str]) -> list[float]:
    time.sleep(0.5 + np.random.default_rng(abs(hash(strings[0]))).random())
    return [0.0]


class OneProcess(RayPool):
    """n workers that are threads of one process: to the driver they look like n processes."""

    _one: Any = None

    def _start(self) -> _Actor:
        if self._one is None:
            options = {"max_concurrency": self.n, "num_cpus": 0.01}
            caller = self._ray.remote(_Caller).options(**options)
            self._one = caller.remote(self._function, self._objects, None)
        return _Actor(self._ray, self._one, None)


def in_flight(sizes: tuple[int, ...] = (30, 100, 300, 1000)) -> dict[str, Any]:
    """The driver's CPU a call, with as many calls of a second at a time."""
    found = {}
    with nodes_of_this_machine({"num_cpus": 1}):
        for n in sizes:
            pool, calls = OneProcess(RayWorkers(n), about_a_second, None), max(300, 3 * n)
            answers_of(pool, [f"start {i}" for i in range(n)])
            start, cpu = time.perf_counter(), time.process_time()
            answers_of(pool, [f"call {i}" for i in range(calls)])
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            pool.close()
            found[str(n)] = {
                "calls_per_second": round(calls / seconds, 1),
                "driver_cpu_ms_per_call": round(1000 * cpu / calls, 3),
                "load": os.getloadavg()[0],
            }
            print(n, found[str(n)], flush=True)
    return found


def answers_of(pool: RayPool, strings: list[str]) -> None:
    pool.ask(strings)
    while pool.in_flight:
        pool.answers()


# ---- one collector against none -----------------------------------------------------------------


def collectors(trajectories: int = 4000) -> dict[str, Any]:
    """The same training, collected here, in whole batches, and by a collector on the cluster."""
    found = {}
    ways: dict[str, Any] = {
        "none": None,
        "local": LocalCollector(64, asynchronous_rewards=False),
        "one, synchronous": RayCollectors(1, 64, synchronous=True),
        "one": RayCollectors(1, 64),
        "two": RayCollectors(2, 64),
    }
    with nodes_of_this_machine({"num_cpus": 2}):
        for name, way in ways.items():
            model = make(8)
            model.learn(total_trajectories=512, collectors=way)  # processes start
            wall, cpu = time.perf_counter(), time.process_time()
            model.learn(total_trajectories=trajectories, collectors=way, reset_num_timesteps=False)
            seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found[name] = {
                "trajectories_per_second": round(trajectories / seconds, 1),
                "learner_cpu_ms_per_trajectory": round(1000 * cpu / trajectories, 3),
                "load": os.getloadavg()[0],
            }
            print(name, found[name], flush=True)
    return found


def make(height: int, ndim: int = 2, **arguments: Any) -> SoftDQN:
    env = gymnasium.make("gfn_gym:HypergridGFN-v0", ndim=ndim, height=height)
    settings: dict[str, Any] = {
        "preset": "fast", "train_freq": (16, "episode"), "n_envs": 16, "seed": 0,
        "policy_kwargs": {"net_arch": [64, 64]}, "buffer_size": 100_000,
    }  # fmt: skip
    return SoftDQN("MlpPolicy", env, **{**settings, **arguments})


# ---- bytes --------------------------------------------------------------------------------------


def uniform(states: Any, mask: Any) -> Any:
    return np.where(mask, 0.0, -np.inf)


def some(dag: Any, n: int = 256) -> Built:
    """Trajectories of the uniform policy."""
    return with_rewards(dag, build(dag, uniform, np.zeros(n), np.random.default_rng(0)))


def messages() -> dict[str, Any]:
    """Bytes of a trajectory, and of the weights, as they travel."""
    found = {}
    for name, id in DOMAINS.items():
        env = gymnasium.make(id)
        dag = env.get_wrapper_attr("dag")
        built = some(dag)
        arrays = built.state_dict().values()
        model = SoftDQN("auto", env, n_envs=4)
        found[name] = {
            "steps_per_trajectory": round(float(built.lengths.mean()), 1),
            "bytes_per_trajectory": round(sum(a.nbytes for a in arrays) / len(built)),
            "pickled": round(len(pickle.dumps(tuple(arrays), protocol=5)) / len(built)),
            "broadcast_bytes": sum(w.nbytes for w in weights_of(model).values()),
        }
        print(name, found[name], flush=True)
    return found


# ---- what the learner takes in ------------------------------------------------------------------


def intake() -> dict[str, Any]:
    """CPU milliseconds of the learner a trajectory: to derive and store, and with its update."""
    found = {}
    for name, id in DOMAINS.items():
        env = gymnasium.make(id)
        dag = env.get_wrapper_attr("dag")
        built = some(dag)
        for preset in ("paper", "fast"):
            try:
                model = SoftDQN("auto", env, preset=preset, seed=0)
            except ValueError:  # this domain has no such preset
                continue
            model.learn(total_trajectories=model.n_envs)
            found[f"{name}, {preset}"] = measured_intake(model, built)
            print(name, preset, found[f"{name}, {preset}"], flush=True)
    return found


def measured_intake(model: SoftDQN, built: Built) -> dict[str, float]:
    parts = [built.at(np.arange(i, i + 16)) for i in range(0, len(built), 16)]

    def store() -> None:
        for part in parts:
            model.replay_buffer.add_trajectories(part.trajectories(model.mdp))

    def update() -> None:
        model.train(1, model.batch_size)

    per_trajectory = 1000 * cpu_seconds(store) / len(built)
    per_update = 1000 * min(cpu_seconds(update) for _ in range(10))
    train_freq: Any = model.train_freq
    frequency, unit = train_freq.frequency, train_freq.unit.value
    if unit == "step":  # of all environments
        frequency *= model.n_envs / float(built.lengths.mean())
    return {
        "store_ms": round(per_trajectory, 3),
        "update_ms": round(per_update, 2),
        "trajectories_per_update": round(frequency, 1),
        "trajectories_per_second": round(1000 / (per_trajectory + per_update / frequency)),
        "broadcast_bytes": sum(w.nbytes for w in weights_of(model).values()),
    }


def cpu_seconds(function: Callable[[], None]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


# ---- old policies -------------------------------------------------------------------------------


class Old(ThisProcess):
    """Acts by the weights of ``lag`` updates ago."""

    def __init__(self, model: Any, lag: int):
        super().__init__(model)
        self.lag = lag
        self.versions: dict[int, Any] = {}

    def publish(self, version: int) -> None:
        self.versions[version] = weights_of(self._model)
        old = max(v for v in self.versions if v <= max(0, version - self.lag))
        self._copy.load(old, self.versions[old])
        self.versions = {v: w for v, w in self.versions.items() if v >= old}

    def start(self, task: Task) -> None:
        built = self._copy.do(task)
        built.versions[:] = self._copy.version or 0
        self._done.append((task, built))


class OldCollector(LocalCollector):
    """A LocalCollector whose policy is ``lag`` updates old."""

    lag = 0

    def source(self, model: Any) -> Source:
        return Old(model, self.lag)


def lag(
    trajectories: int = 32_000, seeds: int = 3, lags: Iterable[int] = (0, 10, 100, 1000)
) -> dict[str, Any]:
    """Exact total variation of the 16×16 grid on the way, by the lag of the policy that acts."""
    found: dict[str, Any] = {}
    for updates in lags:
        curves = []
        for seed in range(seeds):
            collector = OldCollector(16, asynchronous_rewards=False, max_lag=10_000)
            object.__setattr__(collector, "lag", updates)
            model = make(16, seed=seed)
            curve = Curve(exact_metrics(model), every=trajectories // 8)
            model.learn(total_trajectories=trajectories, collectors=collector, callback=curve)
            curves.append(curve.values)
            print(updates, seed, curve.values, flush=True)
        found[str(updates)] = {"total_variation": curves, "every": trajectories // 8}
    return found


class Curve(BaseCallback):
    """Exact total variation at regular numbers of trajectories."""

    def __init__(self, metrics: Any, every: int):
        super().__init__()
        self.metrics, self.every = metrics, every
        self.values: list[float] = []

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        if model._episode_num and model._episode_num % self.every == 0:
            values = self.metrics(model.policy.log_probs)
            self.values.append(round(values["total_variation"], 4))

    def _on_step(self) -> bool:
        return True

    _on_training_end = _on_rollout_start


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "rewards": rewards,
    "in_flight": in_flight,
    "collectors": collectors,
    "messages": messages,
    "intake": intake,
    "lag": lag,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all by default")
    for part in parser.parse_args().parts or PARTS:
        measured = PARTS[part]()
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[part] = measured
        results["machine"] = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "gfn_gym": gfn_gym.__version__,
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
