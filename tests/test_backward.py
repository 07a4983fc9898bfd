"""Backward policies: log P_B of edges by hand, by networks, and as the MDP knows it."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch as th

from dags import DAGS, Piles, Words
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import SoftDQN, targets
from gfn_gym.agents.architectures import MLP, Architecture, Transformer
from gfn_gym.agents.backward import (
    BackwardEdges,
    NetworkBackwardPolicy,
    backward_edges,
    log_backward,
)
from gfn_gym.agents.networks import BackwardNetwork
from gfn_gym.agents.policy import GFNPolicy, Roles
from gfn_gym.dag import Actions, Floats, States
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.graph import enumerate_graph
from tables import Table

log, inf = math.log, math.inf
ALL_DAGS: dict[str, DAG] = {**DAGS, "grid": Hypergrid(2, 4)}


def all_edges(dag: DAG) -> tuple[States, Actions, BackwardEdges]:
    """Every edge of a DAG, stops included."""
    graph = enumerate_graph(dag)
    rows, actions = np.nonzero(dag.action_mask(graph.states))
    states = graph.states[rows]
    return states, actions, backward_edges(dag, states, actions, dag.step(states, actions)[0])


def mlp(dag: DAG) -> BackwardNetwork:
    th.manual_seed(0)
    return BackwardNetwork(MLP(dag, [16]))


def uniform(dag: DAG) -> BackwardNetwork:
    """A table of zeros: uniform over the legal backward actions."""
    return BackwardNetwork(Table(dag))


# ---- by hand --------------------------------------------------------------------------------


def test_log_backward_of_edges_by_hand() -> None:
    log_p = th.tensor([[log(1 / 2), log(1 / 3), log(1 / 6)]] * 3 + [[-inf, log(1), -inf]])
    group = th.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=th.bool)
    n_parallel = th.tensor([1.0, 2.0, 1.0, 3.0])
    found = targets.log_backward_of_edges(log_p, group, n_parallel)
    # One way; (1/2 + 1/6) shared by two actions; a stop; the only way, by three actions.
    np.testing.assert_allclose(found, [log(1 / 2), log(1 / 3), 0.0, log(1 / 3)], rtol=1e-6)


def test_gradients_pass_by_stops_and_illegal_actions() -> None:
    logits = th.tensor([[0.0, 0.0, -inf], [0.0, 0.0, 0.0]], requires_grad=True)
    group = th.tensor([[1, 0, 0], [0, 0, 0]], dtype=th.bool)
    log_p = targets.log_policy(logits)
    targets.log_backward_of_edges(log_p, group, th.ones(2)).sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]])


def test_piles_by_hand() -> None:
    """(1, 0, 0) → (1, 1, 0): two actions, the coin on either empty pile, and two ways back."""
    dag = Piles()
    states, nexts = np.array([[1, 0, 0], [1, 0, 0]]), np.array([[1, 1, 0], [1, 0, 0]])
    edges = backward_edges(dag, states, np.array([1, 3]), nexts)  # the second one stops
    assert edges.rows.tolist() == [0] and edges.n == 2
    assert edges.mask.tolist() == edges.group.tolist() == [[True, True, False]]
    assert edges.n_parallel.tolist() == [2.0]
    for network in (uniform(dag), mlp(dag)):  # whatever p_B, each of the two has one half
        np.testing.assert_allclose(log_backward(network, edges).detach(), [log(1 / 2), 0.0])


# ---- against the decision process -----------------------------------------------------------


@pytest.mark.parametrize("name", ALL_DAGS)
def test_uniform_is_the_decision_processes_own(name: str) -> None:
    dag = ALL_DAGS[name]
    states, actions, edges = all_edges(dag)
    found = log_backward(uniform(dag), edges)
    np.testing.assert_allclose(found, MDP(dag).log_backward(states, actions), atol=1e-6)


@pytest.mark.parametrize("name", ALL_DAGS)
def test_a_network_and_its_adapter_tell_the_same(name: str) -> None:
    dag = ALL_DAGS[name]
    states, actions, edges = all_edges(dag)
    network = mlp(dag)
    found = log_backward(network, edges)
    adapted = MDP(dag, NetworkBackwardPolicy(network, dag)).log_backward(states, actions)
    np.testing.assert_allclose(found.detach(), adapted, atol=1e-5)
    found.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ALL_DAGS)
def test_adapter_gives_log_probabilities_everywhere(name: str) -> None:
    dag = ALL_DAGS[name]
    states = enumerate_graph(dag).states
    log_p = NetworkBackwardPolicy(mlp(dag), dag)(states)
    mask = dag.backward_mask(states)
    assert log_p.dtype == np.float64 and log_p.shape == mask.shape
    assert (np.isfinite(log_p) == mask).all() and not mask[0].any()
    np.testing.assert_allclose(np.exp(log_p[1:]).sum(axis=1), 1.0, atol=1e-6)


def test_only_stops_are_no_edges_at_all() -> None:
    dag = Hypergrid(2, 4)
    states = dag.initial_states(3)  # where the backward mask is empty
    edges = backward_edges(dag, states, np.full(3, 2), states)
    network = mlp(dag)
    found = log_backward(network, edges)
    assert found.tolist() == [0.0] * 3
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


# ---- how a policy makes it ------------------------------------------------------------------


def make_policy(architecture: type[Architecture], dag: DAG, **kwargs: Any) -> GFNPolicy:
    """A policy with a backward network."""
    env = GFNEnv(dag)
    return GFNPolicy(
        env.observation_space, env.action_space, lambda _: 0.0, dag=dag, architecture=architecture,
        roles=Roles(backward=True), architecture_kwargs=kwargs,
    )  # fmt: skip


def test_a_policy_makes_the_network_that_suits_it() -> None:
    env, dag = GFNEnv(Hypergrid(2, 4)), Hypergrid(3, 4)
    assert SoftDQN("MlpPolicy", env).policy.backward_net is None
    network = make_policy(MLP, dag, net_arch=[8], activation_fn=th.nn.Tanh).backward_net
    assert isinstance(network.architecture, MLP) and network.head.weight.shape == (3, 8)
    assert isinstance(network.architecture.layers[1], th.nn.Tanh)
    bits = BitSequence(16, 4)
    network = make_policy(Transformer, bits, width=16, heads=2, layers=1).backward_net
    assert isinstance(network.architecture, Transformer) and network.head.in_features == 16


def test_an_architecture_of_the_users_gives_it_as_well() -> None:
    network = make_policy(Table, Words()).backward_net
    assert isinstance(network.architecture, Table) and network.head.table.shape[1] == 3


def test_transformer_reads_a_positions_logit_from_its_own_token() -> None:
    """Without positions' encodings, equal words have equal logits wherever they stand."""
    th.manual_seed(0)
    dag = BitSequence(16, 4)
    transformer = Transformer(dag, width=16, heads=2, layers=2, dropout=0.0)
    transformer.encoding.zero_()
    network = BackwardNetwork(transformer)
    states = th.tensor([[3, 7, 3, 16], [7, 3, 16, 3]])
    logits = network(states, states < 16)
    assert logits.shape == (2, 4) and logits[0, 3] == logits[1, 2] == -inf
    np.testing.assert_allclose(logits[0, 0].item(), logits[0, 2].item(), rtol=1e-5)
    np.testing.assert_allclose(logits[1, [1, 0]].tolist(), logits[0, [0, 1]].tolist(), rtol=1e-5)
    assert abs(logits[0, 0].item() - logits[0, 1].item()) > 1e-3


