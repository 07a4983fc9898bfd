"""Tree search: by hand, exact in the limit, on every kind of DAG; as a policy, and in training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th

from batches import batch_of
from dags import DAGS, Piles
from gfn_gym import MDP, GFNEnv
from gfn_gym.agents import (
    MENTS,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    as_policy,
    targets,
)
from gfn_gym.agents.tree_search import search
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, sample, solve
from gfn_gym.graph import enumerate_graph

log, inf = math.log, math.inf


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def zeros(states: Any, mask: Any) -> Any:
    return np.where(mask, 0.0, -inf)


# ---- the search -----------------------------------------------------------------------------

FLAT = Hypergrid(2, 2, reward=lambda states: np.full(len(states), -2.0))


def test_one_simulation_looks_at_one_edge_by_hand() -> None:
    """From (1,1) only the stop is legal; in (1,0), with Q = 0, y+1 and the stop are."""
    roots = np.array([[1, 1], [1, 0]], dtype=np.int32)
    seen = set()
    for seed in range(20):
        q = search(MDP(FLAT), zeros, roots, 1, 0.0, seeded(seed))
        np.testing.assert_allclose(q[0], [-inf, -inf, -2.0])  # log R, exactly
        seen.add(tuple(np.round(q[1], 6)))
    # Either y+1, with r = −log 2 and V(1,1) = 0 by the estimate; or the stop.
    assert seen == {(-inf, round(-log(2), 6), 0.0), (-inf, 0.0, -2.0)}


def test_no_simulation_is_the_estimate() -> None:
    graph = enumerate_graph(FLAT)
    q = search(MDP(FLAT), zeros, graph.states, 0, 0.0, seeded())
    assert (q == zeros(None, FLAT.action_mask(graph.states))).all()


def nonterminal(dag: Any) -> Any:
    states = enumerate_graph(dag).states
    return states[dag.action_mask(states).any(axis=1)]


@pytest.mark.parametrize("name", DAGS)
def test_enough_simulations_find_the_flows_whatever_the_estimate(name: str) -> None:
    dag, solution = DAGS[name], solve(DAGS[name])
    states = nonterminal(dag)
    q = search(MDP(dag), zeros, states, 700, 1.0, seeded())
    expected = solution.policy(states) + solution.policy.log_flow(states)[:, None]
    np.testing.assert_allclose(q, expected, atol=1e-9)


@pytest.mark.parametrize("simulations", [1, 7])
@pytest.mark.parametrize("name", DAGS)
def test_flows_are_a_fixed_point(name: str, simulations: int) -> None:
    dag, policy = DAGS[name], solve(DAGS[name]).policy

    def flows(states: Any, mask: Any) -> Any:
        return policy(states) + policy.log_flow(states)[:, None]

    states = nonterminal(dag)
    q = search(MDP(dag), flows, states, simulations, 0.1, seeded())
    np.testing.assert_allclose(q, flows(states, None), atol=1e-9)


def test_a_state_reached_by_two_walks_is_one_node_whose_value_both_know() -> None:
    """(1,1) of the 2 × 2 grid, from (1,0) and from (0,1): five edges and stops with six ends."""
    calls: list[Any] = []

    def counted(states: Any, mask: Any) -> Any:
        calls.extend(map(tuple, states.tolist()))
        return zeros(states, mask)

    q = search(MDP(FLAT), counted, FLAT.initial_states(1), 500, 0.5, seeded())
    assert sorted(calls) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    # Four cells of R = e^−2, P_B(1,1) = ½ each way: F(x+1) = e^−2·(1 + ½).
    np.testing.assert_allclose(q, [[-2 + log(1.5), -2 + log(1.5), -2.0]])


def test_the_estimate_is_asked_once_a_simulation_for_all_roots() -> None:
    calls: list[Any] = []

    def counted(states: Any, mask: Any) -> Any:
        calls.append(len(states))
        return zeros(states, mask)

    search(MDP(Hypergrid(3, 8)), counted, Hypergrid(3, 8).initial_states(50), 10, 0.1, seeded())
    assert calls[0] == 50 and len(calls) <= 11 and max(calls) == 50


@pytest.mark.parametrize(("epsilon", "least", "most"), [(0.0, 0, 0), (10.0, 350, 650)])
def test_exploration_tries_what_the_estimate_rules_out(
    epsilon: float, least: int, most: int
) -> None:
    def only_stop(states: Any, mask: Any) -> Any:
        return np.where(mask, [-1e6, -1e6, 0.0], -inf)

    roots = np.repeat(FLAT.initial_states(1), 750, axis=0)
    q = search(MDP(FLAT), only_stop, roots, 1, epsilon, seeded())
    # What was looked at has a reward of its own: the stop −2, a step P_B = 1 and then V = 0.
    tried = (q[:, :2] > -1e5).any(axis=1).sum()
    assert least <= tried <= most  # two of three actions are steps, uniformly


@pytest.mark.parametrize("simulations", [1, 2, 3])
def test_the_chance_to_explore_falls_with_the_logarithm_of_the_visits(simulations: int) -> None:
    """The n-th walk from a root, discovered before, explores by ε·|A|/log(n + 1), |A| = 3.

    Else it stops, which is all that the estimate allows, and two of three explorers step.
    """

    def only_stop(states: Any, mask: Any) -> Any:
        return np.where(mask, [-1e6, -1e6, 0.0], -inf)

    n, epsilon = 4000, 0.1
    roots = np.repeat(FLAT.initial_states(1), n, axis=0)
    q = search(MDP(FLAT), only_stop, roots, simulations, epsilon, seeded())
    visits = np.arange(1, simulations + 1)
    expected = 1 - np.prod(1 - 2 / 3 * 3 * epsilon / np.log(visits + 1))
    stepped = (q[:, :2] > -1e5).any(axis=1).mean()
    assert stepped == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


def test_an_estimate_that_is_no_number_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"no finite Q in state \[0, 0\]"):
        search(
            MDP(FLAT), lambda s, mask: np.full(mask.shape, np.nan), FLAT.initial_states(2), 3, 0.1,
            seeded(),
        )  # fmt: skip


# ---- as a policy ----------------------------------------------------------------------------


def train(algorithm: Any = SoftDQN, steps: int = 1500, **kwargs: Any) -> Any:
    return algorithm(
        "MlpPolicy", GFNEnv(Hypergrid(2, 8)), n_envs=16, learning_starts=256, batch_size=64,
        train_freq=1, learning_rate=5e-3, policy_kwargs={"net_arch": [32]}, seed=0, **kwargs,
    ).learn(steps)  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "share"), [(SoftDQN, 0.5), (MunchausenDQN, 0.5), (SoftActorCritic, 0.8)]
)
def test_planning_brings_an_agent_nearer_to_the_target(algorithm: Any, share: float) -> None:
    model = train(algorithm)
    graph = enumerate_graph(model.dag)
    own = evaluate_exact(graph, as_policy(model))
    none = evaluate_exact(graph, MENTS(model, 0))
    for name, value in own.items():
        assert none[name] == pytest.approx(value, abs=1e-4)
    distances = [evaluate_exact(graph, MENTS(model, s))["total_variation"] for s in (8, 64)]
    assert distances[1] < share * own["total_variation"] and distances[0] < own["total_variation"]


def test_a_planning_policy_is_sampled_by_and_seeded() -> None:
    model = train(steps=300)
    first, second, third = (
        sample(model.dag, MENTS(model, 4, seed=seed), 50).states for seed in (0, 0, 1)
    )
    assert (first == second).all() and (first != third).any()
    assert np.isfinite(sample(Piles(), MENTS(piles_model(), 4), 20).log_weights()).all()


def piles_model() -> Any:
    return SoftDQN("MlpPolicy", GFNEnv(Piles()), n_envs=1, policy_kwargs={"net_arch": [8]})


def test_what_cannot_plan_is_refused() -> None:
    model = FlowMatching("MlpPolicy", GFNEnv(Hypergrid(2, 3)), n_envs=1)
    with pytest.raises(TypeError, match="FlowMatching has no soft Q-function"):
        MENTS(model)
    for name, value in (("simulations", -1), ("simulations", 1.5), ("epsilon", -0.1)):
        with pytest.raises(ValueError, match=f"^{name}={value}"):
            MENTS(piles_model(), **{name: value})
        with pytest.raises(ValueError, match=f"planning_{name}={value}"):
            SoftDQN("MlpPolicy", GFNEnv(Piles()), **{f"planning_{name}": value})


def test_rewards_are_by_the_p_b_that_the_model_has_learnt() -> None:
    dag = Piles()
    model: Any = SoftDQN(
        "MlpPolicy", GFNEnv(dag), n_envs=1, learnt_backward=True, policy_kwargs={"net_arch": [8]}
    )
    with th.no_grad():
        for p in model.backward.reward_network.parameters():
            p.normal_(generator=th.Generator().manual_seed(3))
    states = nonterminal(dag)
    planned = MENTS(model, simulations=700, epsilon=1.0).log_flow(states)
    learnt, uniform = (
        solve(dag, p_b).policy.log_flow(states) for p_b in (model.backward_policy, None)
    )
    np.testing.assert_allclose(planned, learnt, atol=1e-6)  # the network's float32
    assert abs(planned - uniform).max() > 0.1


# ---- in training ----------------------------------------------------------------------------


def test_a_planned_target_by_hand() -> None:
    """One simulation in (1,1) of the 2 × 2 grid takes the stop: V = log R, whatever Q̄ says."""
    model = SoftDQN(
        "MlpPolicy", GFNEnv(FLAT), n_envs=1, policy_kwargs={"net_arch": [4]},
        planning_simulations=1,
    )  # fmt: skip
    states = np.array([[1, 0], [1, 1]], dtype=np.int32)
    target = model._td_target(batch_of(FLAT, states, np.array([1, 2])))
    np.testing.assert_allclose(target, [-log(2) - 2, -2], rtol=1e-6)


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_targets_of_an_exhaustive_search_are_the_flows(algorithm: Any) -> None:
    dag = Hypergrid(2, 3)
    model = algorithm(
        "MlpPolicy", GFNEnv(dag), n_envs=1, policy_kwargs={"net_arch": [8]},
        planning_simulations=300, planning_epsilon=0.5,
    )  # fmt: skip
    states = np.array([[0, 0], [1, 1], [2, 2]], dtype=np.int32)
    batch = batch_of(dag, states, np.array([0, 1, 2]))
    solution = solve(dag)
    next_states = batch.next_states.numpy().astype(np.int32)[:2]
    expected = batch.rewards[:2] + th.as_tensor(solution.policy.log_flow(next_states))
    value = model._planned_value(batch)
    np.testing.assert_allclose((batch.rewards + value)[:2], expected, rtol=1e-5)
    assert value[2] == 0


def test_learns_the_hypergrid_in_fewer_updates() -> None:
    dag = Hypergrid(2, 8)
    plain, planned = (
        SoftDQN(
            "MlpPolicy", GFNEnv(dag), preset="fast", n_envs=16, learning_starts=512,
            batch_size=64, exploration_initial_eps=0.5, planning_simulations=simulations, seed=0,
        ).learn(6000)
        for simulations in (0, 4)
    )  # fmt: skip
    own, better = (
        evaluate_exact(dag, as_policy(model))["total_variation"] for model in (plain, planned)
    )
    assert better < 0.05 and better < own


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_training_acts_by_what_the_search_found(algorithm: Any) -> None:
    """Under the P_B that is learnt; an exhaustive search finds the flows that are due to it."""
    dag = Piles()
    model = algorithm(
        "MlpPolicy", GFNEnv(dag), n_envs=1, learnt_backward=True, policy_kwargs={"net_arch": [8]},
        planning_simulations=3000, planning_epsilon=1.0,
    )  # fmt: skip
    with th.no_grad():
        for p in model.backward.reward_network.parameters():
            p.normal_(generator=th.Generator().manual_seed(3))
    states = nonterminal(dag)
    with th.no_grad():
        logits = th.as_tensor(model._acting_logits(states, dag.action_mask(states)))
    found = targets.log_policy(logits, model.temperature)
    legal = dag.action_mask(states)
    expected = solve(dag, model.backward_policy).policy(states)
    np.testing.assert_allclose(found[legal], expected[legal], atol=1e-5)
    assert abs(expected[legal] - solve(dag).policy(states)[legal]).max() > 0.1
