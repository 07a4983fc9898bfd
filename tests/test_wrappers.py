"""The shapes that RLlib and Tianshou read."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import PassiveEnvChecker

from dags import DAGS
from gfn_gym import GFNEnv
from gfn_gym.mdp import sample_legal_actions
from gfn_gym.wrappers import DictObservation


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
