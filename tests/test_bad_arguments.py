"""What the agents refuse, and how they say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import EntropicPPO, MunchausenDQN, SoftActorCritic, SoftDQN
from gfn_gym.agents.architectures import MLP
from gfn_gym.envs.hypergrid import Hypergrid

ALGORITHMS = pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 0,
    "train_freq": (1, "step"),
    "batch_size": 32,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
}


def make(algorithm: Any = SoftDQN, env: Any = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4)) if env is None else env
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs})


# ---- arguments ------------------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("gamma", [0.99, 0.0, 1.01])
def test_a_discount_is_refused_with_the_reason(algorithm: Any, gamma: float) -> None:
    with pytest.raises(ValueError, match=rf"gamma={gamma} must be 1: Theorem 1.*undiscounted"):
        make(algorithm, gamma=gamma)


NAN = float("nan")


@ALGORITHMS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_size", value) for value in (0, -1)),
        *(("buffer_size", value) for value in (0, -5, 3)),  # 3 < n_envs
        *(("target_update_interval", value) for value in (0, -1)),
        *(("leaf_weight", value) for value in (0.0, -1.0, NAN)),
        *(("tau", value) for value in (-0.1, 1.1, NAN)),
        *(("n_step", value) for value in (0, -1, 1.5)),
        *(("td_lambda", value) for value in (-0.1, 1.1, NAN)),
        *(("replay_alpha", value) for value in (-0.1, 1.1, NAN)),
        *(("replay_beta", value) for value in (-0.1, 1.1)),
        *(("replay_beta_final", value) for value in (-0.1, 1.1)),
        *(("average_share", value) for value in (-0.1, 1.0, NAN)),
        *(("exploration_initial_eps", value) for value in (-0.1, 1.1, NAN)),
        *(("exploration_final_eps", value) for value in (-0.1, 1.1)),
        *(("exploration_fraction", value) for value in (-0.1, 0.0, 1.1)),
        *(("new_priority", value) for value in ("mean", None)),
        *(("max_grad_norm", value) for value in (0.0, -1.0, NAN)),
        *(("train_freq", value) for value in (0, -1, (0, "episode"), (16, "epoch"), 1.5)),
        *(("learning_starts", value) for value in (-1, (10, "epoch"))),
        *(("gradient_steps", value) for value in (-2,)),
    ],
)
def test_an_impossible_argument_is_named(algorithm: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        make(algorithm, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("munchausen_alpha", value) for value in (-0.1, 1.0, 2.0, NAN)),
        *(("munchausen_l0", value) for value in (0.0, 1.0, NAN)),
    ],
)
def test_an_impossible_munchausen_argument_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        make(MunchausenDQN, **{name: value})


@ALGORITHMS
def test_unknown_arguments_are_refused(algorithm: Any) -> None:
    with pytest.raises(TypeError, match="learning_rat"):
        make(algorithm, learning_rat=1e-3)
    with pytest.raises(ValueError, match="n_envs=0 must be an integer of at least 1"):
        make(algorithm, n_envs=0)
    with pytest.raises(ValueError, match=r"policy='CnnPolicy' is not one of .*MlpPolicy"):
        algorithm("CnnPolicy", GFNEnv(Hypergrid(2, 4)))


@pytest.mark.parametrize("algorithm", [SoftDQN, SoftActorCritic, EntropicPPO])
def test_a_class_that_is_not_an_architecture_is_refused(algorithm: Any) -> None:
    message = r"policy=.*ActorCriticPolicy'> is not a subclass of gfn_gym\.agents\.Architecture"
    with pytest.raises(TypeError, match=message):
        algorithm(ActorCriticPolicy, GFNEnv(Hypergrid(2, 4)))
    algorithm(MLP, GFNEnv(Hypergrid(2, 4)))  # one that is has all the networks that are needed


@pytest.mark.parametrize("net_arch", [[], [16, 0]])
def test_a_network_without_width_is_refused(net_arch: list[int]) -> None:
    with pytest.raises(ValueError, match="net_arch"):
        make(policy_kwargs={"net_arch": net_arch})


@ALGORITHMS
@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ({}, "exactly one of total_timesteps and total_trajectories"),
        ({"total_timesteps": 9, "total_trajectories": 9}, "exactly one of"),
        ({"total_timesteps": 0}, "must be above 0"),
        ({"total_trajectories": -3}, "must be above 0"),
    ],
)
def test_learn_wants_one_total(algorithm: Any, totals: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(algorithm).learn(**totals)


# ---- environments ---------------------------------------------------------------------------


@ALGORITHMS
def test_an_environment_without_masks_is_refused_with_the_reason(algorithm: Any) -> None:
    with pytest.raises(TypeError, match=r"CartPole.* is not a GFN environment.*needs action masks"):
        algorithm("MlpPolicy", "CartPole-v1")


def test_states_that_mlp_policy_cannot_read_are_refused() -> None:
    class Boxed(Words):
        observation_space = spaces.Box(-1, 2, (3,), np.int64)

        def __init__(self) -> None:
            super().__init__()
            self.state_space = spaces.Box(-1, 2, (3,), np.int64)

        def observe(self, states: Any) -> Any:
            return states

        def states_of(self, observations: Any) -> Any:
            return observations

    with pytest.raises(TypeError, match=r"MlpPolicy reads MultiDiscrete states, but .*Boxed"):
        make(env=GFNEnv(Boxed()))


# ---- training that goes wrong ---------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("new_priority", ["max", "td_error"])
@pytest.mark.parametrize("train_freq", [1, (50, "episode")])
def test_divergence_stops_the_training_and_says_so(
    algorithm: Any, dueling: bool, new_priority: str, train_freq: Any
) -> None:
    model = make(
        algorithm, learning_rate=1e30, dueling=dueling, new_priority=new_priority,
        train_freq=train_freq,
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match=r"training has diverged.*learning_rate"):
        model.learn(4000)


@ALGORITHMS
@pytest.mark.parametrize(
    ("new_priority", "symptom"), [("max", "the loss is nan"), ("td_error", "a TD error is not")]
)
def test_a_loss_that_is_no_number_stops_the_training(
    algorithm: Any, new_priority: str, symptom: str
) -> None:
    """Before it has spoilt the online network."""
    model = make(algorithm, new_priority=new_priority)
    model.q_net_target.head.bias.data.fill_(NAN)
    with pytest.raises(FloatingPointError, match=f"{symptom}.* at update 0: training has diverged"):
        model.learn(4000)
    assert all(p.isfinite().all() for p in model.q_net.parameters())


@ALGORITHMS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reward_that_turns_bad_in_training_is_named(algorithm: Any, bad: float) -> None:
    calls = [0]

    def log_reward(states: Any) -> Any:
        calls[0] += 1
        return np.full(len(states), bad if calls[0] > 20 else 0.0)

    model = make(algorithm, GFNEnv(Hypergrid(2, 4, reward=log_reward)))
    match = rf"reward function returned {bad} at state \[\d, \d\]; log R must be finite"
    with pytest.raises(ValueError, match=match):
        model.learn(4000)
    assert model.num_timesteps > 20
