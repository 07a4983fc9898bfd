"""The native batch as a Stable-Baselines3 VecEnv, and what is turned into it or refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from dags import DAGS, Piles
from gfn_gym import DAG, MDP, GFNEnv, check_dag
from gfn_gym.agents import GFNVecEnv, SoftDQN
from gfn_gym.agents.vec_env import as_vec_env, check_same_structure
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.mdp import sample_legal_actions
from gfn_gym.wrappers import DictObservation

ID = "gfn_gym:HypergridGFN-v0"
ENVIRONMENTS: dict[str, DAG] = {"hypergrid": Hypergrid(2, 4), **DAGS}


def random_legal(env: GFNVecEnv, generator: np.random.Generator) -> Any:
    return sample_legal_actions(np.array(env.env_method("action_masks")), generator)


# ---- agreement with the Gymnasium environment -----------------------------------------------


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_agrees_step_by_step_with_single_environments(name: str, observation: str) -> None:
    dag, generator = ENVIRONMENTS[name], np.random.default_rng(0)
    batch = GFNVecEnv(MDP(dag), 3, observation)
    singles = [GFNEnv(dag, observation=observation) for _ in range(3)]
    first = np.stack([single.reset()[0] for single in singles])
    assert (batch.reset() == first).all()
    returns: list[list[float]] = [[], [], []]
    for _ in range(40):
        actions = random_legal(batch, generator)
        observations, rewards, dones, infos = batch.step(actions)
        for row, single in enumerate(singles):
            expected, reward, done, _, info = single.step(actions[row])
            returns[row].append(reward)
            assert rewards[row] == np.float32(reward) and dones[row] == done
            if done:
                assert (infos[row]["terminal_observation"] == expected).all()
                assert infos[row]["episode"]["r"] == pytest.approx(sum(returns[row]))
                assert infos[row]["episode"]["l"] == len(returns[row])
                assert infos[row]["TimeLimit.truncated"] is False
                returns[row], (expected, info) = [], single.reset()
            else:
                assert infos[row] == {}
            assert (observations[row] == expected).all()
            assert (batch.env_method("action_masks", indices=row)[0] == info["action_mask"]).all()


def test_shapes_and_dtypes_are_those_of_a_vec_env() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 4)), 5)
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (8,), np.float32)
    assert env.action_space == gymnasium.spaces.Discrete(3)
    observations, rewards, dones, infos = (env.reset(), *env.step(np.full(5, 2)))[1:]
    assert observations.shape == (5, 8) and observations.dtype == np.float32
    assert rewards.shape == (5,) and rewards.dtype == np.float32
    assert dones.shape == (5,) and dones.dtype == bool and len(infos) == 5


def test_infos_may_be_written_into() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 4)), 2)
    env.reset()
    env.step(np.array([0, 0]))[3][0]["mine"] = 1
    assert env.step(np.array([0, 0]))[3] == [{}, {}]


def test_an_illegal_action_raises_and_names_it() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 2)), 2)
    env.reset()
    env.step(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"action 1 is illegal in state \[0, 1\].*legal are"):
        env.step(np.array([1, 1]))
    with pytest.raises(ValueError, match="actions must be 2 integer"):
        env.step(np.array([0.5, 1.0]))


def test_reset_drops_the_episodes_in_flight() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 4)), 1)
    first = env.reset()
    env.step(np.array([0]))
    assert (env.reset() == first).all()
    assert env.step(np.array([2]))[3][0]["episode"]["l"] == 1


def test_what_sb3_and_sb3_contrib_ask_of_a_vec_env() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 4)), 3)
    assert env.has_attr("action_masks") and env.env_is_wrapped(Monitor) == [True] * 3
    assert env.get_attr("dag", indices=[0, 2]) == [env.dag] * 2
    assert len(env.get_images()) == 3
    with pytest.raises(AttributeError, match="no method 'walk'"):
        env.env_method("walk")
    with pytest.raises(AttributeError, match="shares one 'dag'"):
        env.set_attr("dag", None)


def test_state_dict_brings_back_the_episodes_in_flight() -> None:
    env, copy = GFNVecEnv(MDP(Piles()), 4), GFNVecEnv(MDP(Piles()), 4)
    generator = np.random.default_rng(0)
    env.reset()
    for _ in range(3):
        env.step(random_legal(env, generator))
    copy.load_state_dict(env.state_dict())
    for _ in range(10):
        actions = random_legal(env, generator)
        ours, theirs = env.step(actions), copy.step(actions)
        for a, b in zip(ours[:3], theirs[:3], strict=True):
            assert (a == b).all()
        episodes = [[info.get("episode", {}) for info in step[3]] for step in (ours, theirs)]
        assert [e.get("r") for e in episodes[0]] == [e.get("r") for e in episodes[1]]


# ---- what becomes the native batch ----------------------------------------------------------


def single(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(ID, ndim=2, height=5, **kwargs)


def monitored(env: Any) -> VecMonitor:
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        return VecMonitor(env)


def make_batch() -> Any:
    return gymnasium.make_vec(ID, 6, vectorization_mode="vector_entry_point", ndim=2, height=5)


@pytest.mark.parametrize(
    ("make", "n_envs"),
    [
        (single, 16),
        (lambda: GFNEnv(Hypergrid(2, 5)), 16),
        (lambda: Monitor(single()), 16),
        (lambda: wrappers.RecordEpisodeStatistics(single()), 16),
        (lambda: wrappers.TimeLimit(single(), 9), 16),
        (lambda: wrappers.FlattenObservation(single()), 16),
        (make_batch, 6),
        (lambda: DummyVecEnv([single] * 3), 3),
        (lambda: make_vec_env(ID, 4, env_kwargs={"ndim": 2, "height": 5}), 4),
        (lambda: VecMonitor(DummyVecEnv([single] * 2)), 2),
        (lambda: monitored(GFNVecEnv(MDP(Hypergrid(2, 5)), 7)), 7),
    ],
    ids=[
        "made",
        "bare",
        "Monitor",
        "RecordEpisodeStatistics",
        "TimeLimit",
        "Flatten",
        "vector",
        "Dummy",
        "make_vec_env",
        "VecMonitor",
        "our own",
    ],
)
def test_becomes_the_native_batch(make: Callable[[], Any], n_envs: int) -> None:
    env = as_vec_env(make(), 16)
    assert isinstance(env, GFNVecEnv) and env.num_envs == n_envs
    check_same_structure(Hypergrid(2, 5), env.dag)
    assert env.reset().shape == (n_envs, 10)


def test_an_id_becomes_the_native_batch() -> None:
    env = as_vec_env(ID, 3)
    assert env.num_envs == 3 and repr(env.dag) == repr(Hypergrid())


def test_the_native_batch_is_taken_as_it_is() -> None:
    env = GFNVecEnv(MDP(Hypergrid(2, 5)), 2)
    assert as_vec_env(env, 9) is env


def test_observation_and_backward_policy_are_kept() -> None:
    def backward_policy(states: Any) -> Any:
        return np.log(np.full((len(states), 2), 0.5))

    env = GFNEnv(Hypergrid(2, 5), observation="state", backward_policy=backward_policy)
    batch = as_vec_env(env, 2)
    assert batch.observation_space == gymnasium.spaces.MultiDiscrete([5, 5], dtype=np.int32)
    assert batch.mdp.backward_policy is backward_policy


# ---- what is refused ------------------------------------------------------------------------


def scaled(env: Any) -> Any:
    return wrappers.TransformReward(env, lambda reward: 2 * float(reward))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: wrappers.TimeLimit(single(), 8),
            "TimeLimit cuts episodes off after 8 steps, and the longest has 9,",
        ),
        (
            lambda: wrappers.TimeLimit(GFNEnv(Piles()), 100),
            r"TimeLimit may cut episodes off after 100 steps \(Piles does not say",
        ),
        (
            lambda: wrappers.FlattenObservation(single(observation="state")),
            r"FlattenObservation changes the observations \(MultiDiscrete.* becomes Box",
        ),
        (lambda: DictObservation(single()), "DictObservation changes the observations"),
        (
            lambda: wrappers.TransformAction(single(), int, single().action_space),
            "TransformAction changes the actions",
        ),
        (lambda: wrappers.MaxAndSkipObservation(single()), "MaxAndSkipObservation may change"),
        (lambda: scaled(single()), "TransformReward changes the rewards"),
        (lambda: Monitor(scaled(Monitor(single()))), "TransformReward changes the rewards"),
        (lambda: wrappers.NormalizeReward(single()), "NormalizeReward changes the rewards"),
        (lambda: VecNormalize(DummyVecEnv([single])), "VecNormalize may change"),
        (lambda: VecFrameStack(DummyVecEnv([single]), 2), "VecFrameStack may change"),
        (
            lambda: monitored(VecNormalize(GFNVecEnv(MDP(Hypergrid(2, 5)), 1))),
            "VecNormalize may change",
        ),
        (lambda: DummyVecEnv([lambda: scaled(single())]), "TransformReward changes the rewards"),
    ],
)
def test_a_wrapper_that_changes_something_is_refused_by_name_with_the_reason(
    make: Callable[[], Any], words: str
) -> None:
    with pytest.raises(TypeError, match=f"the wrapper {words}.* would bypass it: remove it"):
        as_vec_env(make(), 4)


def test_other_vector_environments_are_told_what_to_pass() -> None:
    with pytest.raises(
        TypeError, match=r"RecordEpisodeStatistics around a .*: pass env\.unwrapped"
    ):
        as_vec_env(wrappers.vector.RecordEpisodeStatistics(make_batch()), 1)
    one_by_one = gymnasium.make_vec(ID, 2, vectorization_mode="sync", ndim=2, height=5)
    with pytest.raises(TypeError, match=r"SyncVectorEnv steps .* one by one: .*vector_entry_point"):
        as_vec_env(one_by_one, 1)


@pytest.mark.parametrize("make", [make_batch, lambda: DummyVecEnv([single] * 6)])
def test_n_envs_may_not_contradict_a_batch(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="n_envs=16, but env holds 6 environments already"):
        SoftDQN("MlpPolicy", make(), n_envs=16)
    assert SoftDQN("MlpPolicy", make(), n_envs=6).n_envs == 6
    assert SoftDQN("MlpPolicy", single()).n_envs == 16
    assert SoftDQN("MlpPolicy", make(), preset="fast").n_envs == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda: "CartPole-v1",
        lambda: gymnasium.make("CartPole-v1"),
        lambda: gymnasium.make("CartPole-v1").unwrapped,
        lambda: make_vec_env("CartPole-v1", 2),
    ],
    ids=["id", "made", "bare", "VecEnv"],
)
def test_an_environment_without_masks_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"CartPole.* is not a GFN environment.*action masks"):
        as_vec_env(make(), 4)


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="env=7 is neither"):
        as_vec_env(7, 4)


def test_environments_in_other_processes_are_refused() -> None:
    env = SubprocVecEnv.__new__(SubprocVecEnv)  # without starting processes
    with pytest.raises(TypeError, match="SubprocVecEnv cannot be turned into the native batch"):
        as_vec_env(env, 4)


def test_environments_of_different_dags_are_refused() -> None:
    env = DummyVecEnv([single, single])
    env.envs[1] = gymnasium.make(ID, ndim=2, height=6)
    with pytest.raises(ValueError, match=r"mixes .*height=5.* and .*height=6"):
        as_vec_env(env, 4)


def test_a_monitor_that_writes_a_file_warns(tmp_path: Any) -> None:
    env = Monitor(single(), str(tmp_path / "log"))
    with pytest.warns(UserWarning, match="Monitor's file will not be written"):
        as_vec_env(env, 4)
    env.close()


def test_a_vec_env_of_different_rewards_is_refused_with_both_named() -> None:
    ids = ("HypergridGFN-v0", "HypergridGFN-Hard-v0")
    mixed = DummyVecEnv([partial(gymnasium.make, id, ndim=2, height=5) for id in ids])
    with pytest.raises(ValueError, match=r"mixes .*'standard'.* and .*'hard'"):
        as_vec_env(mixed, 1)


def two_with(first: Any, second: Any, **kwargs: Any) -> DummyVecEnv:
    dags = [Hypergrid(2, 4, reward) for reward in (first, second)]
    return DummyVecEnv([partial(GFNEnv, dag, **kwargs) for dag in dags])


def test_a_vec_env_of_one_reward_function_made_twice_is_taken() -> None:
    made = [lambda states, c=c: c * states.sum(axis=1) for c in (1.0, 1.0)]
    assert as_vec_env(two_with(*made), 1).num_envs == 2


def test_a_vec_env_of_two_reward_functions_is_refused() -> None:
    different = [lambda states, c=c: c * states.sum(axis=1) for c in (1.0, 2.0)]
    with pytest.raises(ValueError, match="reward functions differ"):
        as_vec_env(two_with(*different), 1)


def test_a_vec_env_of_two_backward_policies_is_refused() -> None:
    policies = [lambda states: np.zeros((len(states), 2)), lambda states: np.ones((len(states), 2))]
    dag = Hypergrid(2, 4)
    env = DummyVecEnv([partial(GFNEnv, dag, backward_policy=p) for p in policies])
    with pytest.raises(ValueError, match="backward policies"):
        as_vec_env(env, 1)


class Blurred(Hypergrid):
    """Shows states, but cannot tell them from what it shows."""

    def states_of(self, observations: Any) -> Any:
        raise NotImplementedError


def test_observations_that_lose_information_are_for_other_libraries() -> None:
    check_dag(Blurred(2, 4))
    with pytest.raises(TypeError, match="cannot be turned back into states"):
        SoftDQN("MlpPolicy", GFNEnv(Blurred(2, 4)))
    SoftDQN("MlpPolicy", GFNEnv(Blurred(2, 4), observation="state"))
