"""Exact evaluation and exact solutions, against brute force on DAGs that fit on a page."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dags
from dags import Piles, Words
from gfn_gym import check_dag
from gfn_gym.dag import DAG, Floats, Mask, States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import (
    Policy,
    evaluate_exact,
    jensen_shannon,
    kl_divergence,
    log_likelihood,
    log_terminal_distribution,
    sample,
    sample_backward,
    solve,
    target_distribution,
    terminal_distribution,
    total_variation,
    uniform_policy,
)
from gfn_gym.graph import Graph, enumerate_graph
from gfn_gym.mdp import BackwardPolicy


class LateStop(Piles):
    """Piles that may be left only from two coins on: not every state is an object."""

    def action_mask(self, states: States) -> Mask:
        mask = super().action_mask(states)
        mask[:, self.n_piles] = states.sum(axis=1) >= 2
        return mask


DAGS: dict[str, DAG] = {
    **dags.DAGS,
    "grid": Hypergrid(ndim=2, height=4),
    "late_stop": LateStop(n_piles=2),
}
each_dag = pytest.mark.parametrize("name", DAGS)


def random_log_probs(
    graph: Graph, mask: Mask, seed: int, scale: float
) -> Callable[[States], Floats]:
    """Look random log-probabilities over a mask (N, k) up by state; a row of none is NaN."""
    logits = np.random.default_rng(seed).normal(scale=scale, size=mask.shape)
    logits = np.where(mask, logits, -np.inf)
    with np.errstate(invalid="ignore"):
        table = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return lambda states: table[graph.index_of(states)]


def random_policy(graph: Graph, seed: int = 0, scale: float = 1.5) -> Policy:
    return random_log_probs(graph, graph.dag.action_mask(graph.states), seed, scale)


def random_backward_policy(graph: Graph, seed: int = 1, scale: float = 1.5) -> BackwardPolicy:
    return random_log_probs(graph, graph.dag.backward_mask(graph.states), seed, scale)


def all_trajectories(dag: DAG, policy: Policy) -> list[tuple[tuple[int, ...], float]]:
    """Every trajectory's object and log P_F, walked one action at a time."""
    ended, open_ = [], [(dag.initial_states(1), 0.0)]
    while open_:
        state, log_prob = open_.pop()
        for action in np.flatnonzero(dag.action_mask(state)[0]):
            nexts, done = dag.step(state, np.array([action]))
            walked = log_prob + float(policy(state)[0, action])
            if done[0]:
                ended.append((tuple(nexts[0].tolist()), walked))
            else:
                open_.append((nexts, walked))
    return ended


@each_dag
def test_dags_of_these_tests_keep_the_contract(name: str) -> None:
    check_dag(DAGS[name])


# ---- the terminal distribution --------------------------------------------------------------


@each_dag
@pytest.mark.parametrize("batch_size", [1, 5, 4096])
def test_terminal_distribution_equals_path_enumeration(name: str, batch_size: int) -> None:
    graph = enumerate_graph(DAGS[name])
    policy = random_policy(graph)
    expected = dict.fromkeys(map(tuple, graph.states[graph.objects].tolist()), 0.0)
    for terminal, log_prob in all_trajectories(graph.dag, policy):
        expected[terminal] += np.exp(log_prob)

    learnt = terminal_distribution(graph, policy, batch_size)

    assert learnt.sum() == pytest.approx(1.0, abs=1e-12)
    assert learnt == pytest.approx(list(expected.values()), abs=1e-12)


