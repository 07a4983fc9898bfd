"""The balance losses against numbers worked out by hand: pure functions, then the agents'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th

from batches import trajectories_of
from dags import Piles, Words
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import DetailedBalance, SubTrajectoryBalance, TrajectoryBalance, targets
from gfn_gym.agents.networks import QNetwork
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import solve
from gfn_gym.graph import enumerate_graph
from tables import Table, fill_with_flows

log = math.log


def tensor(values: Any) -> th.Tensor:
    return th.tensor(values, dtype=th.float64)


def assert_equal(actual: th.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), np.asarray(expected), rtol=1e-5, atol=1e-5)


# ---- pure functions -------------------------------------------------------------------------

# Two trajectories, of two edges and of one; at their ends the rewards hold log R.
LOG_FORWARD, REWARDS = [-1.0, -2.0, -0.5], [-0.3, 0.4, 2.0]
DONES, TRAJECTORIES = th.tensor([False, True, True]), th.tensor([0, 0, 1])
LOG_FLOW = [1.5, 0.7, 1.1]


def test_trajectory_balance_by_hand() -> None:
    found = targets.trajectory_balance(
        tensor([0.9]), tensor(LOG_FORWARD), tensor(REWARDS), TRAJECTORIES
    )
    # 0.9 − 1 − 2 + 0.3 − 0.4, and 0.9 − 0.5 − 2
    assert_equal(found, [-2.2, -1.6])


def test_detailed_balance_by_hand() -> None:
    found = targets.detailed_balance(tensor(LOG_FLOW), tensor(LOG_FORWARD), tensor(REWARDS), DONES)
    # 1.5 − 1 + 0.3 − 0.7; 0.7 − 2 − 0.4, where R stands for F; 1.1 − 0.5 − 2
    assert_equal(found, [0.1, -1.7, -1.4])


def padded(values: list[float]) -> th.Tensor:
    return tensor([[values[0], values[1]], [values[2], 0.0]])


def test_sub_trajectory_balance_by_hand() -> None:
    found = targets.sub_trajectory_balance(
        padded(LOG_FLOW), padded(LOG_FORWARD), padded(REWARDS)
    )  # fmt: skip
    assert found.shape == (2, 3, 3)
    # Both edges as in detailed balance, and 1.5 − 1 − 2 + 0.3 − 0.4 from the start to the end.
    assert_equal(found[0], [[0, 0.1, -1.6], [-0.1, 0, -1.7], [1.6, 1.7, 0]])
    assert_equal(found[1, 0, 1], -1.4)


def test_geometric_weights_by_hand() -> None:
    found = targets.geometric_weights(th.tensor([2, 1]), 0.5)
    # Two pieces of one edge and one of two: ½, ½ and ¼ of 1¼.
    assert_equal(found[0], [[0, 0.4, 0.2], [0, 0, 0.4], [0, 0, 0]])
    assert_equal(found[1], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("decay", [1e-3, 0.9, 1.9])
def test_geometric_weights_of_long_trajectories(decay: float) -> None:
    """1.9^200 does not fit into float32."""
    found = targets.geometric_weights(th.tensor([200, 3, 1]), decay)
    assert_equal(found.sum(dim=(1, 2)), [1.0, 1.0, 1.0])
    assert found[1, 0, 2] / found[1, 0, 1] == pytest.approx(decay, rel=1e-4)
    assert not found[1, :, 4:].any() and not found[1].tril().any()


# ---- the agents on trajectories by hand -----------------------------------------------------


def make(algorithm: Any, dag: DAG, biases: list[float], **kwargs: Any) -> Any:
    """An agent whose network returns the same in every state."""
    model = algorithm(
        "MlpPolicy", GFNEnv(dag), n_envs=1, policy_kwargs={"net_arch": [4]}, device="cpu", **kwargs
    )
    head, value_head = model.policy.online.head, model.policy.online.value_head
    head.weight.data.zero_()
    head.bias.data.copy_(th.tensor(biases[-dag.n_actions :]))
    if value_head is not None:  # whose bias comes first
        value_head.weight.data.zero_()
        value_head.bias.data.copy_(th.tensor(biases[:1]))
    if model.policy.log_z is not None:
        model.policy.log_z.data.fill_(0.5)
    return model


GRID = Hypergrid(2, 3, reward=lambda states: 2.0 + states[:, 1].astype(np.float64))
WALKS = [[0, 1, 2], [2]]  # (0,0) → (1,0) → (1,1), stop; stop
# log P_F = log 1/4, 1/4 and 1/2 of x+1, y+1 and stop; log P_B = 0, −log 2; log R = 3 and 2.
UNEVEN = [0.0, 0.0, log(2)]


def test_trajectory_balance_of_a_grid() -> None:
    model = make(TrajectoryBalance, GRID, UNEVEN)
    first = 0.5 + 2 * log(1 / 4) + log(1 / 2) - (-log(2)) - 3
    second = 0.5 + log(1 / 2) - 2
    batch = trajectories_of(GRID, WALKS)
    assert_equal(model.residuals(batch), [first, second])
    assert_equal(model._loss(batch), (first**2 + second**2) / 2)


F = 1.3  # log F everywhere
EDGES = [
    F + log(1 / 4) - F,
    F + log(1 / 4) + log(2) - F,
    F + log(1 / 2) - 3,
    F + log(1 / 2) - 2,
]


def test_detailed_balance_of_a_grid() -> None:
    model = make(DetailedBalance, GRID, [F, *UNEVEN])
    batch = trajectories_of(GRID, WALKS)
    assert_equal(model.residuals(batch), EDGES)
    assert_equal(model._loss(batch), np.square(EDGES).mean())


def test_sub_trajectory_balance_of_a_grid() -> None:
    model = make(SubTrajectoryBalance, GRID, [F, *UNEVEN], subtb_lambda=0.9)
    a, b, c, d = EDGES  # pieces of which add up, for the flow between them cancels
    singles, pairs, whole = a**2 + b**2 + c**2, (a + b) ** 2 + (b + c) ** 2, (a + b + c) ** 2
    first = (0.9 * singles + 0.81 * pairs + 0.729 * whole) / (3 * 0.9 + 2 * 0.81 + 0.729)
    assert_equal(model._loss(trajectories_of(GRID, WALKS)), (first + d**2) / 2)


def test_the_limits_of_lambda_are_the_other_two() -> None:
    batch = trajectories_of(GRID, [[0, 1, 2], [1, 0, 2]])
    a, b, c, _ = EDGES
    single = make(SubTrajectoryBalance, GRID, [F, *UNEVEN], subtb_lambda=1e-6)
    assert_equal(single._loss(batch), (a**2 + b**2 + c**2) / 3)
    whole = make(SubTrajectoryBalance, GRID, [F, *UNEVEN], subtb_lambda=1e6)
    assert_equal(whole._loss(batch), (a + b + c) ** 2)


def test_completion_earns_both_rewards() -> None:
    """Two words: 4 actions, then 2; two orders lead to each object, so log P_B = 0, −log 2."""
    dag = Words(2)
    log_reward = dag.log_reward(np.array([[1, 0]]))[0]
    batch = trajectories_of(dag, [[1, 2]])
    uneven = make(TrajectoryBalance, dag, [0.0] * 4)
    expected = 0.5 + log(1 / 4) + log(1 / 2) + log(2) - log_reward
    assert_equal(uneven.residuals(batch), [expected])
    flows = make(DetailedBalance, dag, [F] + [0.0] * 4)
    assert_equal(flows.residuals(batch), [log(1 / 4), F + log(1 / 2) + log(2) - log_reward])


# ---- a learnt P_B ---------------------------------------------------------------------------


def test_learnt_backward_enters_with_its_gradient() -> None:
    model = make(TrajectoryBalance, GRID, UNEVEN, learnt_backward=True)
    last = model.policy.backward_net.head
    last.weight.data.zero_()
    last.bias.data.copy_(th.tensor([0.0, log(3)]))  # of (1,1): x−1 with ¼, y−1 with ¾
    batch = trajectories_of(GRID, [[0, 1, 2]], learnt_backward=True)
    residual = 0.5 + 2 * log(1 / 4) + log(1 / 2) - log(3 / 4) - 3
    assert_equal(model.residuals(batch), [residual])
    model._loss(batch).backward()
    # d log P_B / d bias = (−¼, 1 − ¾), and the residual holds −log P_B.
    assert_equal(last.bias.grad, [2 * residual / 4, -2 * residual / 4])


@pytest.mark.parametrize("algorithm", [TrajectoryBalance, DetailedBalance, SubTrajectoryBalance])
@pytest.mark.parametrize("dag", [Piles(), Piles(total=5)], ids=["piles", "piles_total"])
def test_a_uniform_network_is_the_uniform_policy(algorithm: Any, dag: DAG) -> None:
    """Parallel edges and groups of backward actions included."""
    n = dag.n_actions + (algorithm is not TrajectoryBalance)
    walk = [0, 0, 1, 2, 3] if dag.stop_action is not None else [0, 0, 1, 2, 2]
    fixed, learnt = (
        make(algorithm, dag, list(np.arange(n) / n), learnt_backward=flag) for flag in (False, True)
    )
    for p in learnt.policy.backward_net.parameters():
        p.data.zero_()
    found = learnt.residuals(trajectories_of(dag, [walk], learnt_backward=True))
    assert_equal(found, fixed.residuals(trajectories_of(dag, [walk])).detach())
    assert found.abs().max() > 0.1


# ---- the optimum ----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [TrajectoryBalance, DetailedBalance, SubTrajectoryBalance])
def test_nothing_is_left_at_the_exact_flows(algorithm: Any) -> None:
    dag = Hypergrid(2, 4)
    model = make(algorithm, dag, [0.0] * (3 + (algorithm is not TrajectoryBalance)))
    model.policy.online = QNetwork(Table(dag))  # Q = log F(edge)
    fill_with_flows(model.policy.online, solve(dag))
    model.policy.online.float()
    if algorithm is TrajectoryBalance:
        model.policy.log_z.data.fill_(dag.log_partition())
    batch = trajectories_of(dag, [[0, 1, 1, 0, 2], [2], [1, 1, 1, 0, 0, 0, 2], [0, 2]])
    assert_equal(model._loss(batch), 0.0)
    states = enumerate_graph(dag).states
    np.testing.assert_allclose(
        model.policy.log_probs(states), solve(dag).policy(states), atol=1e-5
    )  # fmt: skip
