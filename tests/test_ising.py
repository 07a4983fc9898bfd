"""The Ising model: energies by hand, exact answers, both orders, pictures, bad input."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import pytest

import gfn_gym  # noqa: F401
from gfn_gym.envs import ising_exact
from gfn_gym.envs.ising import Ising, torus
from gfn_gym.evaluation import solve, target_distribution, terminal_distribution, total_variation
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import sample_legal_actions

LOG_Z = {  # at Jβ = 0.4, no field; L = 2 counts the bonds that wrap round twice
    2: 4.113274011058828,
    3: 8.456456373638876,
    4: 14.561093023844043,
    6: 32.05729491268314,
    9: 71.51272316377012,
    10: 88.18770061551595,
}


def slow_energy(dag: Ising, state: Any) -> float:
    """Bond by bond on the torus; spins that are not set take no part."""
    side, spin = dag.L, {0: -1, 1: 1, 2: 0}
    assert side is not None
    at = lambda r, c: spin[int(state[(r % side) * side + c % side])]  # noqa: E731
    energy = 0.0
    for row, column in product(range(side), repeat=2):
        here = at(row, column)
        energy -= dag.J * here * (at(row + 1, column) + at(row, column + 1))
        energy -= dag.field[row * side + column] * here
    return energy


@pytest.mark.parametrize("side", [2, 3, 5])
def test_energy_is_a_sum_over_bonds(side: int) -> None:
    generator = np.random.default_rng(side)
    dag = Ising(side, J=-0.7, beta=0.3, field=generator.normal(size=side**2))
    for states in (
        generator.integers(0, 2, size=(20, side**2)).astype(np.int8),
        generator.integers(0, 3, size=(20, side**2)).astype(np.int8),
    ):
        expected = [slow_energy(dag, state) for state in states]
        assert dag.energy(states) == pytest.approx(expected, abs=1e-12)
        assert dag.log_reward(states) == pytest.approx(-0.3 * np.array(expected), abs=1e-12)
        assert np.array_equal(dag.potential(states), dag.log_reward(states))
        up, down = (states == 1).sum(axis=1), (states == 0).sum(axis=1)
        assert np.array_equal(dag.magnetisation(states), up - down)
    assert dag.potential(dag.initial_states(2)).tolist() == [0, 0]


def test_a_coupling_matrix_says_the_same_as_the_torus() -> None:
    plain, matrix = Ising(3, J=0.5, beta=0.7), Ising(couplings=torus(3), J=0.5, beta=0.7)
    states = np.random.default_rng(0).integers(0, 3, size=(30, 9)).astype(np.int8)
    assert plain.log_reward(states) == pytest.approx(matrix.log_reward(states))
    assert plain.log_partition() == pytest.approx(matrix.log_partition(), abs=1e-12)
    triangle = Ising(couplings=[[0, 1, 2], [1, 0, -3], [2, -3, 0]], field=[0.1, 0.2, 0.3])
    assert triangle.energy(np.array([[1, 0, 1]]))[0] == pytest.approx(1 - 2 - 3 - 0.1 + 0.2 - 0.3)


@pytest.mark.parametrize("side", LOG_Z)
def test_log_z_by_the_transfer_matrix(side: int) -> None:
    assert Ising(side).log_partition() == pytest.approx(LOG_Z[side], abs=1e-11)
    assert Ising(side, J=2.0, beta=0.2).log_partition() == pytest.approx(LOG_Z[side], abs=1e-11)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_transfer_matrix_agrees_with_enumeration_in_any_field(side: int) -> None:
    field = np.random.default_rng(1).normal(size=side**2)
    dag = Ising(side, J=-0.6, beta=1.3, field=field)
    energies, _ = ising_exact.all_energies(dag)
    expected = np.logaddexp.reduce(-dag.beta * energies)
    assert dag.log_partition() == pytest.approx(expected, abs=1e-10)


def test_log_z_at_the_ends_of_temperature() -> None:
    assert Ising(9, beta=0.0).log_partition() == pytest.approx(81 * math.log(2))
    cold = 2 * 100 * 50.0 + math.log(2)  # all up or all down: 200 bonds at L = 10
    assert Ising(10, beta=50.0).log_partition() == pytest.approx(cold, rel=1e-12)


@pytest.mark.parametrize("beta", [60.0, 300.0, 1e4])
@pytest.mark.parametrize("J", [1.0, -1.0])
def test_log_z_of_strong_couplings(beta: float, J: float) -> None:
    dag = Ising(3, J=J, beta=beta, field=np.linspace(-1, 2, 9))  # frustrated where J < 0
    expected = np.logaddexp.reduce(-beta * ising_exact.all_energies(dag)[0])
    assert dag.log_partition() == pytest.approx(expected, rel=1e-12)


def test_log_z_is_unknown_where_neither_applies() -> None:
    assert Ising(13).log_partition() is None
    assert Ising(couplings=np.zeros((21, 21))).log_partition() is None
    assert Ising(couplings=np.zeros((20, 20))).log_partition() == pytest.approx(20 * math.log(2))
    for function in (ising_exact.mean_energy, ising_exact.energy_distribution):
        with pytest.raises(ValueError, match="at most 20 spins, or a torus of at most L = 12"):
            function(Ising(13))
    with pytest.raises(ValueError, match="need no field"):
        ising_exact.energy_distribution(Ising(5, field=0.1))
    with pytest.raises(ValueError, match="too many configurations"):
        ising_exact.all_energies(Ising(5))


@pytest.mark.parametrize("arguments", [{"L": 3}, {"L": 4}, {"L": 3, "J": -1.0, "beta": 0.8}])
def test_distributions_by_the_transfer_matrix_agree_with_enumeration(
    arguments: Any, monkeypatch: Any
) -> None:
    dag = Ising(**arguments)
    functions = (ising_exact.energy_distribution, ising_exact.magnetisation_distribution)
    enumerated = [function(dag) for function in functions]
    mean = ising_exact.mean_energy(dag)
    monkeypatch.setattr(ising_exact, "LARGEST_ENUMERATED", 0)
    assert ising_exact.mean_energy(dag) == pytest.approx(mean, abs=1e-9)
    for function, (values, probabilities) in zip(functions, enumerated, strict=True):
        by_matrix = dict(zip(*function(dag), strict=True))
        assert sum(by_matrix.values()) == pytest.approx(1)
        assert (np.diff(list(by_matrix)) > 0).all()
        assert set(values) <= set(by_matrix)
        exact = dict(zip(values, probabilities, strict=True))
        for value, probability in by_matrix.items():
            assert probability == pytest.approx(exact.get(value, 0.0), abs=1e-12)
    values, probabilities = enumerated[0]
    assert values @ probabilities == pytest.approx(mean)


def test_magnetisation_in_a_field(monkeypatch: Any) -> None:
    dag = Ising(3, field=0.4)
    values, exact = ising_exact.magnetisation_distribution(dag)
    mean = ising_exact.mean_energy(dag)
    monkeypatch.setattr(ising_exact, "LARGEST_ENUMERATED", 0)
    assert ising_exact.magnetisation_distribution(dag)[0].tolist() == values.tolist()
    assert ising_exact.magnetisation_distribution(dag)[1] == pytest.approx(exact, abs=1e-12)
    assert ising_exact.mean_energy(dag) == pytest.approx(mean, abs=1e-9)
    assert values @ exact > 0


def test_the_floor_of_a_histogram_is_what_perfect_samples_reach() -> None:
    exact = ising_exact.energy_distribution(Ising(4))
    values, probabilities = exact
    generator = np.random.default_rng(0)
    distances = [
        ising_exact.histogram_distance(exact, generator.choice(values, size=200, p=probabilities))
        for _ in range(500)
    ]
    error = np.std(distances) / math.sqrt(len(distances))
    assert np.mean(distances) == pytest.approx(
        ising_exact.sampling_floor(exact, 200), abs=4 * error
    )
    assert error < 0.001
    # Of one sample: 1 − Σ p².
    one = ising_exact.sampling_floor(exact, 1)
    assert one == pytest.approx(1 - (probabilities**2).sum(), abs=1e-12)
    far = ising_exact.histogram_distance(exact, np.full(10, values[0]))
    assert far == pytest.approx(1 - probabilities[0])
    with pytest.raises(ValueError, match=r"samples holds 1\.5, which has no place"):
        ising_exact.histogram_distance(exact, np.array([1.5]))
    with pytest.raises(ValueError, match="at least one"):
        ising_exact.histogram_distance(exact, np.array([]))
    with pytest.raises(ValueError, match="n=0"):
        ising_exact.sampling_floor(exact, 0)


@pytest.mark.parametrize("order", ["any", "raster"])
def test_the_optimal_policy_samples_the_boltzmann_distribution(order: str) -> None:
    graph = enumerate_graph(Ising(3, order=order))
    assert len(graph.states) == (3**9 if order == "any" else 2**10 - 1)
    sampled = terminal_distribution(graph, solve(graph).policy)
    assert total_variation(sampled, target_distribution(graph)) < 1e-10


def test_raster_order_is_a_tree() -> None:
    dag = Ising(3, order="raster")
    states, generator = dag.initial_states(8), np.random.default_rng(0)
    for site in range(9):
        mask = dag.action_mask(states)
        assert np.array_equal(np.flatnonzero(mask.any(axis=0)), [2 * site, 2 * site + 1])
        assert dag.backward_mask(states).sum() == (8 if site else 0)
        actions = sample_legal_actions(mask, generator)
        nexts, done = dag.step(states, actions)
        assert np.array_equal(
            dag.backward_step(nexts, dag.backward_action(states, actions)), states
        )
        assert done.all() == (site == 8)
        states = nexts
    assert not dag.action_mask(states).any()


def test_defaults_and_the_single_environment() -> None:
    env = gymnasium.make("IsingGFN-v0")
    _, info = env.reset(seed=0)
    dag: Any = env.unwrapped.dag  # type: ignore[attr-defined]
    assert (dag.L, dag.J, dag.beta, dag.order, dag.n_spins) == (9, 1.0, 0.4, "any", 81)
    total, steps, ended = 0.0, 0, False
    generator = np.random.default_rng(0)
    while not ended:
        action = int(sample_legal_actions(info["action_mask"][None], generator)[0])
        _, reward, ended, truncated, info = env.step(action)
        total, steps = total + float(reward), steps + 1
        assert not truncated
    assert steps == 81
    last = dag.log_reward(env.unwrapped.state[None])[0]  # type: ignore[attr-defined]
    assert total == pytest.approx(last - math.lgamma(82))  # log P_B: 1/81! in all


def test_pictures() -> None:
    dag = Ising(3)
    walk = [dag.initial_states(1)]
    for action in (2 * 4 + 1, 2 * 0 + 0):
        walk.append(dag.step(walk[-1], np.array([action]))[0])
    states = np.concatenate(walk)
    assert dag.render(states, "ansi").splitlines() == [
        "[-] ·  ·",
        " ·  +  ·",
        " ·  ·  ·",
        "energy 0",
    ]
    picture = dag.render(states, "rgb_array")
    assert picture.shape == (300, 300, 3) and picture.dtype == np.uint8
    assert picture[150, 150].tolist() == [245, 222, 120]  # up
    assert picture[50, 50].tolist() == [68, 90, 140]  # down
    assert picture[250, 250].tolist() == [225, 225, 225]  # not set
    assert picture[2, 50].tolist() == [214, 60, 60]  # the newest
    odd = Ising(couplings=np.zeros((5, 5)))
    assert odd.render(odd.initial_states(1), "rgb_array").shape == (200, 300, 3)
    with pytest.raises(ValueError, match="render mode"):
        dag.render(states, "human")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"L": 1}, ValueError, "L=1 must be an integer of at least 2"),
        ({"L": 2.5}, ValueError, "L=2.5"),
        ({"J": math.nan}, ValueError, "J=nan"),
        ({"beta": -0.1}, ValueError, "beta=-0.1 must be a finite number of at least 0"),
        ({"beta": math.inf}, ValueError, "beta=inf"),
        ({"order": "spiral"}, ValueError, "order='spiral' must be 'any' or 'raster'"),
        ({"field": [0.1, 0.2]}, ValueError, r"field has shape \(2,\); .*\(81,\)"),
        ({"field": math.nan}, ValueError, "field holds nan"),
        ({"field": "strong"}, TypeError, "field='strong' must hold numbers"),
        ({"couplings": [[0, 1], [2, 0]]}, ValueError, r"symmetric, but \[0, 1\] is 1.0 .* 2.0"),
        ({"couplings": [[1, 0], [0, 0]]}, ValueError, "zeros on its diagonal"),
        ({"couplings": [0, 1]}, ValueError, "square"),
        ({"couplings": 1.0}, ValueError, "square"),
        ({"couplings": [[0, math.inf], [math.inf, 0]]}, ValueError, "couplings holds inf"),
        ({"couplings": [[0, 1], [1, 0]], "L": 3}, ValueError, "L=3 has no meaning"),
        ({"field": "0.5"}, TypeError, "field='0.5' must hold numbers"),
        ({"field": True}, TypeError, "field=True must hold numbers"),
        ({"field": None}, TypeError, "field=None must hold numbers"),
        ({"couplings": [["0", "1"], ["1", "0"]]}, TypeError, "must hold numbers"),
        ({"couplings": [[0, 1], [1, 0, 2]]}, TypeError, "must hold numbers"),
        ({"beta": 1e308}, ValueError, "beta=1e.308 makes log R as large as inf"),
        ({"couplings": [[0, 1e308], [1e308, 0]], "J": 10.0}, ValueError, "as large as inf"),
    ],
)
def test_bad_input_is_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Ising(**arguments)
