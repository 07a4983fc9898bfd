"""Bayesian networks: masks, rewards, data, exact posteriors, pictures, bad input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from frames import Frame

import gfn_gym  # noqa: F401
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network import exact as exact_module
from gfn_gym.envs.bayesian_network.bits import acyclic, pack, unpack
from gfn_gym.envs.bayesian_network.exact import enumerate_graphs, posterior, sum_over_graphs
from gfn_gym.envs.bayesian_network.features import marginals
from gfn_gym.mdp import sample_legal_actions

DATA = {d: erdos_renyi_data(d, observations=50, noise=1.0, seed=1)[0] for d in (3, 4, 5, 20)}
CONSTRAINTS: dict[str, Any] = {
    "max_parents": 2,
    "forbidden": [(0, 1), ("X3", "X2")],
    "required": [(2, 1)],
}


def by_hand(graph: Any) -> Any:
    """[i, j]: a path of at least one edge leads from i to j, by walking."""
    d = len(graph)
    reach = np.zeros((d, d), dtype=bool)
    for start in range(d):
        stack = list(np.flatnonzero(graph[start]))
        while stack:
            node = stack.pop()
            if not reach[start, node]:
                reach[start, node] = True
                stack += list(np.flatnonzero(graph[node]))
    return reach


def random_graphs(dag: BayesianNetwork, n: int, steps: int, seed: int = 0) -> Any:
    """States after some random edges."""
    generator = np.random.default_rng(seed)
    states = dag.initial_states(n)
    for _ in range(steps):
        mask = dag.action_mask(states)
        mask[:, -1] &= ~mask[:, :-1].any(axis=1)  # stop only where nothing else is legal
        states, _ = dag.step(states, sample_legal_actions(mask, generator))
    return states


@pytest.mark.parametrize("d", [4, 5, 20])
@pytest.mark.parametrize("constraints", [{}, CONSTRAINTS], ids=["free", "constrained"])
def test_the_mask_allows_what_closes_no_cycle(d: int, constraints: Any) -> None:
    dag = BayesianNetwork(DATA[d], **constraints)
    for steps in (0, 3, 2 * d):
        states = random_graphs(dag, 20, steps)
        mask = dag.action_mask(states)
        assert mask[:, dag.stop_action].all()
        for graph, legal in zip(dag.adjacency(states), mask, strict=True):
            reach = by_hand(graph)
            assert not reach.diagonal().any()
            expected = ~graph & ~reach.T & ~np.eye(d, dtype=bool)
            if constraints:
                expected[0, 1] = expected[3, 2] = False
                expected &= graph.sum(axis=0) < 2
                assert graph[2, 1] and not graph[0, 1]
            assert np.array_equal(legal[:-1].reshape(d, d), expected)


@pytest.mark.parametrize(("d", "count"), [(3, 25), (4, 543), (5, 29281)])
def test_all_graphs_are_listed_once(d: int, count: int) -> None:
    dag = BayesianNetwork(DATA[d])
    states = enumerate_graphs(dag)
    assert len(states) == count == len(np.unique(states, axis=0))
    assert acyclic(dag.adjacency(states)).all()


def test_required_edges_stay() -> None:
    dag = BayesianNetwork(DATA[4], **CONSTRAINTS)
    states = random_graphs(dag, 10, 3)
    back = dag.backward_mask(states).reshape(-1, 4, 4)
    assert not back[:, 2, 1].any()
    assert np.array_equal(back.sum(axis=(1, 2)), states.sum(axis=1) - 1)
    assert dag.edges(dag.initial_states(1)[0]) == [("X2", "X1")]


@pytest.mark.parametrize("score", ["bge", "bic"])
def test_log_reward_is_relative_to_the_start(score: str) -> None:
    dag = BayesianNetwork(DATA[4], score, **CONSTRAINTS)
    assert dag.log_reward(dag.initial_states(3)) == pytest.approx(0, abs=1e-12)
    free = BayesianNetwork(DATA[4], score)
    assert free.initial_score != pytest.approx(dag.initial_score)
    states = enumerate_graphs(dag)
    absolute = [d.log_reward(states) + d.initial_score for d in (dag, free)]
    assert absolute[0] == pytest.approx(absolute[1], abs=1e-9)
    assert np.array_equal(dag.potential(states), dag.log_reward(states))


def test_a_prior_multiplies_the_posterior() -> None:
    def prior(graphs: Any) -> Any:
        assert graphs.dtype == bool and graphs.shape[1:] == (4, 4)
        return -0.5 * graphs.sum(axis=(1, 2)) - 3.0

    plain, weighted = BayesianNetwork(DATA[4]), BayesianNetwork(DATA[4], log_prior=prior)
    states, uniform = posterior(plain)
    expected = uniform * np.exp(-0.5 * states.sum(axis=1))
    assert posterior(weighted)[1] == pytest.approx(expected / expected.sum(), abs=1e-12)
    assert weighted.initial_score == pytest.approx(plain.initial_score - 3.0)
    before, after = plain.log_partition(), weighted.log_partition()
    assert before is not None
    assert after == pytest.approx(before + math.log(expected.sum()), abs=1e-9)


# ---- exact answers --------------------------------------------------------------------------


@pytest.mark.parametrize("d", [3, 4, 5])
@pytest.mark.parametrize("score", ["bge", "bic", "bde"])
@pytest.mark.parametrize("constraints", [{}, CONSTRAINTS], ids=["free", "constrained"])
def test_sums_over_graphs_agree_with_enumeration(d: int, score: str, constraints: Any) -> None:
    if d == 3 and constraints:
        constraints = {"max_parents": 1, "required": [(2, 1)]}
    data = np.round(DATA[d]) if score == "bde" else DATA[d]
    dag = BayesianNetwork(data, score, **constraints)
    states, probabilities = posterior(dag)
    sums = sum_over_graphs(dag)
    log_z = np.logaddexp.reduce(dag.log_reward(states))
    assert sums.log_partition == pytest.approx(log_z, abs=1e-9)
    assert dag.log_partition() == sums.log_partition
    expected = marginals(dag.adjacency(states), "edge", probabilities)
    assert sums.edges == pytest.approx(expected, abs=1e-10)
    assert expected.max() > 0.5 and (constraints or expected[~np.eye(d, dtype=bool)].min() > 0)


def test_sums_hold_where_the_graphs_that_count_are_rare() -> None:
    """Strong edges either way and much data: what is not acyclic would outweigh Z by far."""
    data, _ = erdos_renyi_data(4, observations=2000, edges_per_node=1.5, noise=0.01, seed=2)
    dag = BayesianNetwork(data)
    states, probabilities = posterior(dag)
    sums = sum_over_graphs(dag)
    assert sums.log_partition > 2000
    log_z = np.logaddexp.reduce(dag.log_reward(states))
    assert sums.log_partition == pytest.approx(log_z, rel=1e-12)
    expected = marginals(dag.adjacency(states), "edge", probabilities)
    assert sums.edges == pytest.approx(expected, abs=1e-9)


def test_sums_over_eleven_nodes_count_graphs() -> None:
    """With the reward taken out, Z is the number of graphs: Robinson's recursion."""
    d = 11
    dag = BayesianNetwork(erdos_renyi_data(d, observations=60)[0])
    dag.local_scores.local = lambda nodes, parents: np.zeros(len(nodes))  # type: ignore[method-assign]
    dag.initial_score = 0.0
    counts = [1]
    for n in range(1, d + 1):
        terms = (
            (-1) ** (k + 1) * math.comb(n, k) * 2 ** (k * (n - k)) * counts[n - k]
            for k in range(1, n + 1)
        )
        counts.append(sum(terms))
    assert counts[5] == 29281
    sums = sum_over_graphs(dag)
    assert sums.log_partition == pytest.approx(math.log(counts[d]), abs=1e-9)
    edges = sums.edges[~np.eye(d, dtype=bool)]
    assert edges == pytest.approx(np.full(d * (d - 1), edges[0]), abs=1e-8)


