"""An annealed reward: what is learnt is R^e for the moment, and R in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from halfway import resumed_half_way

from gfn_gym import GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    FlowMatching,
    GFNPolicy,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
)
from gfn_gym.agents.annealing import exponent_at
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, solve

GRID = Hypergrid(2, 4)
EVERY: list[Any] = [
    SoftDQN, MunchausenDQN, SoftActorCritic, FlowMatching,
    TrajectoryBalance, DetailedBalance, SubTrajectoryBalance, EntropicPPO,
]  # fmt: skip


def make(algorithm: Any, dag: Hypergrid = GRID, potential: Any = None, **kwargs: Any) -> Any:
    settings = {"policy_kwargs": {"net_arch": [64, 64]}, "seed": 0, "n_envs": 4, **kwargs}
    env = GFNEnv(dag, potential=potential)
    return algorithm("MlpPolicy", env, train_freq=(4, "episode"), **settings)


def test_the_exponent_rises_linearly_to_one() -> None:
    assert [exponent_at((0.2, 0.5), p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.2, 0.6, 1.0, 1.0]
    )
    assert exponent_at(None, 0.0) == 1.0


@pytest.mark.parametrize("algorithm", EVERY)
def test_batches_hold_the_reward_of_the_moment(algorithm: Any) -> None:
    model = make(algorithm, potential="dag", reward_annealing=(0.25, 0.999))
    model.learn(total_trajectories=40)
    buffer = model.replay_buffer
    assert 0.8 < buffer.reward_exponent < 1.0
    assert buffer.reward_exponent == model.policy.reward_exponent

    def rewards(exponent: float) -> Any:
        buffer.reward_exponent = exponent
        if hasattr(buffer, "batch_at"):
            batch = buffer.batch_at(np.arange(buffer.size()))
        else:
            model.env.reset()
            batch = buffer.batch(trajectories)
        return [x.numpy() for x in (batch.log_reward, batch.shaping, batch.log_backward)]

    if not hasattr(buffer, "batch_at"):
        trajectories = [*buffer.new] or finished(model)
    whole, quarter = rewards(1.0), rewards(0.25)
    assert whole[0].any() and whole[1].any()
    for part in (0, 1):
        assert np.array_equal(quarter[part], 0.25 * whole[part])
    assert np.array_equal(quarter[2], whole[2])


def finished(model: Any) -> Any:
    """Trajectories of the model's own."""
    while not model.replay_buffer.new:
        states = model.env.simulator.states
        actions, _ = model._sample_action(0, n_envs=4)
        transition, _ = model.env.step_states(actions)
        model.replay_buffer.add(states, actions, transition)
    return [*model.replay_buffer.new]


@pytest.mark.parametrize("potential", [None, "dag"])
def test_half_way_the_sampler_is_that_of_the_annealed_reward(potential: Any) -> None:
    model = make(SoftDQN, potential=potential, reward_annealing=(0.5, 0.999), learning_rate=3e-3)
    model._set_horizon(None, 10**9, True)  # so long that e stays at a half
    model.learn(total_trajectories=10**9, callback=stop_after(4_000))
    annealed = Hypergrid(2, 4, reward=lambda states: 0.5 * GRID.log_reward(states))
    measured = evaluate_exact(annealed, as_policy(model))
    assert measured["total_variation"] < 0.02
    states = solve(annealed).graph.states
    log_flow = solve(annealed).log_flow
    assert model.policy.log_flow(states) == pytest.approx(log_flow, abs=0.15)


def stop_after(n: int) -> Any:
    return lambda given, _: given["self"]._episode_num < n


@pytest.mark.parametrize("algorithm", [SoftDQN, DetailedBalance, FlowMatching])
def test_what_is_learnt_in_the_end_is_the_target(algorithm: Any) -> None:
    model = make(
        algorithm, potential="dag", reward_annealing=(0.25, 0.5), learning_rate=3e-3,
        gradient_steps=2,
    ).learn(total_trajectories=6_000)  # fmt: skip
    assert model.policy.reward_exponent == 1.0
    assert evaluate_exact(model.dag, as_policy(model))["total_variation"] < 0.02


