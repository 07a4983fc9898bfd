"""Samples, against the exact terminal distribution and against replay."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from test_evaluation import (
    DAGS,
    all_trajectories,
    each_dag,
    random_backward_policy,
    random_policy,
)

from gfn_gym.dag import Actions, Mask, States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import (
    log_likelihood,
    sample,
    sample_backward,
    solve,
    terminal_distribution,
    uniform_policy,
)
from gfn_gym.evaluation.sampling import Samples
from gfn_gym.graph import enumerate_graph
from gfn_gym.mdp import check_legal


def same(a: Samples, b: Samples) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("states", "log_reward", "log_forward", "log_backward", "lengths")
    )


# ---- forward --------------------------------------------------------------------------------


@each_dag
def test_samples_follow_the_terminal_distribution(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    policy, n = random_policy(graph), 20_000
    samples = sample(graph.dag, policy, n, batch_size=3000)
    counts = np.bincount(graph.index_of(samples.states), minlength=len(graph.states))
    expected = n * terminal_distribution(graph, policy)

    assert counts[graph.objects].sum() == n
    chi_square = ((counts[graph.objects] - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)
    assert samples.log_reward == pytest.approx(graph.dag.log_reward(samples.states))


def test_trajectories_agree_with_their_replay() -> None:
    graph = enumerate_graph(Hypergrid(ndim=2, height=4))
    policy, visited = random_policy(graph), []

    def recorder(states: States) -> Any:
        visited.append(states[0])
        return policy(states)

    for seed in range(30):
        visited.clear()
        drawn = sample(graph.dag, recorder, 1, seed)
        walk = np.array(visited)
        actions = np.append(np.diff(walk, axis=0).argmax(axis=1), 2)  # 2 stops
        log_forward = policy(walk)[np.arange(len(walk)), actions].sum()
        log_backward = -np.log((walk[1:] > 0).sum(axis=1)).sum()  # uniform over the parents
        assert drawn.states.tolist() == walk[-1:].tolist()
        assert drawn.log_forward == pytest.approx(log_forward)
        assert drawn.log_backward == pytest.approx(log_backward)
        assert drawn.lengths == len(walk) == walk[-1].sum() + 1


@each_dag
@pytest.mark.parametrize("learnt_backward", [False, True])
def test_every_weight_of_a_perfect_policy_is_z(name: str, learnt_backward: bool) -> None:
    """Trajectory balance, on forward and on backward trajectories."""
    graph = enumerate_graph(DAGS[name])
    backward_policy = random_backward_policy(graph) if learnt_backward else None
    solution = solve(graph, backward_policy)
    forward = sample(graph.dag, solution.policy, 500, backward_policy=backward_policy)
    objects = graph.states[np.repeat(graph.objects, 50)]
    backward = sample_backward(graph.dag, solution.policy, objects, backward_policy=backward_policy)
    assert forward.log_weights() == pytest.approx(np.full(500, solution.log_z))
    assert backward.log_weights() == pytest.approx(np.full(len(objects), solution.log_z))


def test_seeds_and_batches() -> None:
    dag = Hypergrid(ndim=2, height=5)
    policy = uniform_policy(dag)
    first = sample(dag, policy, 10, seed=3, batch_size=4)
    assert len(first) == 10
    assert first.states.dtype == dag.initial_states(1).dtype
    assert same(first, sample(dag, policy, 10, seed=3, batch_size=4))
    assert not same(first, sample(dag, policy, 10, seed=4, batch_size=4))
    generator = np.random.default_rng(3)
    assert same(first, sample(dag, policy, 10, generator, batch_size=4))
    assert not same(first, sample(dag, policy, 10, generator, batch_size=4))


def test_only_legal_actions_and_bounded_batches() -> None:
    class Strict(Hypergrid):
        def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
            check_legal(self, states, actions)
            assert len(states) <= 100
            return super().step(states, actions)

    dag = Strict(ndim=3, height=2)
    samples = sample(dag, uniform_policy(dag), 1050, batch_size=100)
    assert samples.states.max() == 1


@each_dag
def test_completed_objects_are_not_asked_about(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    policy, objects = random_policy(graph), graph.states[graph.objects]

    def strict(states: States) -> Any:
        assert graph.dag.action_mask(states).any(axis=1).all()
        return policy(states)

    terminal_distribution(graph, strict)
    sample(graph.dag, strict, 100)
    sample_backward(graph.dag, strict, objects)
    log_likelihood(graph.dag, strict, objects)


@pytest.mark.parametrize(
    ("n", "batch_size", "message"), [(0, 1, "n=0 must be"), (1, 0, "batch_size=0 must be")]
)
def test_sample_refuses_empty_requests(n: int, batch_size: int, message: str) -> None:
    dag = Hypergrid(ndim=2, height=3)
    with pytest.raises(ValueError, match=message):
        sample(dag, uniform_policy(dag), n, batch_size=batch_size)


# ---- backward -------------------------------------------------------------------------------


@each_dag
def test_backward_walks_follow_p_b_edge_by_edge(name: str) -> None:
    """Among walks to one object each trajectory comes up with probability exp(log P_B)."""
    graph = enumerate_graph(DAGS[name])
    policy, n = random_policy(graph), 20_000
    ways: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for terminal, log_prob in all_trajectories(graph.dag, policy):
        ways[terminal].append(log_prob)
    _, target = min((len(found), terminal) for terminal, found in ways.items() if len(found) >= 4)
    walks = sample_backward(
        graph.dag,
        policy,
        np.tile(target, (n, 1)),
        batch_size=6000,
        backward_policy=random_backward_policy(graph),
    )
    # Random logits tell trajectories apart, those of parallel edges too.
    found, first, counts = np.unique(
        walks.log_forward.round(9), return_index=True, return_counts=True
    )
    p_backward = np.exp(walks.log_backward[first])

    assert found == pytest.approx(sorted(ways[target]), abs=1e-8)
    assert p_backward.sum() == pytest.approx(1.0)
    error = np.sqrt(p_backward * (1 - p_backward) / n)
    assert (np.abs(counts / n - p_backward) <= 4.5 * error + 1e-12).all()


def test_backward_walks_by_hand() -> None:
    """On the way to (2, 0) of a grid there is one trajectory: right, right, stop."""
    dag = Hypergrid(ndim=2, height=4)
    walks = sample_backward(dag, uniform_policy(dag), [[0, 0], [2, 0], [1, 1]])
    assert walks.lengths.tolist() == [1, 3, 3]
    assert walks.log_forward == pytest.approx(-np.log([3, 27, 27]))
    assert walks.log_backward == pytest.approx(-np.log([1, 1, 2]))
    assert walks.log_reward == pytest.approx(dag.log_reward(walks.states))
