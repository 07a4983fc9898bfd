"""Trajectories that others collect: how they are built, laid out, counted and learnt from."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from lags import Lags
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from gfn_gym import MDP, GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    FlowMatching,
    LocalCollector,
    MunchausenDQN,
    RayCollectors,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrainingCheckpoint,
    TrajectoryBalance,
    exact_metrics,
)
from gfn_gym.agents.collectors.built import Built, build, with_rewards
from gfn_gym.agents.replay.lanes import Lanes
from gfn_gym.dag import DAG
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.rewards import RewardError, StringReward
from slow_rewards import DownAfter, sleepy

GRID = Hypergrid(2, 6)
NETWORK: dict[str, Any] = {"policy_kwargs": {"net_arch": [16]}, "seed": 3}
HERE = LocalCollector(n_envs=8, asynchronous_rewards=False)
ALGORITHMS = [
    SoftDQN,
    MunchausenDQN,
    SoftActorCritic,
    FlowMatching,
    TrajectoryBalance,
    DetailedBalance,
    SubTrajectoryBalance,
]


def uniform(states: Any, mask: Any) -> Any:
    return np.where(mask, 0.0, -np.inf)


def built(m: int = 20, seed: int = 0, dag: DAG = GRID) -> Built:
    return with_rewards(dag, build(dag, uniform, np.zeros(m), np.random.default_rng(seed)))


def steps_of(trajectories: list[Any]) -> list[tuple[Any, ...]]:
    return [(t.states.tolist(), t.actions.tolist(), t.final.tolist()) for t in trajectories]


# ---- building, and laying out -------------------------------------------------------------------


def test_whole_trajectories_that_the_decision_process_confirms() -> None:
    mdp, some = MDP(GRID, potential=lambda s: s.sum(axis=1) * 0.5), built()
    assert some.lengths.sum() == len(some.states) == len(some.actions)
    for t, log_reward in zip(some.trajectories(mdp), some.log_reward, strict=True):
        state = GRID.initial_states(1)
        for i, action in enumerate(t.actions):
            assert (t.states[i] == state[0]).all()
            step = mdp.step(state, np.array([action]))
            assert t.log_backward[i] == pytest.approx(step.log_backward[0], abs=1e-6)
            assert t.shaping[i] == pytest.approx(step.shaping[0], abs=1e-6)
            state = step.next_states
        assert step.done[0] and step.log_reward[0] == log_reward == t.log_reward
        assert (t.final == state[0]).all()


def test_every_trajectory_that_is_begun_is_finished() -> None:
    """So that short ones are not preferred: the lengths are those of the policy."""
    lengths = built(4000).lengths
    stops_at_once = (lengths == 1).mean()
    assert stops_at_once == pytest.approx(1 / 3, abs=0.03)  # stop, and two directions


def test_trajectories_can_be_chosen_and_joined() -> None:
    some = built(9)
    alone = [some.at(np.array([i])) for i in range(9)]
    again = Built.joined([some.at(np.arange(9) % 2 == 0), some.at(np.arange(9) % 2 == 1)])
    whole = steps_of(some.trajectories(MDP(GRID)))
    assert [steps_of(one.trajectories(MDP(GRID)))[0] for one in alone] == whole
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7]
    assert steps_of(again.trajectories(MDP(GRID))) == [whole[i] for i in order]
    assert again.log_reward.tolist() == some.log_reward[order].tolist()


def test_exploration_of_one_is_uniform() -> None:
    def never_stops(states: Any, mask: Any) -> Any:
        return np.where(mask, np.where(np.arange(3) == 2, -50.0, 0.0), -np.inf)

    arguments = GRID, never_stops
    follows = build(*arguments, np.zeros(300), np.random.default_rng(0)).lengths
    wanders = build(*arguments, np.ones(300), np.random.default_rng(0)).lengths
    assert follows.min() > 1 and (wanders == 1).mean() == pytest.approx(1 / 3, abs=0.1)


def test_lanes_keep_each_trajectory_in_one() -> None:
    trajectories = built(50).trajectories(MDP(GRID))
    lanes, rows = Lanes(4), []
    for part in range(0, 50, 10):
        lanes.put(trajectories[part : part + 10])
        rows += list(lanes.rows())
        again = Lanes(4)
        again.load_state_dict(lanes.state_dict())
        lanes = again
    edges = sum(len(t.actions) for t in trajectories)
    left = sum(len(columns[0]) for columns in lanes.state_dict() if columns)
    assert len(rows) * 4 + left == edges and left <= 4 * max(len(t.actions) for t in trajectories)
    for lane in range(4):  # each step leads to the next, or to the end of a trajectory
        for (_, _, one), (states, _, _) in pairwise(rows):
            expected = GRID.initial_states(1)[0] if one.done[lane] else one.next_states[lane]
            assert (states[lane] == expected).all()


# ---- learning -----------------------------------------------------------------------------------


class Counts(BaseCallback):
    """Notes the counters at each update."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        self.seen.append((model._episode_num, model.num_timesteps))

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_from_them_and_counts(algorithm: Any) -> None:
    model, counts = algorithm("MlpPolicy", GFNEnv(GRID), n_envs=4, **NETWORK), Counts()
    model.learn(total_trajectories=400, collectors=HERE, callback=counts)
    assert model._episode_num == 400
    assert [n for n, _ in counts.seen] == list(range(16, 401, 16))  # an update a 16, exactly
    assert model._n_updates > 0


