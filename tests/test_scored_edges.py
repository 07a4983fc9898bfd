"""ScoredEdgesPolicy: what it knows before training, and that it learns the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th

from gfn_gym import GFNEnv
from gfn_gym.agents import SoftDQN, as_policy
from gfn_gym.agents.architectures import ScoredEdges
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact

DATA = erdos_renyi_data(5, seed=1)[0]
DAGS = {
    "bge": BayesianNetwork(DATA),
    "bic": BayesianNetwork(DATA, score="bic"),
    "few parents": BayesianNetwork(DATA, max_parents=2),
    "constraints": BayesianNetwork(DATA, required=[(0, 1)], forbidden=[(2, 3)]),
}


def states_of(dag: BayesianNetwork, n: int = 40) -> Any:
    """Graphs of up to four more edges than at the start, int8 (n, d²)."""
    rng = np.random.default_rng(0)
    states = dag.initial_states(n)
    for _ in range(4):
        mask = dag.action_mask(states)
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in mask])
        states = dag.step(states, actions)[0]
    return states


def model_of(dag: BayesianNetwork, **kwargs: Any) -> SoftDQN:
    env = GFNEnv(dag, potential="dag")
    return SoftDQN("ScoredEdgesPolicy", env, seed=0, device="cpu", n_envs=32, **kwargs)


@pytest.mark.parametrize("name", DAGS)
def test_before_training_edges_are_drawn_by_what_they_add_to_the_score(name: str) -> None:
    dag = DAGS[name]
    states = states_of(dag)
    assert len(np.unique(states, axis=0)) > 20
    log_probs, mask = model_of(dag).policy.log_probs(states), dag.action_mask(states)
    rows, actions = np.nonzero(mask)
    gains = np.full(mask.shape, -np.inf)
    gains[rows, actions] = dag.potential(dag.step(states[rows], actions)[0])
    expected = gains - np.logaddexp.reduce(gains, axis=1, keepdims=True)
    assert np.abs(log_probs[mask] - expected[mask]).max() < 1e-3
    assert expected[mask].min() < -5


def test_it_reads_what_edges_add() -> None:
    dag = DAGS["bge"]
    network = ScoredEdges(dag, [8])
    states = th.as_tensor(states_of(dag)).long()
    before = network.encode(states).hidden
    with th.no_grad():
        network.of_gains.weight.zero_()
    assert not th.allclose(before, network.encode(states).hidden)


def test_it_learns() -> None:
    dag = BayesianNetwork(erdos_renyi_data(4)[0])
    model = SoftDQN(
        "auto", GFNEnv(dag, potential="dag"), preset="fast", seed=0, device="cpu", n_envs=32,
        policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    assert isinstance(model.policy.online.architecture, ScoredEdges)
    before = evaluate_exact(dag, as_policy(model))["total_variation"]
    model.learn(total_trajectories=12_000)
    after = evaluate_exact(dag, as_policy(model))
    assert after["total_variation"] < min(0.05, before / 3)
    assert abs(after["log_z_error"]) < 0.1


def test_it_reads_bayesian_networks_of_known_scores_only() -> None:
    with pytest.raises(TypeError, match="ScoredEdgesPolicy reads Bayesian networks, but Hypergrid"):
        SoftDQN("ScoredEdgesPolicy", GFNEnv(Hypergrid(2, 4)))
    many = BayesianNetwork(erdos_renyi_data(18)[0])
    with pytest.raises(ValueError, match="too many to be computed up front: set max_parents"):
        ScoredEdges(many)
    assert SoftDQN("auto", GFNEnv(many)).policy_class is not None  # an MLP there
    with pytest.raises(ValueError, match="must list the hidden widths"):
        model_of(DAGS["bge"], policy_kwargs={"net_arch": []})
