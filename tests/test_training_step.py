"""One round of updates: the loss, the copies of the network, and how many rounds there are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import trajectories, updates
from stable_baselines3.common.logger import Logger

from gfn_gym import GFNEnv
from gfn_gym.agents import (
    EntropicPPO,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    TrajectoryBalance,
)
from gfn_gym.envs.hypergrid import Hypergrid

SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 0,
    "batch_size": 16,
    "policy_kwargs": {"net_arch": [8]},
    "seed": 0,
}


def make(env: Any = None, algorithm: Any = SoftDQN, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4)) if env is None else env
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs})


def weights(network: Any) -> Any:
    return th.cat([p.detach().flatten() for p in network.parameters()])


# ---- the loss -------------------------------------------------------------------------------


def model_with_two_transitions(**kwargs: Any) -> Any:
    """Q = 0 and target Q = 0 everywhere; (0,0) → (1,0), and the stop in (0,0) with log R = −3.

    New transitions have the same priority, so that a batch of two draws each once.
    """
    grid = Hypergrid(2, 4, reward=lambda states: np.full(len(states), -3.0))
    kwargs = {"replay_alpha": 1.0, "new_priority": "max", **kwargs}
    model = make(GFNEnv(grid), n_envs=2, **kwargs)
    for network in (model.q_net, model.q_net_target):
        for p in network.parameters():
            p.data.zero_()
    states, actions = np.zeros((2, 2), dtype=np.int32), np.array([0, 2])
    transition = model.mdp.step(states, actions)
    model.replay_buffer.add(states, actions, transition)
    model.set_logger(Logger(None, []))
    return model


def gradient_of_bias(model: Any, batch_size: int = 2) -> Any:
    model.train(1, batch_size)
    return model.q_net.head.bias.grad.numpy()


# TD errors: 0 − (0 + log 3) = −log 3 for the step (three actions are legal in (1, 0)), and
# 0 − (−3) = 3 for the stop. The mean is over two transitions.
STEP, STOP = -math.log(3), 3.0


@pytest.mark.parametrize(
    ("kwargs", "step", "stop"),
    [
        ({}, -1.0, 1.0),  # both in Huber's linear part
        ({"huber": False}, STEP, STOP),
        ({"leaf_weight": 5.0}, -1.0, 5.0),
        ({"huber": False, "leaf_weight": 0.5}, STEP, STOP / 2),
    ],
)
def test_gradient_by_hand(kwargs: dict[str, Any], step: float, stop: float) -> None:
    model = model_with_two_transitions(**kwargs)
    np.testing.assert_allclose(gradient_of_bias(model), [step / 2, 0, stop / 2], rtol=1e-5)


def test_priorities_after_a_step_are_the_weighted_td_errors() -> None:
    model = model_with_two_transitions(leaf_weight=5.0)
    gradient_of_bias(model)
    np.testing.assert_allclose(
        model.replay_buffer.tree.leaves[:2], [abs(STEP), 5 * STOP], rtol=1e-5
    )


def test_importance_weights_enter_the_loss() -> None:
    model = model_with_two_transitions(importance_weights=True, replay_beta=1.0)
    model.replay_buffer.update_priorities(np.array([0, 1]), np.array([1.0, 2.0]))
    # Three strata of [0, 3): the step once, the stop twice; weights 1 and ½.
    np.testing.assert_allclose(gradient_of_bias(model, 3), [-1 / 3, 0, 1 / 3], rtol=1e-4)


def test_max_grad_norm_clips_the_gradient() -> None:
    model = model_with_two_transitions(huber=False, max_grad_norm=0.1)
    # Only the bias has a gradient, for all weights are 0: (−log 3/2, 0, 3/2), scaled to 0.1.
    raw = np.array([STEP / 2, 0, STOP / 2])
    np.testing.assert_allclose(gradient_of_bias(model), 0.1 * raw / np.linalg.norm(raw), rtol=1e-4)


def test_no_clipping_by_default() -> None:
    assert make().max_grad_norm is None  # SB3's default is 10


# ---- copies ---------------------------------------------------------------------------------


def fill_networks(model: Any, online: float, target: float) -> None:
    for network, value in ((model.q_net, online), (model.q_net_target, target)):
        for p in network.parameters():
            p.data.fill_(value)


# A rate at which the online network stays as a test has filled it.
STILL = 1e-30


@pytest.mark.parametrize(("tau", "expected"), [(0.25, 1.0 + 0.25 * 4.0), (1.0, 5.0)])
def test_target_network_moves_by_tau(tau: float, expected: float) -> None:
    model = model_with_two_transitions(tau=tau, learning_rate=STILL)
    fill_networks(model, 5.0, 1.0)
    model.train(1, 2)
    np.testing.assert_allclose(weights(model.q_net_target), expected, rtol=1e-6)
    np.testing.assert_allclose(weights(model.q_net), 5.0)


def test_hard_update_happens_every_so_many_gradient_steps() -> None:
    model = model_with_two_transitions(tau=1.0, target_update_interval=3, learning_rate=STILL)
    fill_networks(model, 5.0, 1.0)
    values = []
    for update in range(1, 7):
        model.q_net.head.bias.data.fill_(float(update))
        model.train(1, 2)
        values.append(model.q_net_target.head.bias[0].item())
    assert values == [1, 1, 3, 3, 3, 6]


def test_average_covers_the_last_share_of_the_updates() -> None:
    model = model_with_two_transitions(average_share=0.5, learning_rate=STILL)
    values = []
    for update in range(1, 7):
        model.q_net.head.bias.data.fill_(float(update))
        model.train(1, 2)
        values.append(model.policy.average.head.bias[0].item())
    # Windows 1, 1, 1.5, 2, 2.5, 3: 1, 2, 2 + 1/1.5, then half of the way, 2/5 and 1/3 of it.
    third = 2 + 1 / 1.5
    fourth = third + (4 - third) / 2
    fifth = fourth + (5 - fourth) / 2.5
    assert values == pytest.approx([1, 2, third, fourth, fifth, fifth + (6 - fifth) / 3])


def test_the_average_is_what_predicts_and_the_online_network_what_acts() -> None:
    model = make(average_share=0.5)
    state = model.dag.initial_states(1)
    model.policy.average.head.bias.data[2] += 50
    assert model.policy.log_probs(state)[0, 2] == pytest.approx(0)
    assert model.policy.log_flow(state)[0] > 40
    assert model.predict(model.dag.observe(state))[0] == 2
    assert model.q_net(*model.policy.tensors(state)).max() < 10
    assert (model._sample_action(0)[0] != 2).any()


def test_copies_get_no_gradient() -> None:
    model = make(average_share=0.5, double=True).learn(100)
    assert updates(model) > 0
    for network in (model.q_net_target, model.policy.average):
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert all(p.grad is not None for p in model.q_net.parameters())
    optimised = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.q_net.parameters()}


# ---- how many -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
@pytest.mark.parametrize("n_envs", [1, 16, 64])
def test_one_update_per_sixteen_trajectories(algorithm: Any, n_envs: int) -> None:
    model = make(algorithm=algorithm, n_envs=n_envs, train_freq=(16, "episode"))
    model.learn(total_trajectories=200)
    finished = trajectories(model)
    assert 0 <= finished - 16 * updates(model) < 16 + n_envs
    # At the end of a batch's step more than 16 may be over; they are carried, not lost …
    model.learn(total_trajectories=200, reset_num_timesteps=False)
    assert trajectories(model) > finished
    assert 0 <= trajectories(model) - 16 * updates(model) < 16 + n_envs


def test_credit_is_saved_and_loaded(tmp_path: Any) -> None:
    model = make(train_freq=(64, "episode")).learn(total_trajectories=100)
    assert updates(model) == 1 and 100 <= trajectories(model) < 110
    model.save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model")
    loaded.learn(total_trajectories=30, reset_num_timesteps=False)
    assert updates(loaded) == 2  # after 128 in all


@pytest.mark.parametrize(("n_envs", "train_freq"), [(1, 4), (4, 5), (8, (2, "step"))])
def test_steps_are_calls_of_step_as_in_sb3(n_envs: int, train_freq: Any) -> None:
    calls = train_freq if isinstance(train_freq, int) else train_freq[0]
    model = make(n_envs=n_envs, train_freq=train_freq).learn(800)
    assert updates(model) == 800 // (n_envs * calls)


def test_gradient_steps() -> None:
    assert updates(make(train_freq=5, gradient_steps=3).learn(200)) == 3 * (200 // 20)
    # −1: as many as transitions were collected.
    assert updates(make(train_freq=5, gradient_steps=-1).learn(200)) == 200
    assert updates(make(train_freq=5, gradient_steps=0).learn(200)) == 0


@pytest.mark.parametrize("unit", ["step", "episode"])
def test_learning_starts_in_both_units(unit: str) -> None:
    starts = 100 if unit == "step" else (100, "episode")
    model = make(learning_starts=starts, train_freq=1)
    first: dict[str, int] = {}

    def callback(names: dict[str, Any], _: dict[str, Any]) -> bool:
        if model._n_updates == 1:
            first.update(step=model.num_timesteps, episode=model._episode_num)
        return True

    model.learn(4000, callback)
    # Seen one call of step, four transitions, after the update.
    assert 100 <= first[unit] <= 100 + 8


def test_the_schedule_of_the_learning_rate_reaches_the_optimiser() -> None:
    model = make(learning_rate=lambda remaining: 1e-3 * remaining + 1e-5, train_freq=1)
    rates, remaining = [], []

    def callback(names: dict[str, Any], _: dict[str, Any]) -> bool:
        rates.append(model.policy.optimizer.param_groups[0]["lr"])
        remaining.append(model._current_progress_remaining)
        return True

    model.learn(total_trajectories=100, callback=callback)
    # The rate seen at a step was set after the step before.
    expected = 1e-3 * np.array(remaining[:-1]) + 1e-5
    np.testing.assert_allclose(rates[1:], expected, rtol=1e-6)
    assert rates[1] > 9e-4 and rates[-1] < 1e-4


@pytest.mark.parametrize("train_freq", [3, (4, "episode")])
def test_as_many_gradient_steps_as_transitions_also_over_a_stop(
    train_freq: Any, tmp_path: Any
) -> None:
    """A callback stops in the middle of a rollout; what was collected still counts."""
    settings: dict[str, Any] = {"gradient_steps": -1, "train_freq": train_freq}

    def trained_to_the_end(stop_at: int | None) -> Any:
        model = make(**settings)
        model.learn(400, lambda local, _: stop_at is None or local["self"].num_timesteps < stop_at)
        if stop_at is not None:
            model.save_checkpoint(tmp_path / "checkpoint.zip")
            model = SoftDQN.resume(tmp_path / "checkpoint.zip").learn()
        return model

    whole, in_two = trained_to_the_end(None), trained_to_the_end(200)
    assert updates(in_two) == updates(whole) > 300
    assert th.equal(weights(in_two.q_net), weights(whole.q_net))


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (SoftActorCritic, {"learning_starts": 20}),
        (EntropicPPO, {}),
        (TrajectoryBalance, {"learnt_backward": True}),
    ],
)
def test_the_gradient_is_clipped_over_all_groups(algorithm: Any, kwargs: dict[str, Any]) -> None:
    model = algorithm(
        "MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=4, max_grad_norm=1e-3, seed=0,
        policy_kwargs={"net_arch": [8]}, train_freq=(4, "episode"), **kwargs,
    ).learn(total_trajectories=40)  # fmt: skip
    groups = model.policy.optimizer.param_groups
    squares = [sum(p.grad.square().sum().item() for p in g["params"]) for g in groups]
    assert len(groups) > 1 and min(squares) > 0
    assert sum(squares) == pytest.approx(1e-6, rel=1e-3)
