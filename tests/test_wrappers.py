"""The shapes that RLlib and Tianshou read."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import PassiveEnvChecker

from dags import DAGS
from gfn_gym import GFNEnv, GFNVectorEnv
from gfn_gym.mdp import sample_legal_actions
from gfn_gym.wrappers import DictObservation, DictVectorObservation


@pytest.mark.parametrize(
    ("arguments", "keys", "dtype"),
    [
        ((), ("observations", "action_mask"), np.float32),
        (("obs", "mask", bool), ("obs", "mask"), bool),
        (("obs", "mask", np.int8), ("obs", "mask"), np.int8),
    ],
)
@pytest.mark.parametrize("observation", ["onehot", "state"])
def test_dict_observation(arguments, keys, dtype, observation):
    inner = gymnasium.make("HypergridGFN-v0", ndim=2, height=3, observation=observation)
    env = DictObservation(inner, *arguments)
    assert isinstance(env.observation_space, spaces.Dict)
    generator = np.random.default_rng(0)
    for _ in range(5):
        seen, info = env.reset(seed=0)
        ended = False
        while not ended:
            assert list(seen) == list(keys) and seen in env.observation_space
            mask = seen[keys[1]]
            assert mask.dtype == dtype and np.array_equal(mask, info["action_mask"])
            mask[:] = 0  # the user's to write into
            action = sample_legal_actions(info["action_mask"][None], generator)[0]
            seen, _, ended, _, info = env.step(action)
        assert seen in env.observation_space


@pytest.mark.parametrize("name", DAGS)
def test_passes_the_passive_checker(name):
    env = PassiveEnvChecker(DictObservation(GFNEnv(DAGS[name])))
    _, info = env.reset()
    generator, ended = np.random.default_rng(0), False
    while not ended:
        action = sample_legal_actions(info["action_mask"][None], generator)[0]
        _, _, ended, _, info = env.step(action)


def test_refusals():
    with pytest.raises(ValueError, match="has no action masks"):
        DictObservation(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="observation_key and mask_key are both 'obs'"):
        DictObservation(GFNEnv(DAGS["words"]), "obs", "obs")


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_the_wrapper_passes_gymnasiums_checker():
    env = gymnasium.make("HypergridGFN-Terminate-v0", ndim=2, height=4, disable_env_checker=True)
    check_env(DictObservation(env.unwrapped), skip_render_check=True)


@pytest.mark.parametrize(
    "arguments", [(), ("obs", "mask", bool), ("obs", "mask", np.dtype("int8"))]
)
def test_the_spec_goes_through_json(arguments):
    env = DictObservation(gymnasium.make("HypergridGFN-v0", ndim=2, height=3), *arguments)
    text = env.spec.to_json()
    assert json.loads(text)["additional_wrappers"][0]["name"] == "DictObservation"
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(text))
    assert again.observation_space == env.observation_space


# ---- the native batch -----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("obs", "mask", bool)])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", DAGS)
def test_the_batch_agrees_with_single_environments(name, mode, arguments):
    dag = DAGS[name]
    batch = DictVectorObservation(GFNVectorEnv(dag, 3, autoreset_mode=mode), *arguments)
    singles = SyncVectorEnv(
        [lambda: DictObservation(GFNEnv(dag), *arguments)] * 3, autoreset_mode=mode
    )
    assert batch.observation_space == singles.observation_space
    assert batch.single_observation_space == singles.single_observation_space
    (seen, infos), (expected, _) = batch.reset(seed=0), singles.reset(seed=0)
    generator, n_ended = np.random.default_rng(0), 0
    for _ in range(30):
        assert_same(seen, expected)
        assert seen in batch.observation_space
        actions = sample_legal_actions(infos["action_mask"].astype(bool), generator)
        seen, rewards, ended, _, infos = batch.step(actions)
        expected, expected_rewards, _, _, expected_infos = singles.step(actions)
        np.testing.assert_array_equal(rewards, expected_rewards)
        n_ended += ended.sum()
        if mode is AutoresetMode.SAME_STEP and ended.any():
            assert (infos["_final_obs"] == expected_infos["_final_obs"]).all()
            for row in np.flatnonzero(ended):
                assert_same(infos["final_obs"][row], expected_infos["final_obs"][row])
        if mode is AutoresetMode.DISABLED and ended.any():
            assert_same(seen, expected)
            seen, infos = batch.reset(options={"reset_mask": ended.copy()})
            expected, _ = singles.reset(options={"reset_mask": ended.copy()})
    assert n_ended > 0


def assert_same(found, expected):
    assert set(found) == set(expected)
    for key in expected:
        assert found[key].dtype == expected[key].dtype
        np.testing.assert_array_equal(found[key], expected[key])


def test_refusals_of_the_batch():
    with pytest.raises(ValueError, match="has no action masks"):
        DictVectorObservation(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    with pytest.raises(ValueError, match="observation_key and mask_key are both 'obs'"):
        DictVectorObservation(GFNVectorEnv(DAGS["words"], 2), "obs", "obs")
