"""What the agents refuse, and how they say so."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
)
from gfn_gym.agents.architectures import MLP
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, sample

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
        *(("tau", value) for value in (-0.1, 0.0, 1.1, NAN)),
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


@pytest.mark.parametrize(("ngram", "error"), [(0, ValueError), (3, ValueError), (1.0, TypeError)])
def test_windows_that_do_not_fit_into_a_state_are_refused(ngram: Any, error: Any) -> None:
    with pytest.raises(error, match="ngram"):
        make(policy_kwargs={"ngram": ngram})


@ALGORITHMS
@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ({}, "exactly one of total_timesteps and total_trajectories"),
        ({"total_timesteps": 9, "total_trajectories": 9}, "exactly one of"),
        ({"total_timesteps": 0}, "total_timesteps=0 must be an integer of at least 1"),
        ({"total_trajectories": -3}, "total_trajectories=-3 must be an integer of at least 1"),
        ({"total_trajectories": NAN}, "total_trajectories=nan must be an integer"),
        ({"total_timesteps": "many"}, "total_timesteps='many' must be an integer"),
        ({"total_timesteps": True}, "total_timesteps=True must be an integer"),
        ({"total_timesteps": 9, "log_interval": "often"}, "log_interval='often' must be"),
        ({"total_timesteps": 9, "log_interval": -1}, "log_interval=-1 must be"),
        ({"total_timesteps": 9, "progress_bar": "yes"}, "progress_bar='yes' must be True or"),
        ({"total_timesteps": 9, "reset_num_timesteps": "no"}, "reset_num_timesteps='no' must be"),
    ],
)
def test_learn_wants_one_total(algorithm: Any, totals: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(algorithm).learn(**totals)


ALL = [
    SoftDQN, MunchausenDQN, SoftActorCritic, FlowMatching, TrajectoryBalance, DetailedBalance,
    SubTrajectoryBalance, EntropicPPO,
]  # fmt: skip


def numbers_and_flags() -> list[Any]:
    """Every argument of every agent whose default is a number or a bool."""
    found = []
    for algorithm in ALL:
        for name, parameter in inspect.signature(algorithm).parameters.items():
            if isinstance(parameter.default, (int, float)) and not name.startswith("_"):
                found.append(pytest.param(algorithm, name, id=f"{algorithm.__name__}-{name}"))
    return found


@pytest.mark.parametrize(("algorithm", "name"), numbers_and_flags())
def test_what_is_not_a_number_or_a_bool_is_named(algorithm: Any, name: str) -> None:
    """Nothing else says only that '<=' is not supported, and no string counts as true."""
    settings = {"n_envs": 2, "policy_kwargs": {"net_arch": [4]}}
    for value in ("much", None, [1], 1j):
        with pytest.raises((TypeError, ValueError), match=rf"{name}=.* must be|`{name}`"):
            algorithm("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **{**settings, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", value) for value in ("a", -1, 2**32, 1.5, True)),
        *(("policy_kwargs", value) for value in (3, "wide", [("net_arch", [4])])),
        *(("stats_window_size", value) for value in (0, "wide")),
        *(("max_grad_norm", value) for value in ("much", True)),
    ],
)
@pytest.mark.parametrize("preset", [None, "fast"])
def test_other_arguments_are_named(name: str, value: Any, preset: str | None) -> None:
    with pytest.raises(ValueError, match=rf"{name}=.* must be"):
        SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), preset=preset, n_envs=2, **{name: value})


@pytest.mark.parametrize(
    ("kwargs", "totals", "message"),
    [
        ({"learning_starts": (400, "episode")}, {"total_trajectories": 300},
         r"learning_starts=\(400, 'episode'\) lies beyond the total of 300 trajectories"),
        ({"learning_starts": (400, "episode")}, {"total_timesteps": 300},
         r"learning_starts=\(400, 'episode'\) lies beyond the total of 300 steps"),
        ({"learning_starts": 400}, {"total_timesteps": 300},
         "learning_starts=400 lies beyond the total of 300 steps"),
        ({"learning_starts": 10**6}, {"total_trajectories": 20},
         "learning_starts=1000000 lies beyond the total of 20 trajectories"),
        ({"gradient_steps": 0}, {"total_timesteps": 30}, "gradient_steps=0: .* nothing is learnt"),
    ],
)  # fmt: skip
def test_a_training_without_updates_warns_with_the_numbers(
    kwargs: dict[str, Any], totals: dict[str, int], message: str
) -> None:
    model = make(**kwargs)
    with pytest.warns(UserWarning, match=message):
        model.learn(**totals)
    assert model._n_updates == 0


def test_a_training_with_updates_does_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(learning_starts=100).learn(300)._n_updates
        make(learning_starts=(10, "episode")).learn(total_trajectories=20)
        monkeypatch.setattr(Hypergrid, "max_trajectory_length", lambda self: None)
        make(learning_starts=10**6).learn(total_trajectories=2)  # nobody knows


# ---- observations and policies --------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("fill", [np.nan, 0.0, 1.0, 0.5])
def test_predict_refuses_what_is_not_an_observation(algorithm: Any, fill: float) -> None:
    env = GFNEnv(Hypergrid(2, 4))
    model = algorithm("MlpPolicy", env, n_envs=2, policy_kwargs={"net_arch": [4]})
    good = env.reset()[0]
    model.predict(good)
    bad = np.stack([good, np.full_like(good, fill)])
    with pytest.raises(ValueError, match=r"observation 1 of 2 is not one of Hypergrid.* as 'oneh"):
        model.predict(bad)


@pytest.mark.parametrize("model", [None, 3, nn.Linear(2, 2), "SoftDQN", lambda states: states])
def test_what_is_not_a_model_has_no_policy(model: Any) -> None:
    with pytest.raises(TypeError, match=r"model=.* must be a Stable-Baselines3 model"):
        as_policy(model)


@pytest.mark.parametrize("use", [evaluate_exact, lambda dag, policy: sample(dag, policy, 4)])
def test_a_model_is_not_a_policy_yet(use: Any) -> None:
    model, dag = make(), Hypergrid(2, 4)
    use(dag, as_policy(model))
    with pytest.raises(TypeError, match=r"policy=.* must be a function .*as_policy\(model\)"):
        use(dag, model)
    for wrong in (None, "uniform"):
        with pytest.raises(TypeError, match=r"policy=.* must be a function from states"):
            use(dag, wrong)


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
