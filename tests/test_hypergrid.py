"""The hypergrid: its reward, log Z in closed form, huge grids, and bad input."""

import itertools
import math
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from gfn_gym import GFNVectorEnv
from gfn_gym.envs.hypergrid import REWARDS, Hypergrid, HypergridReward
from gfn_gym.mdp import MDP, sample_legal_actions


def cells(ndim, height):
    return np.array(list(itertools.product(range(height), repeat=ndim)))


# ---- reward ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REWARDS)
def test_reward_is_the_papers_formula(name):
    """In floats, at the paper's height, where no coordinate lies on the edge of a band."""
    r0, r1, r2 = {"standard": (1e-3, 0.5, 2.0), "hard": (1e-4, 1.0, 3.0)}[name]
    states = cells(2, 20)
    u = np.abs(states / 19 - 0.5)
    expected = r0 + r1 * (u > 0.25).all(axis=1) + r2 * ((u > 0.3) & (u < 0.4)).all(axis=1)
    log_reward = Hypergrid(2, 20, reward=name).log_reward(states)
    assert log_reward.dtype == np.float64
    assert np.exp(log_reward) == pytest.approx(expected, rel=1e-12)
    assert len(np.unique(expected)) == 3
    tripled = Hypergrid(2, 20, reward=name, reward_exponent=3.0).log_reward(states)
    assert tripled == pytest.approx(3.0 * log_reward)


@pytest.mark.parametrize("height", range(2, 40))
def test_reward_is_symmetric(height):
    log_reward = Hypergrid(1, height).log_reward(np.arange(height)[:, None])
    assert np.array_equal(log_reward, log_reward[::-1])
    if height > 2:
        assert log_reward[0] > log_reward[height // 2]


def test_exponent_of_a_users_function():
    states = cells(2, 3)
    grid = Hypergrid(2, 3, reward=lambda x: x.sum(axis=1), reward_exponent=2.5)
    assert grid.log_reward(states) == pytest.approx(2.5 * states.sum(axis=1))


def test_bounds_are_strict():
    # At H = 21, x = 5, 4 and 2 lie exactly on 0.25, 0.3 and 0.4; only 3 lies within the inner band.
    log_reward = Hypergrid(1, 21, SimpleNamespace(R0=1, R1=2, R2=4)).log_reward(
        np.arange(8)[:, None]
    )
    assert np.exp(log_reward) == pytest.approx([3, 3, 3, 7, 3, 1, 1, 1])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_any_layout_and_integer_type(order, dtype):
    grid = Hypergrid(3, 6)
    states = cells(3, 6)
    other = np.asarray(states.astype(dtype), order=order)
    assert np.array_equal(grid.log_reward(other), grid.log_reward(states))
    assert np.array_equal(grid.observe(other), grid.observe(states))
    assert np.array_equal(grid.states_of(grid.observe(other)), states)
    assert np.array_equal(grid.action_mask(other), grid.action_mask(states))
    assert np.array_equal(grid.backward_mask(other), grid.backward_mask(states))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(
    "reward", ["standard", "hard", HypergridReward(1.0, 0.0, 0.0), HypergridReward(1e-9, 7, 1e3)]
)
@pytest.mark.parametrize(
    ("ndim", "height"), [(1, 2), (1, 64), (2, 3), (2, 8), (2, 21), (3, 11), (4, 8), (5, 4)]
)
def test_log_partition(ndim, height, reward, exponent):
    grid = Hypergrid(ndim, height, reward, exponent)
    expected = np.logaddexp.reduce(grid.log_reward(cells(ndim, height)))
    assert grid.log_partition() == pytest.approx(expected, abs=1e-9)


def test_log_partition_of_a_users_function_is_unknown():
    assert Hypergrid(2, 4, reward=lambda x: 0.0 * x[:, 0]).log_partition() is None


# ---- dynamics -------------------------------------------------------------------------------


def test_steps_by_hand():
    grid = Hypergrid(2, 3)
    states = np.array([[0, 0], [2, 1], [2, 2]])
    assert grid.action_mask(states).tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]
    assert grid.backward_mask(states).tolist() == [[0, 0], [1, 1], [1, 1]]
    nexts, done = grid.step(states, np.array([0, 1, 2]))
    assert nexts.tolist() == [[1, 0], [2, 2], [2, 2]] and done.tolist() == [False, False, True]
    assert nexts.dtype == states.dtype
    assert grid.backward_step(states[1:], np.array([0, 1])).tolist() == [[1, 1], [2, 1]]
    rewards = MDP(grid).step(states, np.array([0, 1, 2])).rewards
    assert rewards == pytest.approx([0.0, math.log(1 / 2), math.log(0.501)])


@pytest.mark.parametrize(
    ("ndim", "height", "outer", "inner"),
    [(12, 10, 6, 2), (4, 1000, 500, 200), (2, 10**6, 500_000, 200_000)],
)
def test_grids_of_a_million_million_cells(ndim, height, outer, inner):
    grid = Hypergrid(ndim, height)
    env = GFNVectorEnv(grid, 3, observation="state", autoreset_mode="SameStep")
    _, infos = env.reset()
    generator = np.random.default_rng(0)
    for _ in range(20):
        _, rewards, _, _, infos = env.step(sample_legal_actions(infos["action_mask"], generator))
        assert np.isfinite(rewards).all()
    states = generator.integers(0, height, (2, ndim)).astype(np.int32)
    observations = grid.observe(states)
    assert observations.shape == (2, ndim * height)
    assert np.array_equal(grid.states_of(observations), states)
    assert np.isfinite(grid.log_reward(states)).all()
    a, b, all_cells = outer**ndim, inner**ndim, height**ndim
    z = (all_cells - a) * 1e-3 + (a - b) * 0.501 + b * 2.501
    assert grid.log_partition() == pytest.approx(math.log(z), abs=1e-9)