def test_features_are_those_found_by_walking() -> None:
    dag = BayesianNetwork(DATA[5])
    graphs = dag.adjacency(random_graphs(dag, 30, 5))
    for graph in graphs:
        one = graph[None]
        assert np.array_equal(marginals(one, "edge"), graph)
        assert np.array_equal(marginals(one, "path"), by_hand(graph))
        blankets = marginals(one, "markov_blanket")
        for i, j in permutations(range(5), 2):
            shared = any(graph[i, k] and graph[j, k] for k in range(5))
            assert blankets[i, j] == bool(graph[i, j] or graph[j, i] or shared)
        assert not blankets.diagonal().any()
    weights = np.arange(30.0) / np.arange(30).sum()
    expected = sum(w * by_hand(graph) for w, graph in zip(weights, graphs, strict=True))
    assert marginals(graphs, "path", weights) == pytest.approx(expected)
    assert marginals(graphs, lambda g: ~g)[0, 0] == pytest.approx(1.0)


def test_what_is_too_large_is_refused() -> None:
    large = BayesianNetwork(DATA[20], max_parents=2)
    assert large.log_partition() is None
    with pytest.raises(ValueError, match="at most 14 nodes"):
        sum_over_graphs(large)
    with pytest.raises(ValueError, match="at most 7 nodes"):
        enumerate_graphs(large)
    with pytest.raises(ValueError, match="more than max_graphs=100"):
        enumerate_graphs(BayesianNetwork(DATA[4]), max_graphs=100)
    prior = BayesianNetwork(DATA[4], log_prior=lambda graphs: np.zeros(len(graphs)))
    with pytest.raises(ValueError, match="uniform prior"):
        sum_over_graphs(prior)