def test_transformer_wants_one_backward_action_a_position() -> None:
    class Twice(Words):
        def __init__(self) -> None:
            super().__init__()
            self.n_backward_actions *= 2

    with pytest.raises(TypeError, match=r"one backward action per position; .*has 6 for 3"):
        BackwardNetwork(Transformer(Twice()))


@pytest.mark.parametrize("architecture", [MLP, Transformer])
def test_training_mode_reaches_it_and_the_adapter_leaves_it(architecture: Any) -> None:
    dag = BitSequence(8, 2)
    policy = make_policy(architecture, dag)
    network = policy.backward_net
    assert network is not None
    policy.set_training_mode(True)
    adapter = NetworkBackwardPolicy(network, dag)
    states = enumerate_graph(dag).states[:50]
    first: Floats = adapter(states)
    assert network.training and (first == adapter(states)).all()  # without dropout
    policy.set_training_mode(False)
    assert not network.training


def test_it_is_saved_with_the_policy_and_pickled_with_the_adapter(tmp_path: Any) -> None:
    dag = Hypergrid(2, 4)
    policy = make_policy(MLP, dag, net_arch=[8])
    policy.save(tmp_path / "policy")
    loaded: Any = GFNPolicy.load(tmp_path / "policy")
    states = enumerate_graph(dag).states
    assert policy.backward_net is not None
    adapter = NetworkBackwardPolicy(policy.backward_net, dag)
    for other in (
        NetworkBackwardPolicy(loaded.backward_net, dag),
        pickle.loads(pickle.dumps(adapter)),
    ):
        assert (other(states) == adapter(states)).all()
