"""Flow matching: in-edges, the error by hand and at the flows, and learning."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch as th

from batches import batch_of
from dags import DAGS, Piles
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import FlowMatching, as_policy, targets
from gfn_gym.edges import in_edges
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, solve
from gfn_gym.graph import enumerate_graph
from tables import Table, fill_with_flows, table_of

log = math.log


def all_transitions(dag: DAG) -> Any:
    states = enumerate_graph(dag).states
    rows, actions = np.nonzero(dag.action_mask(states))
    return batch_of(dag, states[rows], actions)


# ---- in-edges -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAGS)
def test_in_edges_are_the_edges_of_the_graph(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    rows, parents, actions = in_edges(DAGS[name], graph.states)
    columns = (rows, graph.index_of(parents), actions)
    found = Counter(zip(*(column.tolist() for column in columns), strict=True))
    columns = (graph.children, graph.parents, graph.actions)
    assert found == Counter(zip(*(column.tolist() for column in columns), strict=True))


def test_parallel_in_edges_by_hand() -> None:
    # Two coins on one pile: from one coin there, and the pile is the only one of its height. Two
    # piles of one coin: from one pile, by either of the two empty piles.
    rows, parents, actions = in_edges(Piles(), np.array([[2, 0, 0], [1, 1, 0]]))
    edges = np.column_stack([parents, rows, actions]).tolist()
    assert sorted(edges) == [[1, 0, 0, 0, 0], [1, 0, 0, 1, 1], [1, 0, 0, 1, 2]]


# ---- the error ------------------------------------------------------------------------------


def test_log_sum_by_row() -> None:
    values = th.tensor([0.0, log(2), log(5), log(3)], requires_grad=True)
    total = targets.log_sum_by_row(values, th.tensor([2, 0, 1, 0]), 3)
    np.testing.assert_allclose(total.detach(), [log(5), log(5), 0], atol=1e-6)
    total[0].backward()
    assert values.grad is not None
    np.testing.assert_allclose(values.grad, [0.0, 0.4, 0.0, 0.6], atol=1e-6)


def test_epsilon_is_a_flow_besides() -> None:
    log_in, log_out = th.tensor([log(2.0), -50.0]), th.tensor([log(5.0), -80.0])
    plain = targets.flow_matching_error(log_in, log_out)
    np.testing.assert_allclose(plain, [log(2 / 5), 30.0], rtol=1e-6)
    error = targets.flow_matching_error(log_in, log_out, 1.0)
    np.testing.assert_allclose(error, [log(3 / 6), 0.0], atol=1e-6)


def test_error_on_the_grid_by_hand() -> None:
    """Every edge has F = 1, 2, 3 by its action x+1, y+1, stop."""
    model = FlowMatching(
        "MlpPolicy", GFNEnv(Hypergrid(2, 3)), n_envs=1, policy_kwargs={"net_arch": [6]}
    )
    with th.no_grad():
        for p in model.q_net.parameters():
            p.zero_()
        model.q_net.head.bias.copy_(th.tensor([0.0, log(2), log(3)]))
    dag = model.dag
    states = np.array([[0, 0], [1, 0], [1, 1], [2, 1]], dtype=np.int32)
    batch = batch_of(dag, states, np.array([0, 1, 0, 2]))
    log_r = dag.log_reward(states[3:])[0]
    # Into (1,0): 1; out of it: 6. Into (1,1): 1 + 2; out: 6. Into (2,1): 1 from the left and 2
    # from below; out: 2 + 3, for x+1 is illegal. The stop: 3 against R.
    expected = [log(1 / 6), log(3 / 6), log(3 / 5), log(3) - log_r]
    error = model._td_error(batch)
    np.testing.assert_allclose(error.detach(), expected, rtol=1e-5)
    # ∂(log in − log out) of the third: in ∝ (1, 2, 0), out ∝ (−, 2, 3).
    error[2].backward()
    gradient = model.q_net.head.bias.grad
    np.testing.assert_allclose(gradient, [1 / 3, 2 / 3 - 2 / 5, -3 / 5], rtol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("name", DAGS)
def test_flows_leave_no_error(name: str, epsilon: float) -> None:
    dag = DAGS[name]
    model = FlowMatching(Table, GFNEnv(dag), n_envs=1, flow_epsilon=epsilon)
    fill_with_flows(model.q_net, solve(dag))
    batch = all_transitions(dag)
    assert model._td_error(batch).abs().max() < 1e-6
    table_of(model.q_net)[:, 0] += 0.3
    assert model._td_error(batch).abs().max() > 0.1


def test_the_backward_policy_of_the_environment_plays_no_part() -> None:
    """The flows under any P_B satisfy flow matching, whatever P_B the environment has."""
    dag = Hypergrid(2, 4)

    def skewed(states: Any) -> Any:
        weights = np.where(states > 0, [1.0, 5.0], 0.0)
        with np.errstate(divide="ignore"):
            return np.log(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0))

    model = FlowMatching(Table, GFNEnv(dag), n_envs=1)
    uniform, other = solve(dag), solve(dag, skewed)
    assert np.abs(uniform.edge_log_flow - other.edge_log_flow).max() > 0.5
    for solution in (uniform, other):
        fill_with_flows(model.q_net, solution)
        assert model._td_error(all_transitions(dag)).abs().max() < 1e-6


@pytest.mark.parametrize("name", DAGS)
def test_gradients_are_finite_where_objects_are_complete(name: str) -> None:
    dag = DAGS[name]
    model = FlowMatching("MlpPolicy", GFNEnv(dag), n_envs=1, policy_kwargs={"net_arch": [8]})
    batch = all_transitions(dag)
    assert batch.dones.any()
    model._loss(batch)[0].backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.q_net.parameters())


# ---- arguments, learning --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["double", "n_step", "tau", "planning_simulations"])
def test_arguments_of_a_target_network_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        FlowMatching("MlpPolicy", GFNEnv(Hypergrid(2, 3)), **{name: 1})


@pytest.mark.parametrize("name", ["learnt_backward", "backward_learning_rate", "backward_tau"])
def test_arguments_of_a_backward_policy_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        FlowMatching("MlpPolicy", GFNEnv(Hypergrid(2, 3)), **{name: 1})


@pytest.mark.parametrize("value", [-1e-6, math.inf, math.nan])
def test_an_impossible_epsilon_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=r"flow_epsilon=.* must be a finite number of at least 0"):
        FlowMatching("MlpPolicy", GFNEnv(Hypergrid(2, 3)), flow_epsilon=value)


def test_learns_the_hypergrid() -> None:
    dag = Hypergrid(2, 8)
    model = FlowMatching(
        "MlpPolicy", GFNEnv(dag), preset="paper", learning_rate=3e-3, train_freq=(4, "episode"),
        policy_kwargs={"net_arch": [64, 64]}, seed=0,
    ).learn(20_000)  # fmt: skip
    found = evaluate_exact(dag, as_policy(model))
    assert found["total_variation"] < 0.05
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)


def test_learns_a_dag_with_parallel_edges_and_no_stop() -> None:
    dag = Piles(4, 4, total=8)
    model = FlowMatching(
        "MlpPolicy", GFNEnv(dag), learning_rate=5e-3, batch_size=64, learning_starts=200,
        train_freq=1, exploration_initial_eps=0.5, policy_kwargs={"net_arch": [64]}, seed=0,
    ).learn(4_000)  # fmt: skip
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < 0.05
