"""The metrics of papers, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_evaluation import DAGS, each_dag, random_policy

from dags import Words
from gfn_gym.dag import Floats, States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import (
    EmpiricalDistribution,
    elbo,
    eubo,
    pearson,
    perfect_sampler_floor,
    sample,
    solve,
    spearman,
    target_distribution,
    top_k,
    uniform_policy,
)
from gfn_gym.graph import enumerate_graph


def test_correlations_by_hand() -> None:
    a, b = [1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    assert pearson(a, b) == pytest.approx(3 / np.sqrt(2 * 5))
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
    assert spearman(a, b) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert spearman([1, 10, 100], [-1, -2, -3]) == pytest.approx(-1.0)
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)


def test_correlations_agree_with_numpy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 100))
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    ranks_a, ranks_b = np.argsort(np.argsort(a)), np.argsort(np.argsort(b))
    assert spearman(a, b) == pytest.approx(np.corrcoef(ranks_a, ranks_b)[0, 1])


def test_correlations_that_are_not_defined_are_nan() -> None:
    assert np.isnan(pearson([1, 1], [1, 2]))
    assert np.isnan(spearman([1, 2], [3, 3]))
    assert np.isnan(pearson([1, 2, -np.inf], [1, 2, 3]))
    assert spearman([1, 2, -np.inf], [1, 2, 0]) == pytest.approx(1.0)


@pytest.mark.parametrize("correlation", [pearson, spearman])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1, 2, 3], r"not \(2,\) and \(3,\)"),
        ([1], [1], "n at least 2"),
        ([1, 2], [1, np.nan], r"b\[1\] is NaN"),
    ],
)
def test_correlations_refuse(correlation: Any, a: Any, b: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correlation(a, b)


@each_dag
def test_elbo_and_eubo_enclose_log_z(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    log_z, generator = graph.log_partition(), np.random.default_rng(0)
    chosen = generator.choice(graph.objects, size=5000, p=target_distribution(graph))
    for policy in (random_policy(graph), uniform_policy(graph.dag)):
        assert elbo(sample(graph.dag, policy, 5000)) < log_z - 0.01
        assert eubo(graph.dag, policy, graph.states[chosen]) > log_z + 0.01
    perfect = solve(graph).policy
    assert elbo(sample(graph.dag, perfect, 100)) == pytest.approx(log_z)
    assert eubo(graph.dag, perfect, graph.states[chosen[:100]]) == pytest.approx(log_z)


def test_top_k_are_distinct() -> None:
    states = np.array([[1, 0], [2, 2], [1, 0], [0, 3], [2, 2]])
    best, log_reward = top_k(states, [5.0, 9.0, 5.0, 7.0, 9.0], k=2)
    assert best.tolist() == [[2, 2], [0, 3]]
    assert log_reward.tolist() == [9.0, 7.0]
    assert len(top_k(states, np.zeros(5), k=10)[0]) == 3
    with pytest.raises(ValueError, match="k=0 must be an integer of at least 1"):
        top_k(states, np.zeros(5), k=0)
    with pytest.raises(ValueError, match=r"not \(5, 2\) and \(4,\)"):
        top_k(states, np.zeros(4), k=1)


# ---- the empirical distance -----------------------------------------------------------------


def flat(states: States) -> Floats:
    return np.zeros(len(states))


def test_empirical_distances_by_hand() -> None:
    empirical = EmpiricalDistribution(Hypergrid(ndim=2, height=2, reward=flat), window=4)
    empirical.add(np.array([[0, 0]]))
    assert len(empirical) == 1
    assert empirical.l1_sum() == pytest.approx(1.5)
    empirical.add(np.array([[1, 1], [1, 1], [1, 0], [1, 1]]))  # pushes (0, 0) out
    # p̂ = ¾ at (1, 1), ¼ at (1, 0); the target is ¼ everywhere.
    assert len(empirical) == 4
    assert empirical.l1_sum() == pytest.approx(1.0)
    assert empirical.l1_mean() == pytest.approx(0.25)
    assert empirical.total_variation() == pytest.approx(0.5)


def test_the_window_keeps_the_last_states_however_they_come() -> None:
    graph = enumerate_graph(Hypergrid(ndim=2, height=4))
    states = graph.states[np.random.default_rng(0).integers(16, size=50)]
    expected = EmpiricalDistribution(graph, window=7)
    expected.add(states[-7:])
    for size in (1, 3, 7, 8, 50):
        empirical = EmpiricalDistribution(graph, window=7)
        for start in range(0, 50, size):
            empirical.add(states[start : start + size])
        assert empirical.probabilities().tolist() == expected.probabilities().tolist()
        assert empirical.states().tolist() == states[-7:].tolist()
    assert EmpiricalDistribution(graph, window=7).states().shape == (0, 2)


def test_empirical_distribution_refuses() -> None:
    with pytest.raises(ValueError, match="window=0 must be an integer of at least 1"):
        EmpiricalDistribution(Words(length=1), window=0)
    empirical = EmpiricalDistribution(Words(length=1), window=5)
    with pytest.raises(ValueError, match="no states were added yet"):
        empirical.l1_mean()
    with pytest.raises(ValueError, match=r"shape \(n, 1\), not \(2,\)"):
        empirical.add(np.array([1, 2]))
    empirical.add(np.array([[1], [2]]))
    with pytest.raises(ValueError, match=r"\[2\] is not a finished object"):
        empirical.l1_mean()
    empirical.add(np.full((5, 1), 9))
    with pytest.raises(ValueError, match=r"\[9\] is not a state"):
        empirical.l1_mean()


@pytest.mark.parametrize(("reward", "floor"), [("standard", 0.224), ("hard", 0.179)])
def test_floor_of_perfect_samplers_on_the_papers_grid(reward: str, floor: float) -> None:
    found = perfect_sampler_floor(Hypergrid(reward=reward))
    assert found["l1_sum"] == pytest.approx(floor, abs=0.004)
    assert found["l1_mean"] == pytest.approx(found["l1_sum"] / 20**4)
    assert found["total_variation"] == pytest.approx(found["l1_sum"] / 2)
