"""Anybody's network evaluated: masked, normalized, in batches, from numpy and from torch."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch as th

from dags import DAGS
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, policy_from_logits, solve, uniform_policy
from gfn_gym.graph import enumerate_graph
from gfn_gym.observation import Observer, WithMask

DAG = Hypergrid(2, 4)
GRAPH = enumerate_graph(DAG)
WEIGHTS = np.random.default_rng(0).normal(size=(8, 3))


def linear(observations: Any) -> Any:
    return observations @ WEIGHTS


@pytest.mark.parametrize("name", DAGS)
def test_masks_and_normalizes(name: str) -> None:
    dag = DAGS[name]
    graph = enumerate_graph(dag)
    flat = policy_from_logits(
        dag, lambda observations: np.zeros((len(observations), dag.n_actions))
    )
    assert evaluate_exact(graph, flat) == pytest.approx(evaluate_exact(graph, uniform_policy(dag)))


def test_the_optimal_flows_as_logits_sample_the_target() -> None:
    optimal = solve(GRAPH).policy
    shifted = policy_from_logits(DAG, lambda states: optimal(states) + 700.0, observation="state")
    assert evaluate_exact(GRAPH, shifted)["total_variation"] < 1e-12


@pytest.mark.parametrize("dtype", [th.float64, th.float32, th.bfloat16])
def test_tensors_with_gradients_of_any_precision(dtype: th.dtype) -> None:
    weights = th.tensor(WEIGHTS, requires_grad=True)
    tensors = policy_from_logits(DAG, lambda o: (th.as_tensor(o).double() @ weights).to(dtype))
    arrays = policy_from_logits(DAG, lambda o: (o.astype(float) @ WEIGHTS).tolist())
    tolerance = {th.float64: 1e-12, th.float32: 1e-5, th.bfloat16: 0.03}[dtype]
    mask = DAG.action_mask(GRAPH.states)
    found, expected = tensors(GRAPH.states), arrays(GRAPH.states)
    assert found.dtype == np.float64 and (found[~mask] == -np.inf).all()
    np.testing.assert_allclose(found[mask], expected[mask], rtol=0, atol=tolerance)


def test_batches_and_pickles() -> None:
    sizes = []

    def counted(observations: Any) -> Any:
        sizes.append(len(observations))
        return linear(observations)

    whole = policy_from_logits(DAG, linear)
    parts = policy_from_logits(DAG, counted, batch_size=5)
    np.testing.assert_array_equal(parts(GRAPH.states), whole(GRAPH.states))
    assert sizes == [5, 5, 5, 1]
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again(GRAPH.states), whole(GRAPH.states))


def test_observations_of_the_users_own_form() -> None:
    expected = policy_from_logits(DAG, linear)(GRAPH.states)
    form = WithMask(Observer(DAG), "obs", "mask", bool)

    def logits_of(seen: Any) -> Any:
        assert seen["mask"].dtype == bool
        return np.where(seen["mask"], linear(seen["obs"]), -1e8)

    found = policy_from_logits(DAG, logits_of, observation=form.observe)(GRAPH.states)
    np.testing.assert_allclose(found, expected)


def returns(value: Any) -> Any:
    return lambda observations: np.tile(np.asarray(value, dtype=float), (len(observations), 1))


@pytest.mark.parametrize(
    ("logits_of", "words"),
    [
        (returns([0, 0]), r"shape \(1, 2\) for 1 observations; it must return logits, .*\(1, 3\)"),
        (returns([0, 0, np.nan]), r"\[0.0, nan\] for the legal actions of state \[3, 0\]"),
        (returns([0, np.inf, 0]), r"\[inf, 0.0\] .* none NaN or \+inf"),
        (returns([0, -np.inf, -np.inf]), r"\[-inf, -inf\] .* at least one"),
        (lambda observations: ("logits", {}), "returned a tuple, which is not an array of logits"),
    ],
)
def test_bad_logits_are_refused(logits_of: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        policy_from_logits(DAG, logits_of)(np.array([[3, 0]]))


def test_what_is_masked_may_be_anything() -> None:
    policy = policy_from_logits(DAG, returns([np.nan, 0, 0]))
    assert policy(np.array([[3, 0]])).tolist() == [[-np.inf, np.log(0.5), np.log(0.5)]]


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="logits_of=3 must be a function"):
        policy_from_logits(DAG, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="observation=3 must be the name"):
        policy_from_logits(DAG, linear, observation=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="observation='pixels' is unknown"):
        policy_from_logits(DAG, linear, observation="pixels")
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        policy_from_logits(DAG, linear, batch_size=0)