@pytest.mark.parametrize("algorithm", [SoftDQN, TrajectoryBalance])
def test_a_checkpoint_goes_on_alike(algorithm: Any, tmp_path: Any) -> None:
    kwargs: dict[str, Any] = {"reward_annealing": (0.25, 0.75)}
    if algorithm is SoftDQN:
        kwargs |= {"learning_starts": 16, "batch_size": 16}
    whole = make(algorithm, **kwargs).learn(total_trajectories=80)
    resumed = resumed_half_way(make(algorithm, **kwargs), 80, tmp_path / "c.zip")
    states = solve(GRID).graph.states
    assert np.array_equal(resumed.policy.log_probs(states), whole.policy.log_probs(states))


@pytest.mark.parametrize(
    "settings",
    [
        {"reward_annealing": (0.25, 0.99)},
        {"replay_pool": 6, "local_search": 0.3, "pool_fraction": 0.45},
    ],
)
def test_a_round_that_was_stopped_goes_on_alike(settings: Any, tmp_path: Any) -> None:
    kwargs = {"learning_starts": 16, "batch_size": 16, **settings}
    whole = make(SoftDQN, **kwargs).learn(total_trajectories=96)
    half = make(SoftDQN, **kwargs)
    half.learn(total_trajectories=96, callback=stop_after(46))  # inside a round of four
    half.save_checkpoint(tmp_path / "c.zip")
    resumed = SoftDQN.resume(tmp_path / "c.zip").learn()
    states = solve(GRID).graph.states
    assert np.array_equal(resumed.policy.log_probs(states), whole.policy.log_probs(states))


def test_flows_half_way_are_saved(tmp_path: Any) -> None:
    model = make(SoftDQN, potential="dag", reward_annealing=(0.25, 0.9))
    model.learn(total_trajectories=96, callback=stop_after(48))
    states = solve(GRID).graph.states
    log_flow = model.policy.log_flow(states)
    assert model.reward_exponent < 0.8
    model.save(tmp_path / "m")
    model.save_checkpoint(tmp_path / "c.zip")
    model.policy.save(tmp_path / "p")
    loaded = SoftDQN.load(tmp_path / "m").policy, SoftDQN.resume(tmp_path / "c.zip").policy
    for policy in (*loaded, GFNPolicy.load(tmp_path / "p")):
        assert np.array_equal(policy.log_flow(states), log_flow)


def test_a_new_model_begins_with_the_first_exponent_whatever_it_is_told() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), n_envs=4, reward_annealing=(0.25, 0.5))
    model.learn(total_trajectories=4, reset_num_timesteps=False)
    # The only round began before the first trajectory.
    assert model.reward_exponent == 0.25


def test_the_exponent_does_not_fall_where_training_goes_on() -> None:
    model = make(SoftDQN, reward_annealing=(0.25, 0.5)).learn(total_trajectories=40)
    seen: list[float] = []

    def look(*_: Any) -> bool:
        seen.append(model.reward_exponent)
        return True

    model.learn(total_trajectories=160, reset_num_timesteps=False, callback=look)
    assert set(seen) == {1.0}
    model.learn(total_trajectories=8, callback=look)
    assert 0.25 in seen  # another training begins anew


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reward_annealing": 0.5}, r"reward_annealing=0\.5 must be None, or the first exponent"),
        ({"reward_annealing": (0.0, 0.5)}, r"reward_annealing\[0\]=0\.0 must be"),
        ({"reward_annealing": (0.5, 0)}, r"reward_annealing\[1\]=0 must be"),
        ({"reward_annealing": (0.5, 1.0)}, r"reward_annealing\[1\]=1\.0 must be"),
        (
            {"reward_annealing": (0.5, 0.5), "planning_simulations": 4},
            r"reward_annealing=\(0\.5, 0\.5\) does not go with planning_simulations=4",
        ),
    ],
)
def test_bad_arguments_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(SoftDQN, **kwargs)