def test_a_prior_beyond_enumeration_leaves_log_z_unknown(monkeypatch: Any) -> None:
    monkeypatch.setattr(exact_module, "LARGEST_ENUMERATED", 3)
    dag = BayesianNetwork(DATA[4], log_prior=lambda graphs: np.zeros(len(graphs)))
    assert dag.log_partition() is None


def test_lost_digits_are_noticed(monkeypatch: Any) -> None:
    right = exact_module._weights
    monkeypatch.setattr(exact_module, "_weights", lambda *a: right(*a) * (1 + 1e-5))
    with pytest.raises(FloatingPointError, match="rounding"):
        sum_over_graphs(BayesianNetwork(DATA[4]))


def test_bits_and_sets() -> None:
    generator = np.random.default_rng(0)
    for d in (1, 8, 9, 52):
        sets = generator.random((5, 3, d)) < 0.4
        bits = pack(sets)
        assert bits.dtype == np.int64
        assert bits.tolist() == [
            [sum(1 << i for i in np.flatnonzero(s).tolist()) for s in row] for row in sets
        ]
        assert np.array_equal(unpack(bits, d), sets)
    cycle = np.array([[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 1, 1], [0, 0, 1], [0, 0, 0]]], bool)
    assert acyclic(cycle).tolist() == [False, True]


# ---- data -----------------------------------------------------------------------------------


@dataclass
class PlainFrame:
    """A data frame that has nothing but names and numbers, as polars' have no ``iloc``."""

    columns: list[str]
    data: Any

    def to_numpy(self) -> Any:
        return self.data


