"""Scores of graphs: slow formulas, a library's values, and equivalent graphs."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network import scores as scores_module
from gfn_gym.envs.bayesian_network.exact import enumerate_graphs
from gfn_gym.envs.bayesian_network.scores import BDeu, BGe, GaussianBIC, LocalScores

I = np.arange(40)  # noqa: E741
REAL = np.stack(
    [
        np.sin(3.1 * I),
        np.cos(1.7 * I * I),
        np.sin(3.1 * I) + 0.5 * np.sin(0.37 * I * I),
        np.cos(5.3 * I) - np.cos(1.7 * I * I) + 0.3 * np.sin(I),
    ],
    axis=1,
)
BIT = (I * I // 3) % 2
DISCRETE = np.stack(
    [BIT, (I * 7 // 5) % 3, (BIT + (I // 4) % 2) % 3, (I * 11 // 7 + I % 2) % 4], axis=1
)
DATA = {"bge": REAL, "bic": REAL, "bde": DISCRETE}
FAMILIES = [(0, ()), (2, (0,)), (3, (1,)), (3, (0, 1, 2)), (1, (0, 3))]

# Of BICGauss and BDeu (equivalent_sample_size=10) of pgmpy 1.1.2, on the data above.
LIBRARY = {
    "bic": [
        -47.182094786094716,
        -15.1795547852826,
        -53.60240700422252,
        -56.80575132669503,
        -39.45580853576763,
    ],
    "bde": [
        -28.550565330734653,
        -35.85301772137535,
        -62.382823592441355,
        -75.51618720358645,
        -54.13183762363476,
    ],
}


def log_gamma(k: int, a: float) -> float:
    """The multivariate gamma function Γ_k(a), by its definition."""
    return k * (k - 1) / 4 * math.log(math.pi) + sum(math.lgamma(a - i / 2) for i in range(k))


def slow_bge(
    data: Any, columns: tuple[int, ...], alpha_mu: float = 1.0, alpha_w: float | None = None
) -> float:
    """log p(columns | complete graph): Kuipers, Moffa and Heckerman 2014, equation 4."""
    n, d = data.shape
    k = len(columns)
    alpha_w = d + alpha_mu + 1 if alpha_w is None else alpha_w
    t = alpha_mu * (alpha_w - d - 1) / (alpha_mu + 1)
    x = data[:, list(columns)]
    mean = x.mean(axis=0)
    r = t * np.eye(k) + alpha_mu * n / (alpha_mu + n) * np.outer(mean, mean)
    for row in x:
        r = r + np.outer(row - mean, row - mean)
    a = alpha_w - d + k
    return (
        k / 2 * math.log(alpha_mu / (n + alpha_mu))
        - k * n / 2 * math.log(math.pi)
        + log_gamma(k, (n + a) / 2)
        - log_gamma(k, a / 2)
        + a / 2 * k * math.log(t)
        - (n + a) / 2 * math.log(np.linalg.det(r) if k else 1.0)
    )


def slow_bic(data: Any, node: int, parents: tuple[int, ...]) -> float:
    """The log-likelihood of a regression, less half of log N a parameter."""
    n = len(data)
    design = np.column_stack([np.ones(n), *(data[:, p] for p in parents)])
    weights = np.linalg.lstsq(design, data[:, node], rcond=None)[0]
    variance = float(np.mean((data[:, node] - design @ weights) ** 2))
    fit = sum(
        -0.5 * math.log(2 * math.pi * variance) - (y - row @ weights) ** 2 / (2 * variance)
        for y, row in zip(data[:, node], design, strict=True)
    )
    return float(fit - 0.5 * math.log(n) * (len(parents) + 2))


def slow_bde(data: Any, node: int, parents: tuple[int, ...], size: float = 10.0) -> float:
    """Heckerman, Geiger and Chickering 1995, equation 28, with uniform α over all cells."""
    levels = [sorted(set(column)) for column in data.T.tolist()]
    combinations_of_parents = list(product(*(levels[p] for p in parents)))
    q, r = len(combinations_of_parents), len(levels[node])
    total = 0.0
    for combination in combinations_of_parents:
        rows = [row for row in data.tolist() if tuple(row[p] for p in parents) == combination]
        total += math.lgamma(size / q) - math.lgamma(size / q + len(rows))
        for level in levels[node]:
            count = sum(row[node] == level for row in rows)
            total += math.lgamma(size / (q * r) + count) - math.lgamma(size / (q * r))
    return total


def slow(score: str, data: Any, node: int, parents: tuple[int, ...]) -> float:
    if score == "bge":
        return slow_bge(data, (*parents, node)) - slow_bge(data, parents)
    return (slow_bic if score == "bic" else slow_bde)(data, node, parents)


def local(dag: BayesianNetwork, node: int, parents: tuple[int, ...]) -> float:
    return float(dag.local_scores.local(np.array(node), np.array(sum(1 << p for p in parents))))


@pytest.mark.parametrize("score", DATA)
def test_every_local_score_agrees_with_the_slow_formula(score: str) -> None:
    data = DATA[score]
    dag = BayesianNetwork(data, score)
    for node in range(4):
        others = [i for i in range(4) if i != node]
        for k in range(4):
            for parents in combinations(others, k):
                assert local(dag, node, parents) == pytest.approx(
                    slow(score, data, node, parents), abs=1e-8
                )


def test_bge_with_other_settings() -> None:
    dag = BayesianNetwork(REAL, alpha_mu=0.3, alpha_w=9.5)
    for node, parents in FAMILIES:
        expected = slow_bge(REAL, (*parents, node), 0.3, 9.5) - slow_bge(REAL, parents, 0.3, 9.5)
        assert local(dag, node, parents) == pytest.approx(expected, abs=1e-8)


def test_bde_with_another_sample_size() -> None:
    dag = BayesianNetwork(DISCRETE, "bde", equivalent_sample_size=0.7)
    for node, parents in FAMILIES:
        expected = slow_bde(DISCRETE, node, parents, 0.7)
        assert local(dag, node, parents) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("score", LIBRARY)
def test_scores_are_those_of_a_library(score: str) -> None:
    dag = BayesianNetwork(DATA[score], score)
    ours = [local(dag, node, parents) for node, parents in FAMILIES]
    assert ours == pytest.approx(LIBRARY[score], abs=1e-8)


def test_bge_of_one_column_is_a_t_distribution() -> None:
    """Without parents BGe is the marginal likelihood of a normal with unknown mean and variance."""
    x = REAL[:, 0]
    dag = BayesianNetwork(REAL)
    mu, kappa, a, b = 0.0, 1.0, (dag.d + 2 - dag.d + 1) / 2, 0.25  # normal–inverse gamma
    total = 0.0
    for value in x:  # one predictive Student t after the other
        scale = b * (kappa + 1) / (a * kappa)
        nu = 2 * a
        total += (
            math.lgamma((nu + 1) / 2)
            - math.lgamma(nu / 2)
            - 0.5 * math.log(nu * math.pi * scale)
            - (nu + 1) / 2 * math.log1p((value - mu) ** 2 / (nu * scale))
        )
        b += kappa * (value - mu) ** 2 / (2 * (kappa + 1))
        mu, kappa, a = (kappa * mu + value) / (kappa + 1), kappa + 1, a + 0.5
    assert local(dag, 0, ()) == pytest.approx(total, abs=1e-8)


def equivalence_class(graph: Any) -> tuple[Any, ...]:
    """Skeleton and v-structures, which tell a class (Verma and Pearl 1990)."""
    d = len(graph)
    skeleton = graph | graph.T
    colliders = [
        (i, k, j)
        for i, j in combinations(range(d), 2)
        for k in range(d)
        if graph[i, k] and graph[j, k] and not skeleton[i, j]
    ]
    return (skeleton.tobytes(), tuple(colliders))


@pytest.mark.parametrize("score", DATA)
def test_equivalent_graphs_score_the_same_and_others_do_not(score: str) -> None:
    dag = BayesianNetwork(DATA[score], score)
    states = enumerate_graphs(dag)
    classes: dict[Any, list[float]] = {}
    values = dag.log_reward(states)
    for graph, value in zip(dag.adjacency(states), values.tolist(), strict=True):
        classes.setdefault(equivalence_class(graph), []).append(value)
    assert len(classes) == 185  # of 543 graphs, sequence A007984
    assert max(np.ptp(members) for members in classes.values()) < 1e-9
    assert len(np.unique(np.round(values, 6))) > 180


@pytest.mark.parametrize("dense", [True, False])
def test_workers_fill_the_table_up_front(dense: bool, monkeypatch: Any) -> None:
    here = BayesianNetwork(REAL)
    monkeypatch.setattr(scores_module, "UP_FRONT", 8)  # of 16 sets
    monkeypatch.setattr(scores_module, "AT_ONCE", 160)  # so that a part has four sets
    if not dense:
        monkeypatch.setattr(scores_module, "DENSE", 3)
    there = BayesianNetwork(REAL, workers=2)
    assert there.local_scores.filled == 16
    everything = np.arange(16)
    assert np.array_equal(there.local_scores(everything), here.local_scores(everything))
    assert BayesianNetwork(REAL).local_scores.filled < 16  # without workers, when asked for
    assert "workers" not in (there.arguments() or {})
    monkeypatch.setattr(scores_module, "MOST", 15)
    with pytest.raises(ValueError, match="workers=2: 16 sets of columns are too many"):
        BayesianNetwork(REAL, workers=2)


@pytest.mark.parametrize("score", DATA)
def test_tables_filled_on_demand_hold_the_same(score: str, monkeypatch: Any) -> None:
    full = BayesianNetwork(DATA[score], score)
    states = enumerate_graphs(full)
    monkeypatch.setattr(scores_module, "UP_FRONT", 0)
    on_demand = BayesianNetwork(DATA[score], score)
    monkeypatch.setattr(scores_module, "DENSE", 0)
    monkeypatch.setattr(scores_module, "AT_ONCE", 3 * 40)
    by_dictionary = BayesianNetwork(DATA[score], score)
    assert on_demand.local_scores.filled < full.local_scores.filled == 16
    for dag in (on_demand, by_dictionary):
        assert dag.log_reward(states) == pytest.approx(full.log_reward(states), abs=1e-10)
        assert dag.local_scores.filled == 16


def test_a_set_is_computed_once() -> None:
    asked: list[int] = []

    class Counting(BGe):
        def __call__(self, sets: Any) -> Any:
            asked.extend(sum(1 << i for i in row) for row in sets.tolist())
            return super().__call__(sets)

    table = LocalScores(Counting(REAL, 1.0, 6.0), d=4, observations=40, largest=4)
    everything = np.arange(16)
    assert np.array_equal(table(everything), table(everything))
    assert sorted(asked) == list(range(1, 16))


def test_many_levels_do_not_overflow() -> None:
    """32¹³ = 2⁶⁵ combinations: in int64 those that differ by 16 in the first column would meet."""
    generator = np.random.default_rng(0)
    codes = generator.integers(32, size=(50, 13))
    codes[0] = 31
    codes[2:5] = codes[6]
    codes[2, 0], codes[3, 0], codes[4, 0], codes[6, 0] = 0, 16, 0, 1
    codes[1] = codes[0]
    assert (codes.max(axis=0) == 31).all()
    a = 5.0 / 32.0**13
    repeats = 2  # rows 0 and 1, rows 2 and 4
    expected = repeats * math.log(a + 1) + (50 - repeats) * math.log(a)
    expected -= sum(math.log(5.0 + i) for i in range(50))
    assert BDeu(codes, 5.0)(np.arange(13)[None])[0] == pytest.approx(expected, abs=1e-8)


def test_large_scales_lose_no_digits() -> None:
    """BIC shifts by log of the scale, whatever the scales are."""
    scales = np.array([1e-6, 1.0, 1e4, 1e8])
    plain, scaled = (GaussianBIC(data) for data in (REAL, REAL * scales))
    sets = np.array([[0, 1, 2, 3]])
    shift = -len(REAL) * np.log(scales).sum()
    assert scaled(sets) == pytest.approx(plain(sets) + shift, abs=1e-7)


def test_default_data_follow_their_graph() -> None:
    data, graph = erdos_renyi_data(5, observations=20_000, seed=3)
    assert data.shape == (20_000, 5) and graph.sum() > 0
    for node in range(5):
        parents = np.flatnonzero(graph[:, node])
        design = np.column_stack([data[:, parents], np.ones(len(data))])
        _, residual, *_ = np.linalg.lstsq(design, data[:, node], rcond=None)
        assert residual[0] / len(data) == pytest.approx(0.1, rel=0.05)
    again, same = erdos_renyi_data(5, observations=20_000, seed=3)
    assert np.array_equal(data, again) and np.array_equal(graph, same)
    counts = [erdos_renyi_data(11, observations=1, seed=seed)[1].sum() for seed in range(300)]
    assert np.mean(counts) == pytest.approx(11, abs=0.6)  # one edge a node