def test_uniform_policy_by_hand() -> None:
    graph = enumerate_graph(Hypergrid(ndim=2, height=2))
    learnt = terminal_distribution(graph, uniform_policy(graph.dag))
    by_state = dict(zip(map(tuple, graph.states.tolist()), learnt.tolist(), strict=True))
    assert by_state == pytest.approx({(0, 0): 1 / 3, (0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 3})


def test_uniform_policy_on_the_papers_grid() -> None:
    dag = Hypergrid()
    result = evaluate_exact(dag, uniform_policy(dag))
    assert result["total_variation"] == pytest.approx(0.94, abs=0.005)
    assert set(result) == {"total_variation", "kl", "reverse_kl", "jensen_shannon"}


def test_uniform_policy_can_be_pickled() -> None:
    dag = Hypergrid(ndim=2, height=3)
    policy = pickle.loads(pickle.dumps(uniform_policy(dag)))
    assert np.exp(policy(dag.initial_states(1))) == pytest.approx(np.full((1, 3), 1 / 3))


def test_target_distribution() -> None:
    graph = enumerate_graph(Words(length=2))
    reward = np.exp(graph.log_reward())
    assert len(reward) == 4
    assert target_distribution(graph) == pytest.approx(reward / reward.sum())


def test_float32_policies_sum_to_one() -> None:
    graph = enumerate_graph(Hypergrid(ndim=2, height=8))
    policy = random_policy(graph)
    learnt = terminal_distribution(graph, lambda states: policy(states).astype(np.float32))
    assert learnt.sum() == pytest.approx(1.0, abs=1e-12)
    assert learnt == pytest.approx(terminal_distribution(graph, policy), rel=1e-4)


def test_nothing_underflows() -> None:
    """Each step right is taken with probability exp(−400): P underflows, log P does not."""
    graph = enumerate_graph(Hypergrid(ndim=1, height=4))

    def timid(states: States) -> Floats:
        stuck = states[:, 0] == 3
        step = np.where(stuck, -np.inf, -400.0)
        return np.stack([step, np.where(stuck, 0.0, np.log1p(-np.exp(-400.0)))], axis=1)

    assert log_terminal_distribution(graph, timid) == pytest.approx([0, -400, -800, -1200])
    target = target_distribution(graph)
    cross_entropy = (target * [0, 400, 800, 1200]).sum()
    entropy = -(target * np.log(target)).sum()
    result = evaluate_exact(graph, timid)
    assert result["kl"] == pytest.approx(cross_entropy - entropy)


def test_masked_logits_of_minus_1e8_are_no_mass() -> None:
    """sb3-contrib's MaskablePPO writes its masks so."""
    graph = enumerate_graph(Hypergrid(ndim=2, height=3))
    policy = random_policy(graph)
    learnt = terminal_distribution(graph, lambda states: np.maximum(policy(states), -1e8))
    assert learnt == pytest.approx(terminal_distribution(graph, policy))


# ---- the exact optimum ----------------------------------------------------------------------


@each_dag
@pytest.mark.parametrize("learnt_backward", [False, True])
def test_solution_samples_the_target(name: str, learnt_backward: bool) -> None:
    graph = enumerate_graph(DAGS[name])
    solution = solve(graph, random_backward_policy(graph) if learnt_backward else None)

    assert solution.log_z == pytest.approx(graph.log_partition(), abs=1e-12)
    assert solution.policy.log_flow(graph.states) == pytest.approx(solution.log_flow)
    result = evaluate_exact(graph, solution.policy)
    assert result.pop("log_z") == pytest.approx(graph.log_partition())
    assert result == pytest.approx(dict.fromkeys(result, 0.0), abs=1e-12)
    assert "log_z_error" in result


@each_dag
def test_solution_balances_every_edge(name: str) -> None:
    """Detailed balance: F(s)·P_F(edge) = F(s')·P_B(edge), parallel edges one by one."""
    graph = enumerate_graph(DAGS[name])
    backward_policy = random_backward_policy(graph)
    solution = solve(graph, backward_policy)
    log_forward = solution.policy(graph.states[graph.parents])[
        np.arange(len(graph.parents)), graph.actions
    ]
    left = solution.log_flow[graph.parents] + log_forward
    right = solution.log_flow[graph.children] + graph.log_backward(backward_policy)
    assert left == pytest.approx(right, abs=1e-12)
    assert solution.edge_log_flow == pytest.approx(right, abs=1e-12)


def test_solve_takes_a_dag_and_its_policy_can_be_pickled() -> None:
    dag = Hypergrid(ndim=3, height=5, reward="hard")
    policy = pickle.loads(pickle.dumps(solve(dag).policy))
    assert evaluate_exact(dag, policy)["total_variation"] < 1e-12


def test_solution_names_unknown_states() -> None:
    policy = solve(Hypergrid(ndim=2, height=3)).policy
    with pytest.raises(ValueError, match=r"\[9, 9\] is not a state of Hypergrid"):
        policy(np.array([[0, 1], [9, 9]], dtype=np.int32))


# ---- distances ------------------------------------------------------------------------------


def test_distances_by_hand() -> None:
    p, q = [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]
    assert total_variation(p, q) == pytest.approx(0.5)
    assert kl_divergence(p, q) == pytest.approx(np.log(2))
    assert kl_divergence(q, p) == np.inf
    # m = (3/8, 3/8, 1/4)
    expected = 0.5 * np.log(4 / 3) + 0.5 * (0.5 * np.log(2 / 3) + 0.5 * np.log(2))
    assert jensen_shannon(p, q) == pytest.approx(expected)
    assert jensen_shannon(q, p) == pytest.approx(expected)


def test_disjoint_distributions_are_as_far_as_can_be() -> None:
    assert total_variation([1, 0], [0, 1]) == 1.0
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(np.log(2))


@pytest.mark.parametrize("distance", [total_variation, kl_divergence, jensen_shannon])
@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.5], [1.0], "p has 2 probabilities, q has 1"),
        ([0.5, 0.6], [0.5, 0.5], "p sums to 1.1, not 1"),
        ([0.5, 0.5], [1.5, -0.5], r"q\[1\] = -0.5 is not a probability"),
        ([0.5, np.nan], [0.5, 0.5], r"p\[1\] = nan is not a probability"),
        ([[0.5, 0.5]], [0.5, 0.5], r"p must be probabilities of shape \(X,\), not .* \(1, 2\)"),
    ],
)
def test_distances_refuse_what_is_no_distribution(
    distance: Callable[..., float], p: Any, q: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distance(p, q)


# ---- bad policies ---------------------------------------------------------------------------


def broken(column: int, value: float) -> Policy:
    """The uniform policy of a 3×3 grid, except for one number in state (2, 1)."""
    uniform = uniform_policy(Hypergrid(ndim=2, height=3))

    def policy(states: States) -> Floats:
        log_probs = np.array(uniform(states))
        log_probs[(states == [2, 1]).all(axis=1), column] = value
        return log_probs

    return policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (broken(1, np.nan), r"the policy returned NaN in state \[2, 1\]"),
        (broken(0, -1.0), r"probability 0.3679 for the illegal action 0 in state \[2, 1\]"),
        (broken(1, 0.0), r"exponentials sum to 1.5, not 1, in state \[2, 1\]"),
        (broken(1, np.inf), r"exponentials sum to inf, not 1, in state \[2, 1\]"),
        (lambda states: np.zeros((len(states), 2)), r"returned shape \(9, 2\) for .* \(9, 2\)"),
        (lambda states: np.zeros(len(states)), r"it must return log-probabilities, shape \(9, 3\)"),
    ],
)
def test_bad_policies_are_named(policy: Policy, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_exact(Hypergrid(ndim=2, height=3), policy)


@pytest.mark.parametrize("total", [0.95, 1.05, 0.999, 1.001])
def test_policies_that_do_not_sum_to_one_are_refused_by_all_that_ask_them(total: float) -> None:
    dag = Hypergrid(ndim=2, height=3)
    uniform = uniform_policy(dag)

    def off(states: States) -> Floats:
        return np.asarray(uniform(states)) + np.log(total)

    def backward(states: States) -> Floats:
        mask = dag.backward_mask(states)
        log_prob = np.log(total / np.maximum(mask.sum(axis=1, keepdims=True), 1))
        return np.where(mask, log_prob, -np.inf)

    askers: list[Callable[[], Any]] = [
        lambda: evaluate_exact(dag, off),
        lambda: terminal_distribution(enumerate_graph(dag), off),
        lambda: sample(dag, off, 5),
        lambda: sample_backward(dag, off, [[1, 1]]),
        lambda: log_likelihood(dag, off, [[1, 1]]),
        lambda: log_likelihood(dag, off, [[1, 1]], max_ancestors=0),
        lambda: log_likelihood(
            dag, uniform, [[1, 1]], max_ancestors=0, backward_policy=backward
        ),
        lambda: sample(dag, uniform, 5, backward_policy=backward),
        lambda: solve(dag, backward),
    ]  # fmt: skip
    for ask in askers:
        with pytest.raises(ValueError, match=f"sum to {total}, not 1, in state"):
            ask()


def test_a_bad_backward_policy_is_named() -> None:
    with pytest.raises(ValueError, match=r"the backward policy returned .* sum to 2, not 1"):
        solve(Hypergrid(ndim=2, height=3), lambda states: np.where(states > 0, 0.0, -np.inf))


@pytest.mark.parametrize("value", [[np.nan], [np.inf], [1.0, 2.0], 1.0])
def test_a_bad_log_flow_is_named(value: Any) -> None:
    class WithFlow:
        def __call__(self, states: States) -> Any:
            return uniform_policy(Hypergrid(ndim=2, height=3))(states)

        def log_flow(self, states: States) -> Any:
            return np.array(value)

    with pytest.raises(ValueError, match="log_flow returned"):
        evaluate_exact(Hypergrid(ndim=2, height=3), WithFlow())


def test_too_many_states_are_refused() -> None:
    dag = Hypergrid(ndim=12, height=10)
    with pytest.raises(ValueError, match="more than max_states=1000 states"):
        evaluate_exact(dag, uniform_policy(dag), max_states=1000)