def test_array_frame_and_file_give_the_same(tmp_path: Path) -> None:
    data = DATA[3]
    frame = Frame(rain=data[:, 0], sun=data[:, 1], wind=data[:, 2])
    path = tmp_path / "data.csv"
    rows = ["rain, sun,wind", *(",".join(map(repr, row)) for row in data.tolist()), ""]
    path.write_text("\n".join(rows), encoding="utf-8")
    columns = {name: list(frame[:, i]) for i, name in enumerate(frame.columns)}
    plain = PlainFrame(frame.columns, data)
    dags = [BayesianNetwork(source) for source in (data, frame, plain, path, str(path), columns)]
    assert dags[0].names == ("X0", "X1", "X2")
    assert {dag.names for dag in dags[1:]} == {("rain", "sun", "wind")}
    states = enumerate_graphs(dags[0])
    values = [dag.log_reward(states) for dag in dags]
    assert all(np.array_equal(value, values[0]) for value in values)
    named = BayesianNetwork(path, required=[("rain", "sun")], forbidden=[("wind", 0)])
    assert named.edges(named.initial_states(1)[0]) == [("rain", "sun")]


def test_discrete_data_of_any_type(tmp_path: Path) -> None:
    numbers = np.array([[0, 0], [1, 2], [1, 0], [0, 1], [1, 2]])
    labels = [["no", "low"], ["yes", "very high"], ["yes", "low"], ["no", "mid"],
              ["yes", "very high"]]  # fmt: skip
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "\n".join(",".join(row) for row in labels), encoding="utf-8")
    first, second = (np.array(column, dtype=object) for column in zip(*labels, strict=True))
    sources: list[Any] = [
        numbers,
        numbers.astype(float) - 7.0,
        path,
        np.array(labels),
        Frame(a=first, b=second),
        Frame(a=numbers[:, 0] == 1, b=numbers[:, 1]),
    ]
    values = [BayesianNetwork(source, "bde").log_reward(np.array([[0, 1, 0, 0]], dtype=np.int8))
              for source in sources]  # fmt: skip
    assert all(value == pytest.approx(values[0], abs=1e-12) for value in values)


def test_by_default_there_are_five_nodes() -> None:
    env = gymnasium.make("BayesianNetworkGFN-v0")
    dag: Any = env.unwrapped.dag  # type: ignore[attr-defined]
    assert (dag.d, dag.n_actions) == (5, 26)
    states = random_graphs(dag, 4, 3)
    assert np.array_equal(dag.states_of(dag.observe(states)), states)
    assert dag.observe(states).dtype == np.float32
    assert np.array_equal(dag.states_of_graphs(dag.adjacency(states)), states)


# ---- pictures -------------------------------------------------------------------------------


def test_pictures() -> None:
    dag = BayesianNetwork(DATA[4], required=[(2, 1)])
    states = dag.initial_states(1)
    walk = np.concatenate([states, dag.step(states, np.array([0 * 4 + 3]))[0]])
    text = dag.render(walk, "ansi")
    assert text.splitlines()[:4] == ["X0", "X1 <- X2", "X2", "X3 <- +X0"]
    assert "2 edges, log R = " in text
    first, second = dag.render(walk[:1], "rgb_array"), dag.render(walk, "rgb_array")
    assert first.shape == second.shape == (420, 420, 3) and first.dtype == np.uint8
    red = (second == (214, 60, 60)).all(axis=2)
    assert red.sum() > 150 and not (first == (214, 60, 60)).all(axis=2).any()
    rows, columns = np.nonzero(red)  # node 0 is at the top, node 3 on the left
    assert rows.min() < 80 and columns.min() < 80
    assert (first == (33, 145, 140)).all(axis=2).sum() > 150
    many = BayesianNetwork(DATA[20], max_parents=2)
    assert many.render(many.initial_states(1), "rgb_array").shape == (420, 420, 3)
    with pytest.raises(ValueError, match="render mode"):
        dag.render(walk, "human")


# ---- bad input ------------------------------------------------------------------------------