def test_counting_in_steps() -> None:
    model, counts = SoftDQN("MlpPolicy", GFNEnv(GRID), n_envs=4, train_freq=5, **NETWORK), Counts()
    model.learn(total_timesteps=2000, collectors=HERE, callback=counts)
    assert 2000 <= model.num_timesteps < 2000 + 12  # one trajectory more at most
    assert model.num_timesteps // 20 == len(counts.seen)
    model.learn(total_timesteps=500, collectors=HERE, reset_num_timesteps=False)
    assert model.num_timesteps >= 2500


@pytest.mark.parametrize(
    ("gradient_steps", "train_freq", "n_envs", "max_lag"),
    [
        (1, (16, "episode"), 4, 10),
        (-1, (16, "episode"), 4, 10),  # as many updates as transitions: some hundred at a time
        (-1, (4, "episode"), 4, 100),
        (-1, 4, 4, 50),
        (1, 1, 1, 10),  # several updates a trajectory
        (2, 1, 4, 20),
    ],
)
def test_the_lag_is_bounded(
    gradient_steps: int, train_freq: Any, n_envs: int, max_lag: int
) -> None:
    model = SoftDQN(
        "MlpPolicy", GFNEnv(GRID), n_envs=n_envs, train_freq=train_freq, learning_starts=0,
        gradient_steps=gradient_steps, batch_size=4, **NETWORK,
    )  # fmt: skip
    lags, collector = Lags(), LocalCollector(64, False, max_lag=max_lag)
    model.learn(total_trajectories=96, collectors=collector, callback=lags)
    assert model._episode_num == 96 and model._n_updates > 0
    assert lags.largest <= max_lag


@pytest.mark.parametrize("between", ["learnt without", "a smaller bound"])
def test_what_was_left_over_is_not_learnt_from_too_late(between: str) -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(GRID), n_envs=4, learning_starts=0, **NETWORK)
    model.learn(total_timesteps=300, collectors=LocalCollector(64, False))
    assert model._collected is not None
    assert sum(len(part["lengths"]) for part in model._collected["inbox"]["ready"]) > 8
    lags, max_lag = Lags(), 100
    if between == "learnt without":
        model.learn(total_timesteps=3000, reset_num_timesteps=False)
    else:
        max_lag = 0
    settings: dict[str, Any] = {"reset_num_timesteps": False, "callback": lags}
    collectors = LocalCollector(64, False, max_lag=max_lag)
    model.learn(total_timesteps=300, collectors=collectors, **settings)
    assert lags.largest <= min(max_lag, 32)


