"""Soft actor-critic: targets and losses by hand, their gradients under masks, and learning."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import updates

from batches import batch_of
from dags import Piles
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import SoftActorCritic, as_policy, targets
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact
from gfn_gym.graph import enumerate_graph

log, inf = math.log, math.inf


def make(dag: Any = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 3) if dag is None else dag)
    kwargs = {"n_envs": 1, "policy_kwargs": {"net_arch": [6]}, "seed": 0, **kwargs}
    return SoftActorCritic("MlpPolicy", env, **kwargs)


def set_outputs(network: Any, values: list[float]) -> None:
    """The same outputs in every state."""
    with th.no_grad():
        for p in network.parameters():
            p.zero_()
        network.head.bias.copy_(th.tensor(values))


def critics(model: Any) -> tuple[Any, Any]:
    return model.networks.critics.first, model.networks.critics.second


def by_hand(**kwargs: Any) -> Any:
    """π ∝ [1, 1, 2]; min Q̄ = [0, log 2, log 3], min Q = [0, 1, 2]."""
    model = make(**kwargs)
    set_outputs(model.networks.actor, [0, 0, log(2)])
    first, second = model.policy.target.first, model.policy.target.second
    set_outputs(first, [0, log(2), 9.0])
    set_outputs(second, [7.0, 8.0, log(3)])
    first, second = critics(model)
    set_outputs(first, [0.0, 1.0, 4.0])
    set_outputs(second, [3.0, 1.0, 2.0])
    return model


def batch_by_hand(model: Any) -> Any:
    """(0,0) → (1,0); (1,1) → (2,1), which has two parents and lacks x+1; the stop in (2,1)."""
    return batch_of(
        model.dag, np.array([[0, 0], [1, 1], [2, 1]], dtype=np.int32), np.array([0, 0, 2])
    )


# π = [1/4, 1/4, 1/2] where all is legal, [−, 1/3, 2/3] in (2,1).
LOG_R = float(Hypergrid(2, 3).log_reward(np.array([[2, 1]]))[0])
TARGET = [
    0.25 * log(4) + 0.25 * (log(2) + log(4)) + 0.5 * (log(3) + log(2)),
    -log(2) + (log(2) + log(3)) / 3 + (log(3) + log(3 / 2)) * 2 / 3,
    LOG_R,
]


def test_critic_target_by_hand() -> None:
    model = by_hand()
    target = model._td_target(batch_by_hand(model)).detach()
    np.testing.assert_allclose(target, TARGET, rtol=1e-5)


def test_td_errors_by_hand() -> None:
    model = by_hand()
    errors = model._td_errors(batch_by_hand(model)).detach()
    expected = np.array([[0.0, 0.0, 4.0], [3.0, 3.0, 2.0]]) - TARGET
    np.testing.assert_allclose(errors, expected, rtol=1e-5, atol=1e-6)
    mean = model._td_error(batch_by_hand(model)).detach()
    np.testing.assert_allclose(mean, np.abs(expected).mean(axis=0), rtol=1e-5)


def test_the_loss_by_hand_and_whom_it_teaches() -> None:
    model = by_hand(huber=False, leaf_weight=3.0)
    loss, td_error = model._loss(batch_by_hand(model))
    errors = np.array([[0.0, 0.0, 4.0], [3.0, 3.0, 2.0]]) - TARGET
    critics = (0.5 * (errors**2).sum(axis=0) * [1, 1, 3]).mean()
    # Σ π·(log π − min Q): twice with all legal, once in (2,1); the leaf weight is not the actor's.
    full = 0.25 * (-log(4)) + 0.25 * (-log(4) - 1) + 0.5 * (-log(2) - 2)
    edge = (-log(3) - 1) / 3 + (log(2 / 3) - 2) * 2 / 3
    actor = (2 * full + edge) / 3
    assert loss.item() == pytest.approx(critics + actor, rel=1e-5)
    np.testing.assert_allclose(td_error, np.abs(errors).mean(axis=0), rtol=1e-5)
    assert not td_error.requires_grad
    loss.backward()
    assert all(p.grad is None for p in model.policy.target.parameters())
    # ∂/∂logit_a Σ π(log π − Q) = π_a·(log π_a − Q_a − the sum).
    terms = 0.25 * (-log(4) - 0 - full), 0.25 * (-log(4) - 1 - full), 0.5 * (-log(2) - 2 - full)
    at_edge = (-log(3) - 1 - edge) / 3, (log(2 / 3) - 2 - edge) * 2 / 3
    expected = [2 * terms[0] / 3, (2 * terms[1] + at_edge[0]) / 3, (2 * terms[2] + at_edge[1]) / 3]
    np.testing.assert_allclose(model.networks.actor.head.bias.grad, expected, rtol=1e-4)
    # The first critic: its errors at x+1, x+1 and stop; nothing of the actor's loss.
    gradient = model.networks.critics.first.head.bias.grad
    expected = [(errors[0, 0] + errors[0, 1]) / 3, 0.0, errors[0, 2]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_masked_actions_make_no_nan_forward_or_backward() -> None:
    logits = th.tensor([[0.0, -inf, log(3)], [-inf, -inf, 2.0]], requires_grad=True)
    q = th.tensor([[1.0, -inf, 2.0], [-inf, -inf, 5.0]], requires_grad=True)
    value = targets.double_soft_value(logits, q)
    np.testing.assert_allclose(
        value.detach(), [0.25 * (1 + log(4)) + 0.75 * (2 + log(4 / 3)), 5.0], rtol=1e-6
    )
    value.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert q.grad is not None
    np.testing.assert_allclose(q.grad, [[0.25, 0.0, 0.75], [0.0, 0.0, 1.0]], rtol=1e-6)
    # π₀·(f₀ − V) with f = Q − log π, and its negative.
    slope = 0.25 * (1 + log(4) - value[0].item())
    np.testing.assert_allclose(
        logits.grad, [[slope, 0.0, -slope], [0.0, 0.0, 0.0]], rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize(
    ("policy", "dag"),
    [("MlpPolicy", Piles(total=5)), ("TransformerPolicy", BitSequence(8, 2))],
    ids=["completion", "transformer"],
)
def test_training_stays_finite(policy: str, dag: DAG) -> None:
    model = SoftActorCritic(
        policy, GFNEnv(dag), n_envs=8, learning_starts=16, batch_size=32, train_freq=1, seed=0,
        dueling=True, n_step=2, average_share=0.2, max_grad_norm=5.0,
    ).learn(200)  # fmt: skip
    assert updates(model) > 10
    assert all(p.isfinite().all() for p in model.policy.parameters())
    assert all(p.grad is not None for p in model.networks.critics.parameters())


# ---- the policy -----------------------------------------------------------------------------


def test_acts_predicts_and_is_evaluated_by_the_actor() -> None:
    model = by_hand(n_envs=400)
    states = np.array([[0, 0], [2, 1]], dtype=np.int32)
    expected = np.log([[0.25, 0.25, 0.5], [1e-300, 1 / 3, 2 / 3]])
    expected[1, 0] = -inf
    policy = as_policy(model)
    np.testing.assert_allclose(policy(states), expected, rtol=1e-5)
    np.testing.assert_allclose(
        policy.of_actions(states, np.array([0, 2])), expected[[0, 1], [0, 2]], rtol=1e-5
    )
    assert (model.predict(model.dag.observe(states), deterministic=True)[0] == 2).all()
    drawn = np.bincount(model._sample_action(0)[0], minlength=3) / 400
    np.testing.assert_allclose(drawn, [0.25, 0.25, 0.5], atol=0.1)


def test_log_flow_is_the_expected_soft_value() -> None:
    model = by_hand()
    value = model.policy.log_flow(np.array([[0, 0]], dtype=np.int32))
    expected = 0.25 * log(4) + 0.25 * (1 + log(4)) + 0.5 * (2 + log(2))
    np.testing.assert_allclose(value, [expected], rtol=1e-6)


def test_the_average_is_one_of_the_actor() -> None:
    still = {"learning_rate": 1e-30, "q_learning_rate": 1e-30}  # the networks stay as they are
    model = make(average_share=0.5, learning_starts=10, **still).learn(10)
    averaged, online = (
        model.policy.average.actor.head.bias,
        model.networks.actor.head.bias[2].item(),
    )
    model.train(3 - updates(model), 8)
    averaged.data[2] += 50
    state = model.dag.initial_states(1)
    assert model.policy.log_probs(state)[0, 2] == pytest.approx(0, abs=1e-6)
    assert model.networks.logits(*model.policy.tensors(state)).max() < 10
    before = averaged[2].item()
    model.train(1, 8)  # the fourth: a window of two, half of the way
    after = averaged[2].item()
    assert after == pytest.approx((before + online) / 2)


def test_each_has_its_learning_rate() -> None:
    model = make(
        learning_rate=lambda left: 1e-3 * left, q_learning_rate=lambda left: 1e-2 * left,
        learning_starts=0, batch_size=8,
    )  # fmt: skip
    model.learn(total_trajectories=100)
    actor, both = model.policy.optimizer.param_groups
    assert both["lr"] == pytest.approx(10 * actor["lr"]) and 0 < actor["lr"] < 1e-3
    assert actor["eps"] == both["eps"] == 1e-4
    ids = {id(p) for p in actor["params"]}
    assert ids == {id(p) for p in model.networks.actor.parameters()}
    assert {id(p) for p in both["params"]} == {id(p) for p in model.networks.critics.parameters()}


def test_the_critics_are_different_networks() -> None:
    first, second = critics(make())
    assert not first.head.weight.equal(second.head.weight)
    model = make(Hypergrid(2, 4), learning_starts=0, batch_size=8).learn(200)
    states = model.policy.to_tensor(enumerate_graph(model.dag).states)
    mask = th.ones(len(states), 3, dtype=th.bool)
    first, second = (network(states, mask) for network in critics(model))
    assert model.networks.critics(states, mask).equal(th.minimum(first, second))
    assert not first.equal(second)


@pytest.mark.parametrize("name", ["double", "planning_simulations"])
def test_arguments_of_a_policy_without_an_actor_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        make(**{name: 1})


# ---- learning -------------------------------------------------------------------------------


def test_learns_the_hypergrid() -> None:
    dag = Hypergrid(2, 8)
    model = make(
        dag, preset="paper", n_envs=16, learning_rate=3e-3, train_freq=(4, "episode"),
        policy_kwargs={"net_arch": [64, 64]},
    ).learn(14_000)  # fmt: skip
    found = evaluate_exact(dag, as_policy(model))
    assert found["total_variation"] < 0.05
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)


def test_learns_a_dag_with_parallel_edges_and_no_stop() -> None:
    dag = Piles(4, 4, total=8)
    model = make(
        dag, n_envs=16, learning_rate=3e-3, batch_size=64, learning_starts=200, train_freq=1,
        exploration_initial_eps=0.5, policy_kwargs={"net_arch": [64]},
    ).learn(5_000)  # fmt: skip
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < 0.05


def test_huber_and_importance_weights_by_hand() -> None:
    model = by_hand(huber=True)
    batch = batch_by_hand(model)
    batch.weights = th.tensor([1.0, 0.5, 0.25])
    loss, _ = model._loss(batch)
    errors = np.abs(np.array([[0.0, 0.0, 4.0], [3.0, 3.0, 2.0]]) - TARGET)
    losses = np.where(errors < 1, 0.5 * errors**2, errors - 0.5).sum(axis=0)
    full = 0.25 * (-log(4)) + 0.25 * (-log(4) - 1) + 0.5 * (-log(2) - 2)
    edge = (-log(3) - 1) / 3 + (log(2 / 3) - 2) * 2 / 3
    expected = (np.array([1, 0.5, 0.25]) * (losses + np.array([full, full, edge]))).mean()
    assert (errors > 1).any() and (errors < 1).any()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_errors_over_two_steps() -> None:
    """The target of the second transition is corrected into the first one's."""
    model = make(Piles(), n_step=2, td_lambda=0.5, learning_starts=1000).learn(40)
    indices = np.arange(40)
    batch = model.replay_buffer.batch_at(indices)
    with th.no_grad():
        one_step = model._td_target(batch)
        correction = one_step - model.policy.target.of_actions(
            batch.states, batch.masks, batch.actions
        )
        each = model.networks.critics.each_of_actions(batch.states, batch.masks, batch.actions)
        errors = model._td_errors(batch)
    following = model.replay_buffer.following(indices)
    target = one_step + 0.5 * th.where(th.tensor(following >= 0), correction[following], 0.0)
    np.testing.assert_allclose(errors, each - target, atol=1e-5)
    assert (following >= 0).any() and (following < 0).any()


def test_the_actor_has_no_dropout_but_where_it_learns() -> None:
    model = SoftActorCritic("TransformerPolicy", GFNEnv(BitSequence(8, 2)), n_envs=1, device="cpu")
    for mode in (True, False):
        model.policy.set_training_mode(mode)
        assert model.networks.actor.training is model.networks.critics.training is mode
        assert not model.policy.target.training


@pytest.mark.parametrize("value", [0.0, -0.01, inf, math.nan])
def test_an_impossible_rate_of_the_critics_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=r"q_learning_rate=.* must be a finite number above 0"):
        make(q_learning_rate=value)