def test_huge_grids_are_not_drawn():
    grid = Hypergrid(2, 10**6)
    with pytest.raises(ValueError, match="height=1000000 is too large to draw; at most 128"):
        grid.render(grid.initial_states(1), "rgb_array")


# ---- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [0, -1, 2.0, "2", None, True, [2]])
def test_bad_ndim(ndim):
    with pytest.raises(ValueError, match=r"ndim=.* must be an integer of at least 1"):
        Hypergrid(ndim=ndim)


@pytest.mark.parametrize("height", [1, 0, -3, 8.0, "8", None, False, np.nan])
def test_bad_height(height):
    with pytest.raises(ValueError, match=r"height=.* must be an integer from 2 to 2147483647"):
        Hypergrid(height=height)


def test_numpy_integers_are_integers():
    grid = Hypergrid(np.int64(2), np.int32(5))
    assert (type(grid.ndim), type(grid.height)) == (int, int)


@pytest.mark.parametrize("name", ["", "easy", "Standard"])
def test_unknown_rewards(name):
    with pytest.raises(ValueError, match=f"reward='{name}' is unknown.*'hard', 'standard'.*R0"):
        Hypergrid(reward=name)
    with pytest.raises(ValueError, match=f"reward='{name}' is unknown"):
        gymnasium.make("HypergridGFN-v0", reward=name)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (SimpleNamespace(R0=1, R1=2), "missing: R2"),
        (SimpleNamespace(r0=1), "missing: R0, R1, R2"),
        (3.0, "missing: R0, R1, R2"),
        (None, "missing: R0, R1, R2"),
        ({"R0": 1, "R1": 2, "R2": 3}, "missing: R0, R1, R2"),
        (HypergridReward(0, 1, 2), "finite numbers R0 > 0"),
        (HypergridReward(-1, 1, 2), "finite numbers R0 > 0"),
        (HypergridReward(1, -1e-9, 2), "R1 >= 0"),
        (HypergridReward(1, 1, -2), "R2 >= 0"),
        (HypergridReward(math.nan, 1, 2), "finite"),
        (HypergridReward(1, math.inf, 2), "finite"),
        (HypergridReward(1, 2, math.nan), "finite"),
        (HypergridReward("a", 1, 2), "finite numbers"),  # type: ignore[arg-type]
        (HypergridReward(None, 1, 2), "finite numbers"),  # type: ignore[arg-type]
    ],
)
def test_bad_levels(reward, message):
    with pytest.raises(ValueError, match=message):
        Hypergrid(reward=reward)


@pytest.mark.parametrize("exponent", [0, -1.0, math.nan, math.inf, "2", None])
def test_bad_exponents(exponent):
    with pytest.raises(ValueError, match=r"reward_exponent=.* must be a finite number above 0"):
        Hypergrid(reward_exponent=exponent)


@pytest.mark.parametrize("axes", [(0, 0), (0, 4), (-1, 0), (0,), (0, 1, 2), 3, (0, 1.5), None])
def test_bad_render_axes(axes):
    with pytest.raises(ValueError, match=r"render_axes=.* must be two different coordinates"):
        Hypergrid(4, 3, render_axes=axes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda x: np.zeros((len(x), 1)), r"shape \(2, 1\) for states of shape \(2, 3\)"),
        (lambda x: np.zeros(x.shape), r"shape \(2, 3\) for states of shape \(2, 3\)"),
        (lambda x: 0.0, r"shape \(\) for states"),
        (lambda x: np.zeros(len(x) + 1), r"shape \(3,\) for states"),
        (lambda x: np.full(len(x), np.nan), r"nan at state \[0, 0, 0\]"),
        (lambda x: np.full(len(x), np.inf), r"inf at state \[0, 0, 0\]"),
        (lambda x: np.full(len(x), -np.inf), r"-inf at state \[0, 0, 0\]; log R must be finite"),
        (lambda x: None, r"shape \(\) for states"),
        (lambda x: ["a"] * len(x), "not real numbers"),
    ],
)
def test_bad_reward_functions_show_at_construction(values, message):
    with pytest.raises(ValueError, match=message):
        Hypergrid(3, 4, reward=values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bad_rewards_show_where_they_are_met(bad):
    def reward(states):
        return np.where((states == [1, 0]).all(axis=1), bad, 0.0)

    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=3, reward=reward)
    env.reset()
    env.step(0)
    with pytest.raises(ValueError, match=rf"{bad} at state \[1, 0\]"):
        env.step(2)
    batch = GFNVectorEnv(Hypergrid(2, 3, reward), 2)
    batch.reset()
    batch.step(np.array([1, 0]))
    with pytest.raises(ValueError, match=rf"{bad} at state \[1, 0\]"):
        batch.step(np.array([2, 2]))


def test_reward_functions_whose_shape_breaks_later():
    grid = Hypergrid(2, 3, reward=lambda states: np.zeros(2))  # right for the trial of two only
    env = GFNVectorEnv(grid, 3)
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2,\) for states of shape \(3, 2\)"):
        env.step(np.array([2, 2, 2]))


def test_reward_function_gets_coordinates_it_may_write_into():
    def reward(states):
        assert np.issubdtype(states.dtype, np.integer)
        states[:] = 0
        return np.zeros(len(states))

    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=3, reward=reward, observation="state")
    env.reset()
    env.step(0)
    assert env.step(2)[0].tolist() == [1, 0]


def test_repr():
    assert repr(Hypergrid(2, 3)) == "Hypergrid(ndim=2, height=3, reward='standard')"
    assert "custom" in repr(Hypergrid(2, 3, reward=lambda x: 0.0 * x[:, 0]))