class Unknown:
    """As pandas' NA is, of which no comparison is true or false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self) -> str:
        return "<NA>"


GOOD = DATA[3]
TWENTY = np.random.default_rng(0).normal(size=(50, 20))
HOLE = np.where(np.arange(150).reshape(50, 3) == 7, np.nan, GOOD)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"data": [[1, 2]]}, TypeError, "array .*DataFrame or the path"),
    ({"data": GOOD[0]}, ValueError, r"shape \(3,\)"),
    ({"data": GOOD[:, :1]}, ValueError, "1 columns"),
    ({"data": np.zeros((5, 53))}, ValueError, "53 columns.*to 52"),
    ({"data": GOOD[:0]}, ValueError, "no rows"),
    ({"data": {"a": [1.0, 2.0], "b": [1.0]}}, ValueError, r"shapes \[\(1,\), \(2,\)\]; they must"),
    ({"data": {"a": 1.0, "b": 2.0}}, ValueError, r"shapes \[\(\)\]; they must be"),
    ({"data": {"1": [1.0, 2.0], 1: [2.0, 1.0]}}, ValueError, "must be distinct as strings"),
    ({"data": {}}, ValueError, "0 columns"),
    ({"data": HOLE}, ValueError, "nan in column 'X1', row 2, must be a finite number"),
    ({"data": HOLE, "score": "bde"}, ValueError, "column 'X0', row 0, must be a whole number"),
    ({"data": np.array([["a", "1"], ["b", "2"]])}, ValueError, "'X0' must hold numbers.*bde"),
    ({"data": Frame(a=GOOD[:, 0], b=GOOD[:, 1] * np.inf)}, ValueError, "inf in column 'b'"),
    (
        {"data": Frame(a=np.array(["2020-01-01"], dtype="datetime64[D]"), b=np.ones(1))},
        ValueError,
        r"'a' must hold numbers .* they are datetime64",
    ),
    (
        {"data": Frame(a=np.array(["x", None], dtype=object), b=np.arange(2)), "score": "bde"},
        ValueError,
        "None in column 'a', row 1, is missing",
    ),
    ({"data": GOOD, "score": "aic"}, ValueError, r"score='aic' must be 'bge', 'bic' or 'bde'"),
    ({"score": "bde"}, ValueError, "must be a whole number"),
    ({"data": GOOD, "max_parents": 0}, ValueError, "max_parents=0"),
    ({"data": GOOD, "workers": -1}, ValueError, "workers=-1 must be an integer of at least 0"),
    ({"data": GOOD, "alpha_mu": 0.0}, ValueError, "alpha_mu=0.0"),
    ({"data": GOOD, "alpha_w": 4.0}, ValueError, r"alpha_w=4\.0 must be a finite number above 4"),
    ({"data": GOOD, "equivalent_sample_size": -1}, ValueError, "equivalent_sample_size=-1"),
    ({"data": GOOD, "required": [(0, 1), (1, 2), (2, 0)]}, ValueError, "required=.* has a cycle"),
    ({"data": GOOD, "required": [(0, 1)], "forbidden": [("X0", 1)]}, ValueError, "also forbidden"),
    ({"data": GOOD, "required": [(0, 2), (1, 2)], "max_parents": 1}, ValueError, "2 parents"),
    ({"data": GOOD, "required": [(0, 3)]}, ValueError, "3 is not a column; columns are"),
    ({"data": GOOD, "forbidden": [("rain", 0)]}, ValueError, "'rain' is not a column"),
    ({"data": GOOD, "forbidden": [(1, 1)]}, ValueError, "from a node to itself"),
    ({"data": GOOD, "forbidden": [(1,)]}, ValueError, "not a pair"),
    ({"data": GOOD, "forbidden": ["01"]}, ValueError, "not a pair"),
    ({"data": GOOD, "forbidden": 3}, TypeError, "list of pairs"),
    ({"data": GOOD, "log_prior": "uniform"}, TypeError, "log_prior='uniform' must be a function"),
    (
        {"data": Frame(a=np.array(["x", Unknown()], dtype=object), b=np.arange(2)), "score": "bde"},
        ValueError,
        "<NA> in column 'a', row 1, is missing",
    ),
    # 20 columns have too many sets to score all of them up front.
    ({"data": TWENTY[:, [*range(20), 3]], "score": "bic"}, ValueError, "'X3', 'X20'. determine"),
    (
        {"data": np.column_stack([TWENTY, TWENTY.sum(axis=1)]), "score": "bic"},
        ValueError,
        "determine one another",
    ),
    ({"data": GOOD, "log_prior": lambda graphs: graphs}, ValueError, "log_prior returned shape"),
    ({"data": GOOD, "log_prior": lambda g: np.full(len(g), -np.inf)}, ValueError, "log_prior"),
    # BIC alone is infinite where a regression leaves no residual.
    ({"data": GOOD * [1, 0, 1], "score": "bic"}, ValueError, r"columns \['X1'\] are constant"),
    ({"data": GOOD[:3], "score": "bic"}, ValueError, "3 observations; .* at least 4 .*2 parents"),
    (
        {"data": np.column_stack([GOOD, GOOD[:, 0] + GOOD[:, 1]]), "score": "bic"},
        ValueError,
        "determine one another",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input_is_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BayesianNetwork(**arguments)


def test_bge_takes_what_bic_cannot() -> None:
    for data in (GOOD * [1, 0, 1], GOOD[:1], np.column_stack([GOOD, GOOD[:, 0] + GOOD[:, 1]])):
        dag = BayesianNetwork(data)
        assert np.isfinite(dag.log_reward(enumerate_graphs(dag))).all()
    BayesianNetwork(GOOD[:4], "bic")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "a row of names and at least one of values"),
        ("1,2\n3,4\n", "first row .* must name the columns"),
        ("a,b\n1,2\n3\n", "row 2 has 1 cells, not 2"),
        ("a,a\n1,2\n", "distinct"),
        ("a,\n1,2\n", "not empty"),
        ("a,b\n1,2\n,3\n", "nan in column 'a', row 1"),
        ("a,b\n1,x\n2,3\n", "column 'b' must hold numbers"),
        ("a,b\n1,2\n3,NA\n", "nan in column 'b', row 1, must be a finite number"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        BayesianNetwork(path)


def test_missing_labels_are_not_a_level(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\nyes,low\nno,NA\n", encoding="utf-8")
    with pytest.raises(ValueError, match="data: '' in column 'b', row 1, is missing"):
        BayesianNetwork(path, "bde")


def test_files_in_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"data='.*data\.csv' must be a text file in UTF-8"):
        BayesianNetwork(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        BayesianNetwork("nowhere.csv")


def test_graphs_that_cannot_be_built_are_refused() -> None:
    dag = BayesianNetwork(GOOD, required=[(0, 1)])
    good = np.zeros((2, 3, 3))
    good[:, 0, 1] = 1
    assert np.array_equal(dag.states_of_graphs(good), dag.initial_states(2))
    cycle = good.copy()
    cycle[1, 1, 2] = cycle[1, 2, 0] = 1
    for bad in (cycle, good * 0):
        with pytest.raises(ValueError, match=r"graphs\[\d\] has a cycle"):
            dag.states_of_graphs(bad)
    with pytest.raises(ValueError, match="shape"):
        dag.states_of_graphs(good[:, :2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 1}, "nodes=1"),
        ({"observations": 0}, "observations=0"),
        ({"edges_per_node": 3.0}, r"edges_per_node=3.0 must be at most .* = 2.0"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_simulations_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        erdos_renyi_data(**arguments)


def test_bad_features_are_refused() -> None:
    graphs = np.zeros((2, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match="feature='loop' must be one of"):
        marginals(graphs, "loop")
    with pytest.raises(ValueError, match="weights has shape"):
        marginals(graphs, "edge", np.ones(3))
    with pytest.raises(ValueError, match="at least one graph"):
        marginals(graphs[:0])
