"""The update rules against numbers worked out by hand, and their fixed points against log F."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th

from batches import batch_of
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import MunchausenDQN, SoftDQN, targets
from gfn_gym.agents.replay.transition_buffer import TransitionBatch
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import solve
from gfn_gym.graph import enumerate_graph
from tables import Table, table_of

log, inf = math.log, math.inf


def tensor(values: Any) -> th.Tensor:
    return th.tensor(values, dtype=th.float64)


def assert_equal(actual: th.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), np.asarray(expected), rtol=1e-6, atol=1e-6)


# ---- pure functions -------------------------------------------------------------------------


def test_soft_value_leaves_out_a_masked_action() -> None:
    # log(e^0 + e^{log 2}) = log 3; with the third action legal it would be log 7.
    assert_equal(targets.soft_value(tensor([[0, log(2), -inf]])), [log(3)])
    assert_equal(targets.soft_value(tensor([[0, log(2), log(4)]])), [log(7)])


def test_soft_value_at_another_temperature() -> None:
    # 2·log(e^{0/2} + e^{2·log 3/2}) = 2·log(1 + 3)
    assert_equal(targets.soft_value(tensor([[0, 2 * log(3), -inf]]), 2.0), [2 * log(4)])


def test_soft_value_without_a_legal_action_is_minus_infinity() -> None:
    assert targets.soft_value(tensor([[-inf, -inf]])).item() == -inf


def test_log_policy_is_the_masked_softmax() -> None:
    q = tensor([[0, 2 * log(3), -inf]])
    assert_equal(targets.log_policy(q, 2.0), [[log(1 / 4), log(3 / 4), -inf]])
    assert_equal(targets.log_policy(q), [[log(1 / 10), log(9 / 10), -inf]])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_dueling_value_is_the_soft_value(temperature: float) -> None:
    # λ·log softmax([0, λ·log 3]/λ) = λ·log [1/4, 3/4]
    advantage = tensor([[0, temperature * log(3), -inf]])
    q = targets.dueling(tensor([5.0]), advantage, temperature)
    assert_equal(q, [[5 + temperature * log(1 / 4), 5 + temperature * log(3 / 4), -inf]])
    assert_equal(targets.soft_value(q, temperature), [5.0])


def test_double_soft_value_takes_the_policy_from_one_network_and_values_from_the_other() -> None:
    online, target = tensor([[0, log(3), -inf]]), tensor([[1, 2, -inf]])
    # π = [1/4, 3/4]: ¼·(1 − log ¼) + ¾·(2 − log ¾); the third term, 0·(−inf), is none.
    expected = 0.25 * (1 + log(4)) + 0.75 * (2 + log(4 / 3))
    assert_equal(targets.double_soft_value(online, target), [expected])


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_double_soft_value_of_one_network_is_its_soft_value(temperature: float) -> None:
    q = tensor([[0.3, -1.2, -inf, 2.0], [-inf, -inf, -inf, 0.5]])
    double = targets.double_soft_value(q, q, temperature)
    assert_equal(double, targets.soft_value(q, temperature))


def test_td_target_ignores_the_next_value_at_the_end() -> None:
    dones = th.tensor([False, True, True])
    target = targets.soft_td_target(tensor([-1, -2, -3]), dones, tensor([0.5, 7, -inf]))
    assert_equal(target, [-0.5, -2, -3])


def test_munchausen_bonus_with_and_without_the_clip() -> None:
    q, actions = tensor([[0, 2 * log(3), -inf]] * 2), th.tensor([0, 1])
    scaled = targets.munchausen_log_policy(q, actions, 2.0)
    assert_equal(scaled, [2 * log(1 / 4), 2 * log(3 / 4)])  # −2.77 and −0.58
    assert_equal(targets.munchausen_bonus(scaled, 0.5, -100.0), [log(1 / 4), log(3 / 4)])
    assert_equal(targets.munchausen_bonus(scaled, 0.5, -2.0), [-1.0, log(3 / 4)])


def test_huber_is_quadratic_up_to_one_and_linear_beyond() -> None:
    error = tensor([0.5, -0.5, 1.0, -3.0])
    assert_equal(targets.td_loss(error), [0.125, 0.125, 0.5, 2.5])  # |−3| − ½
    assert_equal(targets.td_loss(error, huber=False), [0.125, 0.125, 0.5, 4.5])


# ---- the agents' targets on a batch by hand -------------------------------------------------

# A 3 × 3 grid: actions x+1, y+1, stop. The network is linear in the one-hot state, so that
# Q(s, ·) = bias + shift·[y = 1].
LINEAR: dict[str, Any] = {"policy_kwargs": {"net_arch": [6]}, "n_envs": 1}


def set_q(network: Any, bias: list[float], shift: float = 0.0) -> None:
    with th.no_grad():
        first, last = network.architecture.layers[0], network.head
        first.weight.copy_(th.eye(6))
        first.bias.zero_()
        last.bias.copy_(th.tensor(bias))
        last.weight.zero_()
        last.weight[:, 4] = shift  # rows of the one-hot: x = 0, 1, 2, y = 0, 1, 2


def hand_made_batch(model: Any) -> TransitionBatch:
    """(0,0) → (1,0); (1,1) → (2,1), which has two parents; the stop in (2,1)."""
    states = np.array([[0, 0], [1, 1], [2, 1]], dtype=np.int32)
    actions = np.array([0, 0, 2])
    return batch_of(model.dag, states, actions)


def grid() -> GFNEnv:
    return GFNEnv(Hypergrid(2, 3))


def test_soft_dqn_target_by_hand() -> None:
    model = SoftDQN("MlpPolicy", grid(), **LINEAR)
    set_q(model.q_net_target, [0, log(2), log(3)], log(2))
    set_q(model.q_net, [9.0, 9.0, 9.0])  # which plays no part
    # Q(1,0) = [0, log 2, log 3]: V = log 6. Q(2,1) = log 2 + [−, log 2, log 3]: V = log 10, and
    # r = −log 2. The stop earns log R, whatever V is.
    log_reward = model.dag.log_reward(np.array([[2, 1]]))[0]
    assert_equal(model._td_target(hand_made_batch(model)), [log(6), log(5), log_reward])


def test_double_soft_dqn_target_by_hand() -> None:
    model = SoftDQN("MlpPolicy", grid(), double=True, **LINEAR)
    set_q(model.q_net_target, [0, log(2), log(3)], log(2))
    set_q(model.q_net, [0, 0, log(2)])
    # π(1,0) = [1/4, 1/4, 1/2], π(2,1) = [−, 1/3, 2/3]; Q as above.
    first = 0.25 * log(4) + 0.25 * (log(2) + log(4)) + 0.5 * (log(3) + log(2))
    second = (log(4) + log(3)) / 3 + (log(6) + log(3 / 2)) * 2 / 3 - log(2)
    log_reward = model.dag.log_reward(np.array([[2, 1]]))[0]
    assert_equal(model._td_target(hand_made_batch(model)), [first, second, log_reward])


@pytest.mark.parametrize(
    ("l0", "bonuses", "clipped"),
    [
        (-100.0, [log(1 / 6), log(1 / 6), log(0.6)], 0.0),
        (-2.0, [-1.0, -1.0, log(0.6)], 2 / 3),  # ½·max(−2, 2·log(1/6)), 2·log(1/6) = −3.58
    ],
)
def test_munchausen_dqn_target_by_hand(l0: float, bonuses: list[float], clipped: float) -> None:
    model = MunchausenDQN(
        "MlpPolicy", grid(), munchausen_alpha=0.5, munchausen_l0=l0, **LINEAR
    )  # λ = 2
    set_q(model.q_net_target, [0, 2 * log(2), 2 * log(3)], 2 * log(2))
    set_q(model.q_net, [9.0, 9.0, 9.0])
    # Q/λ are the values of the test above: V = 2·log 6 and 2·log 10. π(x+1) = 1/6 in (0,0) and
    # (1,1); in (2,1), where it is illegal, π(stop) = 6/10.
    log_reward = model.dag.log_reward(np.array([[2, 1]]))[0]
    plain = [2 * log(6), -log(2) + 2 * log(10), log_reward]
    target = model._td_target(hand_made_batch(model))
    assert_equal(target, [r + b for r, b in zip(plain, bonuses, strict=True)])
    assert model._metrics["train/clip_fraction"] == [pytest.approx(clipped)]


def test_td_error_is_prediction_minus_target_without_gradient_into_the_target() -> None:
    model = SoftDQN("MlpPolicy", grid(), double=True, **LINEAR)
    set_q(model.q_net, [1.0, 2.0, 3.0])
    set_q(model.q_net_target, [0.0, 0.0, 0.0])
    batch = hand_made_batch(model)
    error = model._td_error(batch)
    assert_equal(error, np.array([1.0, 1.0, 3.0]) - model._td_target(batch).detach().numpy())
    error.sum().backward()
    assert all(p.grad is None for p in model.q_net_target.parameters())
    # ∂ΣQ/∂bias: action 0 twice, the stop once; through double's π it would be something else.
    assert_equal(model.q_net.head.bias.grad, [2.0, 0.0, 1.0])


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_dueling_network_has_an_output_of_its_own_for_soft_value(algorithm: Any) -> None:
    model = algorithm("MlpPolicy", grid(), dueling=True, seed=0)
    states = enumerate_graph(model.dag).states
    with th.no_grad():
        encoding = model.q_net.architecture.encode(model.policy.to_tensor(states))
        value = model.q_net.value_head(encoding).squeeze(1)
    q = model.q_net(*model.policy.tensors(states))
    assert_equal(targets.soft_value(q, model.temperature), value)
    assert ((q == -inf).numpy() == ~model.dag.action_mask(states)).all()


# ---- fixed points ---------------------------------------------------------------------------


def all_transitions(dag: DAG) -> TransitionBatch:
    states = enumerate_graph(dag).states
    rows, actions = np.nonzero(dag.action_mask(states))
    return batch_of(dag, states[rows], actions)


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "sweeps"),
    [
        (SoftDQN, {}, 8),  # the longest walk of the 4 × 4 grid has 6 steps and the stop
        (SoftDQN, {"double": True}, 8),
        (MunchausenDQN, {"munchausen_alpha": 0.15}, 100),
        (MunchausenDQN, {"munchausen_alpha": 0.5}, 200),
    ],
)
def test_iterating_the_target_arrives_at_the_flows(
    algorithm: Any, kwargs: dict[str, Any], sweeps: int
) -> None:
    dag = Hypergrid(2, 4)
    model = algorithm(Table, GFNEnv(dag), n_envs=1, **kwargs)
    batch = all_transitions(dag)
    place = (batch.states[:, 0] * 4 + batch.states[:, 1], batch.actions)
    for _ in range(sweeps):
        target = model._td_target(batch)
        for network in (model.q_net, model.q_net_target):
            table_of(network)[place] = target
    solution = solve(dag)
    log_flow = model.policy.log_flow(solution.graph.states)
    np.testing.assert_allclose(log_flow, solution.log_flow, atol=1e-5)
    assert log_flow[0] == pytest.approx(dag.log_partition(), abs=1e-5)
    log_probs = model.policy.log_probs(solution.graph.states)
    np.testing.assert_allclose(log_probs, solution.policy(solution.graph.states), atol=1e-5)


def test_fixed_point_is_missed_where_the_clip_is_active() -> None:
    """So that the checks above are known to be able to fail."""
    dag = Hypergrid(2, 4)
    model = MunchausenDQN(Table, GFNEnv(dag), n_envs=1, munchausen_alpha=0.5, munchausen_l0=-0.5)
    batch = all_transitions(dag)
    place = (batch.states[:, 0] * 4 + batch.states[:, 1], batch.actions)
    for _ in range(200):
        table_of(model.q_net_target)[place] = model._td_target(batch)
    model.q_net.load_state_dict(model.q_net_target.state_dict())
    assert abs(model.policy.log_flow(dag.initial_states(1))[0] - solve(dag).log_z) > 0.05
