"""Multi-step targets: segments of stored trajectories, targets by hand, and their fixed point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import updates
from stable_baselines3.common.logger import configure

from dags import DAGS
from gfn_gym import GFNEnv
from gfn_gym.agents import MunchausenDQN, SoftActorCritic, SoftDQN, as_policy
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, solve
from gfn_gym.mdp import sample_legal_actions
from tables import Table, fill_with_flows, table_of

log = math.log


def store(model: Any, states: Any, actions: Any) -> None:
    """One transition of each environment."""
    states, actions = np.array(states, dtype=np.int32), np.array(actions)
    model.replay_buffer.add(states, actions, model.mdp.step(states, actions))


def store_random_walks(model: Any, steps: int) -> None:
    """By a behaviour that has nothing to do with the policy: uniform legal actions."""
    env, generator = model.env, np.random.default_rng(1)
    env.reset()
    for _ in range(steps):
        states = env.simulator.states
        actions = sample_legal_actions(env.simulator.mask, generator)
        transition, _ = env.step_states(actions)
        model.replay_buffer.add(states, actions, transition)


# ---- segments -------------------------------------------------------------------------------


def following(model: Any) -> list[int]:
    return model.replay_buffer.following(np.arange(model.replay_buffer.size())).tolist()


def test_segments_stay_in_their_environment_and_episode_and_before_the_write_head() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=2, buffer_size=8)
    store(model, [[0, 0], [0, 0]], [0, 1])
    assert following(model) == [-1, -1]  # nothing is there yet
    store(model, [[1, 0], [0, 1]], [0, 2])  # the second environment stops
    store(model, [[2, 0], [0, 0]], [1, 1])
    assert following(model) == [2, 3, 4, -1, -1, -1]
    store(model, [[2, 1], [0, 1]], [0, 1])
    assert following(model) == [2, 3, 4, -1, 6, 7, -1, -1]
    store(model, [[3, 1], [0, 2]], [2, 0])  # over the oldest, after which the ring goes on
    assert following(model) == [-1, -1, 4, -1, 6, 7, 0, 1]
    store(model, [[0, 0], [1, 2]], [0, 0])
    assert following(model) == [-1, 3, -1, -1, 6, 7, 0, 1]


def test_an_end_that_looks_like_the_next_start_is_an_end() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=1, buffer_size=2)
    store(model, [[0, 0]], [2])  # stops at once: the object is the origin
    store(model, [[0, 0]], [0])
    assert following(model) == [-1, -1]
    store(model, [[1, 0]], [1])
    store(model, [[0, 0]], [0])  # to (1, 0), where the oldest, of another episode, begins
    assert following(model) == [-1, -1]


def test_an_episode_that_was_cut_by_a_reset_goes_on_nowhere() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=1, buffer_size=8)
    store(model, [[0, 0]], [0])
    store(model, [[0, 0]], [0])  # where [1, 0] was to be expected
    assert following(model) == [-1, -1]


# ---- targets by hand ------------------------------------------------------------------------

LINEAR: dict[str, Any] = {"policy_kwargs": {"net_arch": [6]}, "n_envs": 1}
GRID = Hypergrid(2, 3)
LOG_R = float(GRID.log_reward(np.array([[2, 1]]))[0])


def with_a_walk(algorithm: Any, bias: list[float], shift: float = 0.0, **kwargs: Any) -> Any:
    """Q̄(s,·) = bias + shift·[y = 1], and (0,0) → (1,0) → (1,1) → (2,1) → stop."""
    model = algorithm("MlpPolicy", GFNEnv(GRID), **LINEAR, **kwargs)
    with th.no_grad():
        first, last = model.q_net_target.architecture.layers[0], model.q_net_target.head
        first.weight.copy_(th.eye(6))
        first.bias.zero_()
        last.bias.copy_(th.tensor(bias))
        last.weight.zero_()
        last.weight[:, 4] = shift
    for state, action in (([0, 0], 0), ([1, 0], 1), ([1, 1], 0), ([2, 1], 2)):
        store(model, [state], [action])
    return model


def multi_step_targets(model: Any) -> Any:
    """What the walk's Q(s, a) are regressed on, (4,)."""
    batch = model.replay_buffer.batch_at(np.arange(4))
    with th.no_grad():
        q = model.q_net.of_actions(batch.states, batch.masks, batch.actions)
        return (q - model._td_error(batch)).numpy()


# Q̄ = [0, log 2, log 3], and log 2 more where y = 1. In (1,0) π = [1, 2, 3]/6; in (1,1) the same
# and V = log 12; in (2,1), where the first action is illegal, π(stop) = 3/5 and V = log 10.
# Rewards: 0 to (1,0), −log 2 to (1,1) and to (2,1), which have two parents, log R for the stop.
BIAS, SHIFT = [0.0, log(2), log(3)], log(2)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [log(6), -log(2) + log(12), -log(2) + log(10), LOG_R]),
        (
            2,
            [
                0 + (-log(2) - log(2 / 6)) + log(12),
                -log(2) + (-log(2) - log(1 / 6)) + log(10),
                -log(2) + (LOG_R - log(3 / 5)),
                LOG_R,
            ],
        ),
        (
            9,
            [
                0 + (-log(2) - log(2 / 6)) + (-log(2) - log(1 / 6)) + (LOG_R - log(3 / 5)),
                -log(2) + (-log(2) - log(1 / 6)) + (LOG_R - log(3 / 5)),
                -log(2) + (LOG_R - log(3 / 5)),
                LOG_R,
            ],
        ),
    ],
)
def test_soft_dqn_target_by_hand(n: int, expected: list[float]) -> None:
    model = with_a_walk(SoftDQN, BIAS, SHIFT, n_step=n)
    np.testing.assert_allclose(multi_step_targets(model), expected, rtol=1e-5)


