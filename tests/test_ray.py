"""Past one machine: rewards and collectors on a Ray cluster, and what they survive.

The nodes are processes of this machine. The long version of the faults is
benchmarks/ray_faults.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfn_gym.ray_cluster import nodes_of_this_machine
from gfn_gym.rewards import RayWorkers, RewardError, StringReward
from slow_rewards import WritesDown, failing, reward_of

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find slow_rewards
        with nodes_of_this_machine({"num_cpus": 4}, {"num_cpus": 4}) as nodes:
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
    node = cluster.add_node(
        num_cpus=4, object_store_memory=100_000_000, resources={"doomed": 4}, wait=True
    )
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
                    os.kill(int((tmp_path / "latest").read_text()), signal.SIGKILL)
                else:
                    cluster.remove_node(node, allow_graceful=False)
        assert reward(strings).tolist() == [reward_of(s) for s in strings]
        begun, ended = WritesDown.read(tmp_path)
        assert all(len(ended[s]) == 1 for s in strings)
        assert sum(map(len, begun.values())) == len(strings) + reward.repeated
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": 1, "num_cpus": -1}, "num_cpus=-1"),
        ({"n": 1, "retries": -1}, "retries=-1"),
        ({"n": 1, "resources": {"gpu": -1}}, r"resources\['gpu'\]=-1"),
    ],
)
def test_bad_arguments_of_workers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayWorkers(**arguments)
