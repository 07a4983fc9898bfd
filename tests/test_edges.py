"""Edges as values, the edges around given ones, ragged ranges, and methods in the old style."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from dags import DAGS, Piles, Strides
from gfn_gym import DAG, MDP, check_dag
from gfn_gym.dag import Actions, Floats, Mask, States
from gfn_gym.edges import Edges, in_edges, parallel_edges
from gfn_gym.evaluation import solve
from gfn_gym.graph import enumerate_graph
from gfn_gym.ragged import ragged_ranges

each_dag = pytest.mark.parametrize("name", DAGS)


def counted(*columns: Any) -> Counter[tuple[int, ...]]:
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


def test_ragged_ranges_by_hand() -> None:
    rows, positions = ragged_ranges(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert rows.tolist() == [0, 0, 2, 2, 2]
    assert positions.tolist() == [5, 6, 9, 10, 11]
    rows, positions = ragged_ranges(np.zeros(0, int), np.zeros(0, int))
    assert len(rows) == len(positions) == 0


def test_edges_are_cut_like_arrays() -> None:
    edges = Edges(np.arange(6).reshape(3, 2), np.array([7, 8, 9]), np.arange(6, 12).reshape(3, 2))
    assert len(edges) == 3
    for rows in (slice(1, 3), np.array([1, 2]), np.array([False, True, True])):
        assert edges[rows].states.tolist() == [[2, 3], [4, 5]]
        assert edges[rows].actions.tolist() == [8, 9]
        assert edges[rows].next_states.tolist() == [[8, 9], [10, 11]]
    dag = Strides()
    made = Edges.of(dag, dag.initial_states(2), np.array([0, 3]))
    assert made.next_states.tolist() == [[1, 0], [0, 2]]


# ---- around given ones ------------------------------------------------------------------------


@each_dag
def test_in_edges_are_the_edges_of_the_graph(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    rows, parents, actions = in_edges(DAGS[name], graph.states)
    found = counted(rows, graph.index_of(parents), actions)
    assert found == counted(graph.children, graph.parents, graph.actions)


def test_parallel_in_edges_by_hand() -> None:
    # Two coins on one pile: from one coin there, and the pile is the only one of its height. Two
    # piles of one coin: from one pile, by either of the two empty piles.
    rows, parents, actions = in_edges(Piles(), np.array([[2, 0, 0], [1, 1, 0]]))
    edges = np.column_stack([parents, rows, actions]).tolist()
    assert sorted(edges) == [[1, 0, 0, 0, 0], [1, 0, 0, 1, 1], [1, 0, 0, 1, 2]]


def test_s0_has_no_in_edges() -> None:
    rows, parents, actions = in_edges(Piles(), Piles().initial_states(2))
    assert rows.shape == actions.shape == (0,) and parents.shape == (0, 3)


@each_dag
def test_parallel_edges_are_those_of_the_graph(name: str) -> None:
    dag, graph = DAGS[name], enumerate_graph(DAGS[name])
    edges = graph.edges(slice(None))
    rows, found = parallel_edges(dag, edges)
    assert (found.states == edges.states[rows]).all()
    assert (found.next_states == edges.next_states[rows]).all()
    expected = [
        (edge, action)
        for edge, (parent, child) in enumerate(zip(graph.parents, graph.children, strict=True))
        for action in graph.actions[(graph.parents == parent) & (graph.children == child)]
    ]
    assert counted(rows, found.actions) == Counter(expected)


# ---- methods in the old style -------------------------------------------------------------------


def old_piles() -> type[Piles]:
    """Piles as they were written when the methods took states and actions."""
    with pytest.warns(DeprecationWarning) as warned:

        class OldPiles(Piles):
            def n_parallel(self, states: States, actions: Actions) -> Actions:  # type: ignore[override]
                return (states == self._height_at(states, actions)).sum(axis=1)

            def backward_group(self, states: States, actions: Actions) -> Mask:  # type: ignore[override]
                return self.step(states, actions)[0] == self._height_at(states, actions) + 1

            def log_uniform_backward(  # type: ignore[override]
                self, states: States, actions: Actions, next_states: States
            ) -> Floats:
                group = (next_states == self._height_at(states, actions) + 1).sum(axis=1)
                parallel = (states == self._height_at(states, actions)).sum(axis=1)
                return np.log(group / parallel / (next_states > 0).sum(axis=1))

    messages = [str(warning.message) for warning in warned]
    assert len(messages) == 3
    for name, message in zip(
        ("n_parallel", "backward_group", "log_uniform_backward"), messages, strict=True
    ):
        assert f"OldPiles.{name}(self, states" in message and "(self, edges)" in message
    assert all(warning.filename == __file__ for warning in warned)
    return OldPiles


def test_a_users_old_methods_go_on_working() -> None:
    old, new = old_piles()(), Piles()
    check_dag(old)
    graph = enumerate_graph(new)
    policy = MDP(new).backward_log_probs
    assert solve(old).log_z == pytest.approx(solve(new).log_z)
    for backward_policy in (None, policy):
        expected = graph.log_backward(backward_policy)
        np.testing.assert_allclose(enumerate_graph(old).log_backward(backward_policy), expected)


def test_old_calls_go_on_working() -> None:
    dag = Piles()
    edges = enumerate_graph(dag).edges(slice(None))
    for name, columns in (
        ("n_parallel", (edges.states, edges.actions)),
        ("backward_group", (edges.states, edges.actions)),
        ("log_uniform_backward", (edges.states, edges.actions, edges.next_states)),
    ):
        with pytest.warns(DeprecationWarning, match=rf"{name} takes Edges") as warned:
            found = getattr(dag, name)(*columns)
        assert warned[0].filename == __file__
        np.testing.assert_array_equal(found, getattr(dag, name)(edges))
    with pytest.warns(DeprecationWarning):
        found = dag.n_parallel(states=edges.states, actions=edges.actions)  # type: ignore[call-arg]
    np.testing.assert_array_equal(found, dag.n_parallel(edges=edges))


def test_an_old_method_may_call_its_parents() -> None:
    with pytest.warns(DeprecationWarning, match="should take"):

        class Twice(Piles):
            def n_parallel(self, states: States, actions: Actions) -> Actions:  # type: ignore[override]
                return 2 * super().n_parallel(states, actions)  # type: ignore[call-arg, arg-type]

    edges = enumerate_graph(Piles()).edges(slice(None))
    with pytest.warns(DeprecationWarning, match="n_parallel takes Edges"):
        found = Twice().n_parallel(edges)  # type: ignore[call-arg, arg-type]
    np.testing.assert_array_equal(found, 2 * Piles().n_parallel(edges))


def test_the_methods_of_a_subclass_may_be_the_defaults() -> None:
    class Default(Piles):
        n_parallel = DAG.n_parallel
        backward_group = DAG.backward_group

    assert Default().one_action_per_edge and not Piles().one_action_per_edge


def test_methods_are_told_apart_by_what_they_must_be_given() -> None:
    class Settings(Piles):
        def n_parallel(self, edges: Edges, *, factor: int = 2) -> Any:
            return factor * super().n_parallel(edges)

        def backward_group(self, *args: Any) -> Any:
            return super().backward_group(*args)

    class Old:
        def n_parallel(self, states: States, actions: Actions) -> Any:
            return np.full(len(states), 7)

    with pytest.warns(DeprecationWarning, match="should take"):

        class Mixed(Old, Piles):  # type: ignore[misc]
            pass

    edges = enumerate_graph(Piles()).edges(slice(None))
    expected = Piles().n_parallel(edges)
    np.testing.assert_array_equal(Settings().n_parallel(edges), 2 * expected)
    np.testing.assert_array_equal(Settings().backward_group(edges), Piles().backward_group(edges))
    assert (Mixed().n_parallel(edges) == 7).all()  # type: ignore[arg-type, call-arg]
