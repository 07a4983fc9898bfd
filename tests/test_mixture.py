"""MixturePolicy: a mixture of products is consistent in every order, and its weights come late."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th

from gfn_gym import GFNEnv
from gfn_gym.agents import SoftDQN, SubTrajectoryBalance, as_policy
from gfn_gym.agents.architectures.mixture import FlowHead, Mixture
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.evaluation import evaluate_exact
from gfn_gym.graph import enumerate_graph

DAG = BitSequence(6, 2, modes=["000000", "111100"])  # three words of two bits


def mixture(**settings: Any) -> Mixture:
    th.manual_seed(0)
    made = Mixture(DAG, experts=3, rank=2, **settings)
    made.prior.data.copy_(th.tensor([1.0, 0.0, -1.0]))
    return made


def log_forward(network: Mixture, states: Any) -> Any:
    """log P_F, (n, n_actions): the forward values' softmax."""
    states = np.asarray(states)
    with th.no_grad():
        encoding = network.encode(th.from_numpy(states.astype(np.int64)))
        mask = th.from_numpy(DAG.action_mask(states))
        values = network.action_values(network.make_forward_head(), encoding, mask)
        return th.log_softmax(values.dense().double(), dim=1).numpy()


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_it_samples_the_mixture_in_every_order(progress: float) -> None:
    network = mixture()
    network.at_progress(progress)
    with th.no_grad():
        theta = network._distributions()[1].view(3, 4, 3).double().numpy()  # [d, W, K]
    weights = np.array([1.0, 0.0, -1.0]) * progress
    weights = np.exp(weights) / np.exp(weights).sum()
    for x in [(0, 1, 2), (3, 3, 0)]:
        expected = sum(
            weights[j] * np.prod([theta[p, w, j] for p, w in enumerate(x)]) for j in range(3)
        )
        for order in itertools.permutations(range(3)):
            state, log_p = DAG.initial_states(1), 0.0
            for p in order:
                log_p += log_forward(network, state)[0, p * 4 + x[p]]
                state[0, p] = x[p]
            # Each order has probability 1/3!.
            assert np.exp(log_p) * 6 == pytest.approx(expected, rel=1e-5)


def test_weights_are_equal_until_their_time_and_then_stay() -> None:
    network, states = mixture(prior_after=0.5), DAG.initial_states(1)
    equal = log_forward(network, states)
    network.at_progress(0.49)
    assert np.array_equal(log_forward(network, states), equal)
    network.at_progress(0.5)
    learnt = log_forward(network, states)
    assert not np.allclose(learnt, equal)
    network.at_progress(0.0)  # another training begins
    assert np.array_equal(log_forward(network, states), learnt)


def test_words_that_were_made_are_not_used_after_a_step() -> None:
    network, states = mixture(), DAG.initial_states(1)
    before = log_forward(network, states)
    optimizer = th.optim.Adam(network.parameters(), lr=0.1, fused=True)
    network.encode(th.from_numpy(states.astype(np.int64))).log_words.square().sum().backward()
    optimizer.step()
    assert not np.allclose(log_forward(network, states), before)


def test_the_flow_head_starts_where_it_is_told() -> None:
    network = mixture(step_value=0.75)
    states = th.tensor([[4, 4, 4], [0, 4, 4], [0, 1, 4], [0, 1, 2]])  # 0 to 3 words of 3
    head = network.make_value_head()
    assert isinstance(head, FlowHead)
    with th.no_grad():
        value = head(network.encode(states)).squeeze(1).tolist()
    assert value == pytest.approx([2.25, 1.5 - np.log(3), 0.75 - np.log(3), 0.0], abs=1e-6)


@pytest.mark.parametrize("algorithm", [SoftDQN, SubTrajectoryBalance])
def test_it_learns_a_target_that_is_a_mixture(algorithm: Any) -> None:
    model = algorithm(
        "MixturePolicy", GFNEnv(DAG, potential="dag"), n_envs=16, learning_rate=1e-2,
        gradient_steps=2, policy_kwargs={"experts": 8, "rank": 4}, seed=0,
        **({"dueling": True, "learning_starts": 0} if algorithm is SoftDQN else {}),
    )  # fmt: skip
    model.learn(total_trajectories=6_000)
    assert evaluate_exact(enumerate_graph(DAG), as_policy(model))["total_variation"] < 0.03


def test_progress_is_saved_with_the_model(tmp_path: Any) -> None:
    model = SoftDQN("MixturePolicy", GFNEnv(DAG), n_envs=4, policy_kwargs={"experts": 3}, seed=0)
    for module in model.policy.modules():
        if isinstance(module, Mixture):
            module.prior.data.copy_(th.tensor([2.0, 0.0, -2.0]))
    model.policy.at_progress(1.0)
    model.save(tmp_path / "m")
    states = DAG.initial_states(1)
    loaded = SoftDQN.load(tmp_path / "m")
    assert np.array_equal(loaded.policy.log_probs(states), model.policy.log_probs(states))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior_after": 1.5}, "prior_after=1.5 must be"),
        ({"step_value": float("nan")}, "step_value=nan must be"),
        ({"experts": 0}, "experts=0 must be"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(DAG, **settings)


# ---- the preset ---------------------------------------------------------------------------------


def test_the_preset_of_long_sequences() -> None:
    env = gymnasium.make("gfn_gym:BitSequenceGFN-v0", potential="dag")
    model = SoftDQN("auto", env, preset="fast", seed=0)
    network = model.policy.online.architecture
    assert isinstance(network, Mixture) and network.experts == 128
    assert network.step_value == pytest.approx(8 * np.log1p(np.exp(-2.0)))
    stated = {
        "n_envs": 96, "buffer_size": 40_000, "learning_starts": 0, "batch_size": 384,
        "gradient_steps": 5, "tau": 0.25, "average_share": 0.1, "dueling": True,
        "replay_alpha": 0.5, "exploration_initial_eps": 0.02, "exploration_final_eps": 0.0,
        "exploration_fraction": 0.5, "replay_pool": 100, "local_search": 0.5,
        "pool_fraction": 0.75, "huber": True, "leaf_weight": 1.0,
    }  # fmt: skip
    assert {name: getattr(model, name) for name in stated} == stated
    rate = model.lr_schedule
    assert (rate(1.0), rate(0.0)) == pytest.approx((1e-2, 2e-3))
    assert model.train_freq.frequency == 96


def test_short_sequences_keep_theirs() -> None:
    model = SoftDQN("auto", GFNEnv(BitSequence(16, 4)), preset="fast", seed=0)
    assert model.n_envs == 64 and not model.replay_pool
