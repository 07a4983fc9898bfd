"""Past one machine: rewards and collectors on a Ray cluster, and what they survive.

The nodes are processes of this machine. The long version of the faults is
benchmarks/ray_faults.py.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lags import Lags
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym import GFNEnv
from gfn_gym.agents import EntropicPPO, RayCollectors, SoftDQN, TrajectoryBalance, exact_metrics
from gfn_gym.agents.collectors.policy_copy import Task
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.ray_cluster import Patience, nodes_of_this_machine, processes_of
from gfn_gym.rewards import RayWorkers, RewardError, StringReward
from slow_grid import SlowGrid
from slow_rewards import WritesDown, failing, reward_of

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    here, examples = Path(__file__).parent, Path(__file__).parent.parent / "examples"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{here}{os.pathsep}{examples}")  # for the workers
        patch.syspath_prepend(examples)
        with nodes_of_this_machine({"num_cpus": 2}, {"num_cpus": 2}) as nodes:
            yield nodes


# ---- rewards ------------------------------------------------------------------------------------


def test_rewards_come_in_order_and_failures_are_told(cluster: Any) -> None:
    reward = StringReward(
        failing, on_failure="floor", floor=-20.0, timeout=1.0, workers=RayWorkers(2, retries=1)
    )
    smiles = ["CC", "CS", "CN", "CP", "CI", "CCC"]
    try:
        expected = [reward_of("CC"), -20.0, -20.0, -20.0, -20.0, reward_of("CCC")]
        assert reward(smiles).tolist() == expected
        assert reward.failures == {"timeout": 1, "error": 1, "died": 1, "not finite": 1}
        assert reward.failed["CP"].reason == "its process died with exit code 3"
        assert (reward.calls, reward.repeated) == (6, 2)  # what hung and what died
        assert reward.progress()["failures"] == 4
    finally:
        reward.close()


def test_without_a_time_limit_the_worker_itself_dies(cluster: Any) -> None:
    reward = StringReward(failing, workers=RayWorkers(1, retries=1))
    try:
        with pytest.raises(RewardError, match="no reward for CP: died, its worker died"):
            reward(["CC", "CP", "CO"])
        assert reward(["CC", "CO"]).tolist() == [reward_of("CC"), reward_of("CO")]
        assert (reward.calls, reward.repeated) == (3, 1)
        assert pickle.loads(pickle.dumps(reward)).repeated == 1  # a resumed training counts on
    finally:
        reward.close()


def test_a_function_that_cannot_be_loaded(cluster: Any) -> None:
    class Unloadable:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

        def __call__(self, smiles: list[str]) -> list[float]:
            return [0.0]

    reward = StringReward(Unloadable(), on_failure="floor", floor=-20.0, workers=RayWorkers(1))
    with pytest.raises(RuntimeError, match="could not start"):
        reward(["CC"])


def test_rewards_survive_kills_and_a_lost_node(cluster: Any, tmp_path: Path) -> None:
    """Each string is finished once; only what was cut off is repeated."""
    node = cluster.add_node(num_cpus=2, object_store_memory=100_000_000)
    reward = StringReward(WritesDown(tmp_path, seconds=0.3), workers=RayWorkers(4, retries=5))
    strings = ["C" * n for n in range(1, 25)]
    try:
        with reward.deferring():
            assert np.isnan(reward(strings)).all()
        faults, done = ["worker", "node"], 0
        while done < len(strings):
            done += reward.receive(wait=5.0)
            if faults and done >= (4 if len(faults) == 2 else 10):
                if faults.pop(0) == "worker":
                    over = {line.split()[0] for line in (tmp_path / "ended").open()}
                    *_, pid = (
                        line.split()[2]
                        for line in (tmp_path / "begun").open()
                        if line.split()[0] not in over
                    )
                    os.kill(int(pid), signal.SIGKILL)
                else:
                    cluster.remove_node(node, allow_graceful=False)
        assert reward(strings).tolist() == [reward_of(s) for s in strings]
        begun, ended = WritesDown.read(tmp_path)
        assert all(len(ended[s]) == 1 for s in strings)
        # One that was sent to a worker which had just died is repeated, but begun once.
        assert 0 <= sum(map(len, begun.values())) - len(strings) <= reward.repeated
        assert 1 <= reward.repeated <= 5 and reward.calls == len(strings)
        assert not reward.failures
    finally:
        reward.close()


@pytest.mark.parametrize("workers", [2, RayWorkers(2)])
def test_unknown_rewards_are_nan_until_they_arrive(cluster: Any, workers: Any) -> None:
    reward = StringReward(failing, workers=workers)
    try:
        with reward.deferring():
            first = reward(["CC", "CO", "CC"])
        assert np.isnan(first).all() and reward.calls == reward.in_flight == 2
        until = time.monotonic() + 60
        while reward.in_flight and time.monotonic() < until:
            reward.receive(wait=1.0)
        with reward.deferring():
            again = reward(["CC", "CO", "CC", "CCC"])
        assert again[:3].tolist() == [reward_of("CC"), reward_of("CO"), reward_of("CC")]
        assert np.isnan(again[3]) and reward.calls == 3
        assert reward(["CCC"]) == reward_of("CCC") and reward.calls == 3  # already asked for
    finally:
        reward.close()


def test_a_cluster_without_room_is_told(
    cluster: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "seconds", 0.2)
    reward = StringReward(failing, workers=RayWorkers(1, num_gpus=1))
    model = make()
    source = RayCollectors(1, 4, resources={"nowhere": 2}).source(model)
    try:
        with caplog.at_level(logging.WARNING):
            with reward.deferring():
                reward(["CC"])
            reward.receive(wait=1.0)
            source.publish(0)
            source.start(Task(0, 0, 0, np.zeros(4)))
            assert source.done(None) == []  # what there is to be said has been said
        assert "no worker of the reward has started for 0 s: each needs 1 CPU" in caplog.text
        assert "1 GPU (of 0 in the cluster 0 are free)" in caplog.text
        assert "no collector has sent anything" in caplog.text and "2 nowhere" in caplog.text
    finally:
        reward.close()
        source.close()


# ---- collectors ---------------------------------------------------------------------------------

GRID = Hypergrid(2, 6)


def make(algorithm: Any = SoftDQN, dag: Any = GRID, **arguments: Any) -> Any:
    settings = {"n_envs": 4, "seed": 5, "policy_kwargs": {"net_arch": [16]}, **arguments}
    return algorithm("MlpPolicy", GFNEnv(dag), **settings)


class Disturb(BaseCallback):
    """Does something bad once after some trajectories, as soon as it succeeds."""

    def __init__(self, at: int, what: Any):
        super().__init__()
        self.at, self.what, self.happened = at, what, False

    def _on_step(self) -> bool:
        if not self.happened and self.model._episode_num >= self.at:
            self.happened = self.what()
        return True


class KillOne(Disturb):
    """Kills one process that is at a task, some time after that many trajectories."""

    def __init__(self, at: int, cluster: Any):
        super().__init__(at, self._begin)
        self.cluster, self.killed = cluster, threading.Event()

    def _begin(self) -> bool:
        threading.Thread(target=self._wait_and_kill, daemon=True).start()
        return True

    def _wait_and_kill(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for node in self.cluster.worker_nodes:
                for pid in processes_of(node, "ray::_do"):
                    os.kill(pid, signal.SIGKILL)
                    self.killed.set()
                    return
            time.sleep(0.02)


def parameters(model: Any) -> list[Any]:
    return [value.numpy() for value in model.policy.state_dict().values()]


def test_synchronous_numbers_are_the_same_whatever_dies(cluster: Any) -> None:
    collectors = RayCollectors(2, 8, synchronous=True)
    kill = KillOne(32, cluster)
    runs = []
    for callback in (None, kill):
        model = make(dag=SlowGrid(2, 6), learning_starts=32)
        model.learn(total_trajectories=320, collectors=collectors, callback=callback)
        runs.append(model)
    assert model._episode_num == 320 and model._n_updates == 20 and kill.killed.is_set()
    first, second = map(parameters, runs)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    undisturbed, disturbed = (model._collected["repeated"] for model in runs)
    assert undisturbed == 0 and 1 <= disturbed <= 2  # the next may be sent before it is known


def test_entropic_ppo_collects_in_rounds(cluster: Any) -> None:
    model, lags = make(EntropicPPO, train_freq=(16, "episode")), Lags()
    collectors = RayCollectors(2, 8, synchronous=True)
    model.learn(total_trajectories=96, collectors=collectors, callback=lags)
    assert model._episode_num == 96 and lags.largest == 0


def test_resumed_with_other_collectors(cluster: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.zip"
    model = make()
    save = Disturb(160, lambda: model.save_checkpoint(path) or True)
    model.learn(total_trajectories=320, collectors=RayCollectors(2, 16), callback=save)
    again = SoftDQN.resume(path)
    assert 160 <= again._episode_num < 320
    again.learn(collectors=RayCollectors(3, 8))
    assert again._episode_num == 320


def test_synchronous_collecting_resumes_as_if_nothing_had_happened(
    cluster: Any, tmp_path: Path
) -> None:
    path, collectors = tmp_path / "checkpoint.zip", RayCollectors(2, 12, synchronous=True)

    class Save(BaseCallback):
        def _on_rollout_start(self) -> None:
            if model._episode_num == 160:
                model.save_checkpoint(path)

        def _on_step(self) -> bool:
            return True

    model = make(learning_starts=32)
    model.learn(total_trajectories=320, collectors=collectors, callback=Save())
    again = SoftDQN.resume(path).learn(collectors=collectors)
    pairs = zip(parameters(model), parameters(again), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_no_word_is_evaluated_twice_in_the_whole_cluster(cluster: Any, tmp_path: Path) -> None:
    function = WritesDown(tmp_path, seconds=0.05)
    reward = StringReward(function, workers=RayWorkers(2, num_cpus=0.5))
    dag = Sequence("AB", 4, reward=reward)
    model = make(dag=dag)
    collectors = RayCollectors(2, 16, asynchronous_rewards=True)
    try:
        model.learn(total_trajectories=320, collectors=collectors)
        begun, ended = WritesDown.read(tmp_path)
        assert model._episode_num == 320 and len(ended) > 4
        assert all(len(times) == 1 for times in (*begun.values(), *ended.values()))
    finally:
        reward.close()


def test_a_search_goes_on_from_our_checkpoints(cluster: Any, tmp_path: Path) -> None:
    """Ray Tune's trial is killed; a second search with the same folder has nothing left to do."""
    import tune

    options = tune.Options(
        env_kwargs='{"ndim": 2, "height": 4}', presets=("fast",), samples=1, trajectories=1000,
        evaluations=5, out=tmp_path / "search",
    )  # fmt: skip

    def told() -> list[dict[str, Any]]:
        results = (tmp_path / "search").glob("*/result.json")
        return [json.loads(line) for path in results for line in path.open() if line[-1] == "\n"]

    def kill() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and len(told()) < 2:
            time.sleep(0.02)
        for node in cluster.worker_nodes:
            for pid in processes_of(node, "ray::ImplicitFunc"):
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    first = tune.main(options)[0]
    thread.join()
    rows = told()
    counts = [row["trajectories"] for row in rows]
    assert counts[-1] >= 1000 and counts == sorted(set(counts))  # not begun anew
    assert len({row["pid"] for row in rows}) == 2  # killed once
    again = tune.main(options)[0]
    assert first.metrics is not None and again.metrics is not None
    assert again.metrics["total_variation"] == first.metrics["total_variation"]
    assert told() == rows


