"""Likelihoods of given objects, exact and sampled, against the terminal distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_evaluation import (
    DAGS,
    LateStop,
    each_dag,
    random_backward_policy,
    random_policy,
)

from dags import Words
from gfn_gym.dag import Floats, Mask, States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import (
    log_likelihood,
    log_terminal_distribution,
    sample,
    sample_backward,
    uniform_policy,
)
from gfn_gym.graph import enumerate_graph


@each_dag
def test_exact_likelihood_is_the_terminal_distribution(name: str) -> None:
    graph = enumerate_graph(DAGS[name])
    policy = random_policy(graph)
    likelihood = log_likelihood(graph.dag, policy, graph.states[graph.objects])
    assert likelihood.exact.all()
    assert not likelihood.standard_error.any()
    assert likelihood.log_prob == pytest.approx(log_terminal_distribution(graph, policy))


@each_dag
@pytest.mark.parametrize("learnt_backward", [False, True])
def test_sampled_likelihood_is_within_its_error(name: str, learnt_backward: bool) -> None:
    # Mild policies: where weights have long tails, a few hundred samples tell no error.
    graph = enumerate_graph(DAGS[name])
    policy, repeats = random_policy(graph, scale=0.5), 40
    backward_policy = random_backward_policy(graph, scale=0.5) if learnt_backward else None
    likelihood = log_likelihood(
        graph.dag,
        policy,
        graph.states[np.repeat(graph.objects, repeats)],
        n_samples=300,
        max_ancestors=0,
        backward_policy=backward_policy,
    )
    truth = np.repeat(log_terminal_distribution(graph, policy), repeats)
    off = likelihood.log_prob - truth
    one_way = likelihood.standard_error < 1e-9  # a single trajectory leads there: no error
    z = off[~one_way] / likelihood.standard_error[~one_way]

    assert not likelihood.exact.any()
    assert np.abs(off[one_way]) == pytest.approx(0.0, abs=1e-9)
    assert np.abs(z).max() < 4.5
    assert 0.85 < z.std() < 1.2  # calibrated: neither too small nor too large


def test_standard_error_of_two_samples_by_hand() -> None:
    """Ways to (2, 1) of the 3 × 3 grid: P_F/P_B is 1/18 by x, x, y and 2/27 by the other two.

    One of each has a mean of 7/108 and an unbiased standard error of |1/18 − 2/27|/2 = 1/108.
    """
    dag = Hypergrid(ndim=2, height=3)
    objects = np.repeat([[2, 1]], 200, axis=0)
    found = log_likelihood(dag, uniform_policy(dag), objects, n_samples=2, max_ancestors=0)
    for mean, error in ((1 / 18, 0.0), (2 / 27, 0.0), (7 / 108, 1 / 7)):
        rows = np.isclose(found.log_prob, np.log(mean))
        assert rows.sum() > 20
        assert found.standard_error[rows] == pytest.approx(error, abs=1e-12)


def test_few_ancestors_are_exact_and_many_are_sampled() -> None:
    dag = Hypergrid(ndim=2, height=8)
    objects = np.array([[7, 7], [0, 0], [3, 4], [3, 5]])
    likelihood = log_likelihood(dag, uniform_policy(dag), objects, max_ancestors=20)
    assert likelihood.exact.tolist() == [False, True, True, False]  # 64, 1, 20, 24
    assert (likelihood.standard_error > 0).tolist() == [True, False, False, True]


def test_batch_size_bounds_what_the_policy_sees() -> None:
    dag = Hypergrid(ndim=2, height=8)
    uniform = uniform_policy(dag)

    def narrow(states: States) -> Any:
        assert len(states) <= 16
        return uniform(states)

    objects = np.array([[7, 7], [7, 6], [1, 1]])
    for max_ancestors in (0, 1000):
        log_likelihood(dag, narrow, objects, 50, max_ancestors, batch_size=16)


def test_grids_of_10_to_the_12_states() -> None:
    dag = Hypergrid(ndim=12, height=10)
    policy = uniform_policy(dag)
    samples = sample(dag, policy, 300)
    assert samples.states.shape == (300, 12)
    chosen = samples.states[np.argsort(samples.lengths)[::30]]
    exact = log_likelihood(dag, policy, chosen, max_ancestors=20_000)
    sampled = log_likelihood(dag, policy, chosen, n_samples=1000, max_ancestors=0)
    assert exact.exact.sum() >= 7
    off = np.abs(sampled.log_prob - exact.log_prob)[exact.exact]
    assert (off <= 4 * sampled.standard_error[exact.exact] + 1e-9).all()


def test_an_object_that_the_policy_never_builds() -> None:
    dag = Hypergrid(ndim=2, height=3)

    def stop_at_once(states: States) -> Floats:
        return np.tile([-np.inf, -np.inf, 0.0], (len(states), 1))

    for max_ancestors in (0, 100):
        likelihood = log_likelihood(
            dag, stop_at_once, [[0, 0], [1, 1]], max_ancestors=max_ancestors
        )
        assert likelihood.log_prob.tolist() == [0.0, -np.inf]
    assert likelihood.standard_error.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([[2, 1], [7, 0]], r"\[7, 0\] lies outside the states of"),
        ([[2, 1], [1, 0]], r"\[1, 0\] is not a finished object of .*: the construction cannot end"),
        ([[2, 1], [1, 2]], r"\[1, 2\] is not a canonical state of"),
        ([[1, 1, 1]], r"shape \(n, 2\) with n at least 1, not \(1, 3\)"),
        ([1, 2], r"not \(2,\)"),
        (np.empty((0, 2), dtype=int), r"not \(0, 2\)"),
        ([[2.0, 1.0]], "must be integers, as states are, not float64"),
    ],
)
def test_what_is_no_finished_object_is_refused(objects: Any, message: str) -> None:
    dag = LateStop(n_piles=2)
    for function in (log_likelihood, sample_backward):
        with pytest.raises(ValueError, match=message):
            function(dag, uniform_policy(dag), objects)


def test_an_unfinished_state_of_a_completing_dag_is_refused() -> None:
    dag = Words(length=2)
    with pytest.raises(ValueError, match=r"\[0, 2\] is not a finished object"):
        log_likelihood(dag, uniform_policy(dag), [[0, 1], [0, 2]])


def test_states_that_nothing_leads_to_are_refused() -> None:
    class Island(Hypergrid):
        """Nothing is a parent of what lies in column 2."""

        def backward_mask(self, states: States) -> Mask:
            return np.asarray((states > 0) & (states[:, :1] != 2))

    dag = Island(ndim=2, height=3)
    with pytest.raises(ValueError, match=r"\[2, 1\] has no parent and is not s0"):
        log_likelihood(dag, uniform_policy(dag), [[2, 1]])


def test_one_sample_has_no_error() -> None:
    dag = Hypergrid(ndim=2, height=3)
    with pytest.raises(ValueError, match="n_samples=1 must be at least 2"):
        log_likelihood(dag, uniform_policy(dag), [[0, 0]], n_samples=1)
