"""What arXiv:2310.12934 proves equal is equal, on random networks and for every edge or path.

Soft Q-learning with a dueling head, path consistency and REINFORCE on one side, the balance
losses on the other; both sides by the agents themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th

from batches import batch_of, on_policy
from dags import Piles, Strides, Words
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    MunchausenDQN,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    targets,
)
from gfn_gym.agents.replay.trajectory_buffer import TrajectoryBatch
from gfn_gym.agents.replay.transition_buffer import TransitionBuffer
from gfn_gym.envs.hypergrid import Hypergrid

# Stops and completions, parallel edges in both, and walks of several lengths to one state.
DAGS: dict[str, DAG] = {
    "grid": Hypergrid(2, 4),
    "words": Words(),
    "piles": Piles(),
    "piles_total": Piles(total=5),
    "strides": Strides(),
}
EVERY_DAG = pytest.mark.parametrize("name", DAGS)


def make(algorithm: Any, name: str, **kwargs: Any) -> Any:
    """An agent with a network whose outputs are far from equal."""
    model = algorithm(
        "MlpPolicy", GFNEnv(DAGS[name]), n_envs=8, seed=5, device="cpu",
        policy_kwargs={"net_arch": [16]}, **kwargs,
    )  # fmt: skip
    for head in (model.policy.online.head, model.policy.online.value_head):
        if head is not None:
            head.weight.data.mul_(4.0)
    return model


def soft_dqn_alike(model: Any, algorithm: Any, name: str, **kwargs: Any) -> Any:
    """Soft Q-learning with the network of a balance agent, on both sides."""
    ours = make(algorithm, name, dueling=True, leaf_weight=1.0, **kwargs)
    for network in (ours.q_net, ours.q_net_target):
        network.load_state_dict(model.policy.online.state_dict())
    return ours


def td_errors(model: Any, batch: TrajectoryBatch) -> th.Tensor:
    """Q − r − V(s') of the edges, by the agent that learns from transitions."""
    states = batch.states.numpy().astype(model.dag.state_space.dtype)
    error: th.Tensor = model._td_error(batch_of(model.dag, states, batch.actions.numpy()))
    return error.detach()


# ---- (i) soft Q-learning is detailed balance ------------------------------------------------


@EVERY_DAG
@pytest.mark.parametrize(
    ("algorithm", "kwargs"), [(SoftDQN, {}), (MunchausenDQN, {"munchausen_alpha": 0.0})]
)
def test_soft_dqn_is_detailed_balance(algorithm: Any, kwargs: Any, name: str) -> None:
    balance = make(DetailedBalance, name)
    batch = balance.replay_buffer.batch(on_policy(balance, 50))
    soft = soft_dqn_alike(balance, algorithm, name, **kwargs)
    residuals = balance.residuals(batch).detach()
    assert residuals.std() > 0.3
    np.testing.assert_allclose(td_errors(soft, batch), residuals, atol=1e-5)
    states = batch.states.numpy()
    assert (soft.policy.log_probs(states) == balance.policy.log_probs(states)).all()
    assert (soft.policy.log_flow(states) == balance.policy.log_flow(states)).all()


def test_with_a_munchausen_bonus_it_is_not() -> None:
    """So that the check above is known to be able to fail."""
    balance = make(DetailedBalance, "grid")
    batch = balance.replay_buffer.batch(on_policy(balance, 50))
    soft = soft_dqn_alike(balance, MunchausenDQN, "grid", munchausen_alpha=0.15)
    assert (td_errors(soft, batch) - balance.residuals(batch)).abs().max() > 0.1


# ---- (ii) path consistency is sub-trajectory balance ----------------------------------------


@EVERY_DAG
def test_path_consistency_is_sub_trajectory_balance(name: str) -> None:
    """−V(s_i) + V(s_j) + Σ (r − log π) of arXiv:1702.08892 at γ = τ = 1.

    V and log π are SoftDQN's, rewards the decision process's.
    """
    balance = make(SubTrajectoryBalance, name)
    batch = balance.replay_buffer.batch(on_policy(balance, 20))
    soft = soft_dqn_alike(balance, SoftDQN, name)
    found = balance.residuals(batch).detach().numpy()
    errors, compared = td_errors(soft, batch).double().numpy(), 0
    starts = np.cumsum(batch.lengths.numpy()) - batch.lengths.numpy()
    for trajectory, (start, length) in enumerate(zip(starts, batch.lengths, strict=True)):
        edges = slice(start, start + int(length))
        states = batch.states[edges].numpy().astype(soft.dag.state_space.dtype)
        actions = batch.actions[edges].numpy()
        rewards = MDP(soft.dag).step(states, actions).rewards
        entropic = rewards - soft.policy.log_probs(states)[np.arange(len(actions)), actions]
        value = np.append(soft.policy.log_flow(states), 0.0)
        for i in range(len(actions)):
            for j in range(i + 1, len(actions) + 1):
                consistency = -value[i] + value[j] + entropic[i:j].sum()
                assert found[trajectory, i, j] == pytest.approx(-consistency, abs=1e-4)
                # Which is what the one-step errors of soft Q-learning add up to.
                assert errors[edges][i:j].sum() == pytest.approx(-consistency, abs=1e-4)
                compared += 1
    assert compared > 50 and np.abs(found).max() > 1


@EVERY_DAG
@pytest.mark.parametrize("n_step", [2, 3, 100])
def test_multi_step_soft_dqn_is_sub_trajectory_balance(n_step: int, name: str) -> None:
    """Its error over n steps is the residual of the piece of n edges, or up to the end."""
    balance = make(SubTrajectoryBalance, name)
    taken = on_policy(balance, 20)
    residuals = balance.residuals(balance.replay_buffer.batch(taken)).detach().numpy()
    soft = soft_dqn_alike(balance, SoftDQN, name, n_step=n_step)
    buffer = TransitionBuffer(soft.dag, 1000, 1, "cpu", 0.0, np.random.default_rng(0))
    soft.replay_buffer, expected = buffer, []
    for number, trajectory in enumerate(taken):
        states = trajectory.states.astype(soft.dag.state_space.dtype)
        length = len(states)
        for i in range(length):
            state, action = states[i : i + 1], trajectory.actions[i : i + 1]
            buffer.add(state, action, soft.mdp.step(state, action))
            expected.append(residuals[number, i, min(i + n_step, length)])
    found = soft._td_error(buffer.batch_at(np.arange(buffer.size()))).detach()
    np.testing.assert_allclose(found, expected, atol=1e-4)


# ---- (iii) trajectory balance is REINFORCE --------------------------------------------------


def gradient(loss: th.Tensor, network: th.nn.Module) -> th.Tensor:
    parts = th.autograd.grad(loss, list(network.parameters()))
    return th.cat([part.flatten() for part in parts])


@EVERY_DAG
def test_trajectory_balance_is_reinforce_with_log_z_as_baseline(name: str) -> None:
    """∇ ½(residual)² = ∇ −(Σ (r − log π) − log Z)·Σ log π, the bracket held constant."""
    balance = make(TrajectoryBalance, name)
    balance.policy.log_z.data.fill_(0.7)
    network, largest = balance.policy.online, 0.0
    for trajectory in on_policy(balance, 20):
        batch = balance.replay_buffer.batch([trajectory])
        half = 0.5 * gradient(balance._loss(batch), network)
        states = trajectory.states.astype(balance.dag.state_space.dtype)
        rewards = MDP(balance.dag).step(states, trajectory.actions).rewards
        log_pi = targets.log_policy_of(network(batch.states, batch.masks), batch.actions)
        advantage = rewards.sum() - log_pi.sum().item() - 0.7
        reinforce = gradient(-advantage * log_pi.sum(), network)
        np.testing.assert_allclose(half, reinforce, rtol=1e-3, atol=1e-4 * half.abs().max().item())
        largest = max(largest, half.abs().max().item())
    assert largest > 0.1