def test_lambda_weights_what_follows_by_its_distance() -> None:
    one, two, three = (
        multi_step_targets(with_a_walk(SoftDQN, BIAS, SHIFT, n_step=n)) for n in (1, 2, 3)
    )
    model = with_a_walk(SoftDQN, BIAS, SHIFT, n_step=3, td_lambda=0.5)
    expected = one + 0.5 * (two - one) + 0.25 * (three - two)
    np.testing.assert_allclose(multi_step_targets(model), expected, rtol=1e-5)
    model = with_a_walk(SoftDQN, BIAS, SHIFT, n_step=3, td_lambda=0.0)
    np.testing.assert_allclose(multi_step_targets(model), one, rtol=1e-6)


@pytest.mark.parametrize(("l0", "clip"), [(-100.0, 2 * log(1 / 6)), (-2.0, -2.0)])
def test_munchausen_dqn_target_by_hand(l0: float, clip: float) -> None:
    """α = ½, λ = 2, Q̄/λ as above: every step earns ½·max(l0, 2·log π) besides."""
    model = with_a_walk(
        MunchausenDQN, [2 * b for b in BIAS], 2 * SHIFT, n_step=2,
        munchausen_alpha=0.5, munchausen_l0=l0,
    )  # fmt: skip
    second = max(l0, 2 * log(2 / 6))
    expected = [
        # From (0,0), where π = [1, 2, 3]/6 as well.
        0.5 * clip + (-log(2) + 0.5 * second - 2 * log(2 / 6)) + 2 * log(12),
        -log(2) + 0.5 * second + (-log(2) + 0.5 * clip - 2 * log(1 / 6)) + 2 * log(10),
        -log(2) + 0.5 * clip + (LOG_R + log(3 / 5) - 2 * log(3 / 5)),
        LOG_R + log(3 / 5),
    ]
    np.testing.assert_allclose(multi_step_targets(model), expected, rtol=1e-5)


def test_priorities_are_multi_step_errors_and_the_leaf_weight_is_the_last_transitions() -> None:
    model = with_a_walk(
        SoftDQN, BIAS, SHIFT, n_step=9, leaf_weight=5.0, replay_alpha=1.0, new_priority="td_error"
    )
    target = multi_step_targets(model)
    model.set_logger(configure(None, []))
    model.train(0)  # what is new gets its priority
    batch = model.replay_buffer.batch_at(np.arange(4))
    with th.no_grad():
        q = model.q_net.of_actions(batch.states, batch.masks, batch.actions).numpy()
    expected = abs(q - target) * [1, 1, 1, 5]
    np.testing.assert_allclose(model.replay_buffer.tree.leaves[:4], expected, rtol=1e-4, atol=2e-6)


# ---- the fixed point ------------------------------------------------------------------------


def networks(model: Any) -> list[Any]:
    if isinstance(model, SoftActorCritic):
        pairs = (model.networks.critics, model.policy.target)
        return [model.networks.actor, *(net for pair in pairs for net in (pair.first, pair.second))]
    return [model.q_net, model.q_net_target]


@pytest.mark.parametrize("name", DAGS)
@pytest.mark.parametrize("n", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (SoftDQN, {}),
        (SoftDQN, {"double": True, "td_lambda": 0.7}),
        (MunchausenDQN, {"munchausen_alpha": 0.5}),
        (SoftActorCritic, {}),
    ],
    ids=["soft", "double", "munchausen", "sac"],
)
def test_flows_leave_no_error_on_any_path(algorithm: Any, kwargs: Any, n: int, name: str) -> None:
    dag = DAGS[name]
    model = algorithm(Table, GFNEnv(dag), n_envs=3, buffer_size=60, n_step=n, **kwargs)
    solution = solve(dag)
    for network in networks(model):
        fill_with_flows(network, solution, network.temperature)
    store_random_walks(model, 27)  # the ring is full and has been written over
    batch = model.replay_buffer.batch_at(np.arange(60))
    assert model._td_error(batch).abs().max() < 1e-5
    for network in networks(model):  # and the check can fail
        table = table_of(network)
        table += th.as_tensor(np.random.default_rng(0).normal(size=table.shape))
    assert model._td_error(batch).abs().max() > 0.5


def test_learns_the_hypergrid() -> None:
    dag = Hypergrid(2, 8)
    model = MunchausenDQN(
        "MlpPolicy", GFNEnv(dag), preset="fast", n_envs=16, learning_starts=512, batch_size=64,
        n_step=4, td_lambda=0.8, exploration_initial_eps=0.5, seed=0,
    ).learn(8_000)  # fmt: skip
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < 0.05


def test_steps_to_the_end_cost_as_many_as_there_are() -> None:
    model = SoftDQN(
        "MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=2, n_step=10**9, learning_starts=40,
        batch_size=8, policy_kwargs={"net_arch": [8]}, seed=0,
    ).learn(200)  # fmt: skip
    assert updates(model) > 0