@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.parametrize("total", [{"total_timesteps": 700}, {"total_trajectories": 90}])
def test_the_progress_bar_reaches_its_end(total: dict[str, int], capsys: Any) -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(GRID), n_envs=4, **NETWORK)
    model.learn(**total, collectors=HERE, progress_bar=True)
    assert "100%" in "".join(capsys.readouterr())


def test_what_is_learnt_is_the_target() -> None:
    model = TrajectoryBalance(
        "MlpPolicy", GFNEnv(GRID), n_envs=16, learning_rate=1e-2, seed=0,
        policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    model.learn(total_trajectories=8000, collectors=LocalCollector(16, False))
    assert exact_metrics(model)(model.policy.log_probs)["total_variation"] < 0.06


def test_the_pool_is_fed_and_the_ladder_explores() -> None:
    model = SoftDQN(
        "MlpPolicy", GFNEnv(GRID), n_envs=4, replay_pool=10, exploration_ladder=(0.01, 1.0),
        learning_starts=32, **NETWORK,
    )  # fmt: skip
    model.learn(total_trajectories=160, collectors=HERE)
    assert model.exploration is not None and len(model.exploration.pool) == 10


@pytest.mark.parametrize(
    ("algorithm", "arguments", "collectors", "message"),
    [
        (EntropicPPO, {}, HERE, "synchronous=True"),
        (EntropicPPO, {}, RayCollectors(2, 4, synchronous=True), r"train_freq=\(8, 'episode'\)"),
        (SoftDQN, {"replay_pool": 9, "local_search": 0.5}, HERE, "local_search=0.5"),
        (SoftDQN, {"planning_simulations": 2}, HERE, "planning_simulations"),
        (SoftDQN, {}, LocalCollector(8), "has no workers"),
    ],
)
def test_what_cannot_be_collected_is_refused(
    algorithm: Any, arguments: Any, collectors: Any, message: str
) -> None:
    model = algorithm("MlpPolicy", GFNEnv(GRID), n_envs=4, **arguments, **NETWORK)
    with pytest.raises(ValueError, match=message):
        model.learn(total_trajectories=16, collectors=collectors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n_envs": 0}, "n_envs=0"),
        ({"max_lag": -1}, "max_lag=-1"),
        ({"max_lag": 2, "publish_every": 4}, "publish_every=4"),
        ({"num_gpus": -1}, "num_gpus=-1"),
        ({"num_gpus": 1.5}, "num_gpus=1.5"),
        ({"resources": {"CPU": 1}}, "give num_cpus= instead"),
        ({"address": 3}, "address=3"),
        ({"synchronous": True, "publish_every": 2}, "publish_every=2 has no effect"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayCollectors(**arguments)


def test_no_collectors_at_all() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(GRID), n_envs=4, **NETWORK)
    with pytest.raises(TypeError, match="collectors=3 must be"):
        model.learn(total_trajectories=16, collectors=3)


# ---- while rewards are computed -----------------------------------------------------------------


def words(function: Any, **arguments: Any) -> Any:
    return Sequence("AB", 4, reward=StringReward(function, workers=2, **arguments))


class Known(BaseCallback):
    """Sees that nothing is learnt from before its reward is known, and what waits meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = 0

    def _on_step(self) -> bool:
        collection: Any = self.model._collection  # type: ignore[attr-defined]
        self.pending = max(self.pending, collection.inbox.n_pending)
        assert np.isfinite(self.locals["built"].log_reward).all()
        return True


def test_learning_goes_on_while_rewards_are_computed(tmp_path: Path) -> None:
    dag, known = words(sleepy), Known()
    reward = dag.reward.function
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, learning_starts=8, **NETWORK)
    try:
        collector = LocalCollector(n_envs=8, max_pending=16)
        model.set_logger(configure(str(tmp_path), ["json"]))
        model.learn(total_trajectories=128, collectors=collector, callback=known, log_interval=64)
        assert model._episode_num == 128 and model._n_updates >= 7
        assert reward.calls <= 16  # each of the sixteen words once
        assert 0 < known.pending <= 24
        model.logger.close()
        _, log = map(json.loads, (tmp_path / "progress.json").read_text().splitlines())
        assert log["reward/calls"] == reward.calls and log["reward/failures"] == 0
        assert log["reward/done"] + log["reward/in_flight"] == reward.calls
        assert log["reward/calls_per_second"] > 0 and log["collect/lag"] >= 0
        assert log["collect/repeated"] == 0
    finally:
        reward.close()


def test_what_is_computed_at_a_checkpoint_is_asked_for_again(tmp_path: Any) -> None:
    path = tmp_path / "checkpoint.zip"
    dag = words(sleepy)
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, **NETWORK)

    class Save(TrainingCheckpoint):
        """Saves once, when some trajectories wait for rewards; and ends the training."""

        def _on_step(self) -> bool:
            collection: Any = model._collection
            self.waiting = collection.inbox.n_pending
            if self.waiting:
                model.save_checkpoint(self.path)
            return not self.waiting

        def _on_training_end(self) -> None:
            pass

    save = Save(path)
    try:
        model.learn(total_trajectories=200, collectors=LocalCollector(8), callback=save)
        assert save.waiting and model._episode_num < 200
        again = SoftDQN.resume(path, trusted=True)
        assert again._collected is not None
        pending = again._collected["inbox"]["pending"]
        assert sum(len(part["lengths"]) for part in pending) == save.waiting
        assert again._episode_num == model._episode_num
        # What had arrived is not asked for again.
        known = set(again.dag.reward.function.state_dict()["strings"])
        assert known and known <= set(dag.reward.function.state_dict()["strings"])
        again.dag.reward.function.calls = 0
        again.learn(collectors=LocalCollector(16))
        assert again._episode_num == 200
        assert again.dag.reward.function.calls <= 16 - len(known)
        again.dag.reward.function.close()
    finally:
        dag.reward.function.close()


def test_a_failing_reward_ends_the_training_with_its_error() -> None:
    dag = words(DownAfter(3))
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, **NETWORK)
    try:
        with pytest.raises(RewardError, match="connection refused"):
            model.learn(total_trajectories=500, collectors=LocalCollector(8))
        assert model._collection is None
    finally:
        dag.reward.function.close()


def test_a_cache_that_would_forget_what_arrives_is_refused() -> None:
    dag = words(sleepy, cache_size=10)
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, **NETWORK)
    with pytest.raises(ValueError, match="cache_size=10"):
        model.learn(total_trajectories=16, collectors=LocalCollector(8, max_pending=8))


def test_a_journal_that_every_collector_would_write_is_refused(tmp_path: Path) -> None:
    dag = Sequence("AB", 4, reward=StringReward(sleepy, journal=tmp_path / "rewards.jsonl"))
    model = SoftDQN("MlpPolicy", GFNEnv(dag), n_envs=4, **NETWORK)
    with pytest.raises(ValueError, match="a journal but no workers"):
        model.learn(total_trajectories=16, collectors=RayCollectors(2))
    local = LocalCollector(8, asynchronous_rewards=False)
    model.learn(total_trajectories=16, collectors=local)  # one process, one journal
    assert (tmp_path / "rewards.jsonl").read_text()


def test_weights_that_are_not_finite_are_not_sent() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(GRID), n_envs=4, **NETWORK)
    with th.no_grad():
        next(iter(model.policy.online.parameters())).fill_(np.nan)
    with pytest.raises(FloatingPointError, match="a weight is not finite"):
        model.learn(total_trajectories=16, collectors=HERE)