def test_collecting_goes_on_when_a_node_is_lost(cluster: Any) -> None:
    """The count is exact, the lag bounded, and what is learnt the target."""
    node = min(cluster.worker_nodes, key=id)  # the other one is left
    lose = Disturb(500, lambda: cluster.remove_node(node, allow_graceful=False) or True)
    kill, lags = KillOne(1500, cluster), Lags()
    model = make(TrajectoryBalance, learning_rate=1e-2, policy_kwargs={"net_arch": [64, 64]})
    collectors = RayCollectors(2, 64, max_lag=20)  # two tasks are 8 updates
    model.learn(total_trajectories=5008, collectors=collectors, callback=[lose, kill, lags])
    assert model._episode_num == 5008 and model._n_updates == 313
    assert lose.happened and kill.killed.is_set() and 0 < lags.largest <= 20
    assert exact_metrics(model)(model.policy.log_probs)["total_variation"] < 0.1


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": 1, "num_cpus": -1}, "num_cpus=-1"),
        ({"n": 1, "retries": -1}, "retries=-1"),
        ({"n": 1, "resources": {"gpu": -1}}, r"resources\['gpu'\]=-1"),
        ({"n": 1, "resources": {"GPU": 1}}, "give num_gpus= instead"),
        ({"n": 1, "num_gpus": 1.5}, "num_gpus=1.5 must be a whole number"),
        ({"n": 1, "address": 3}, "address=3 must be a string"),
    ],
)
def test_bad_arguments_of_workers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayWorkers(**arguments)
