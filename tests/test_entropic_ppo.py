"""Entropic PPO: its update rules by hand, what it learns, and going on where it was stopped."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import logged, updates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule

from batches import trajectories_of
from block_sets import BLOCK_SETS, tilted
from dags import Piles, Words
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import EntropicPPO, TrainingCheckpoint, as_policy, targets
from gfn_gym.agents.backward import TLMBackward
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import evaluate_exact, uniform_policy
from gfn_gym.evaluation.solve import solve
from gfn_gym.graph import enumerate_graph

log, inf = math.log, math.inf
SMALL: dict[str, Any] = {"n_envs": 4, "train_freq": (4, "episode"), "seed": 0}


def make(dag: DAG | None = None, **kwargs: Any) -> Any:
    kwargs = {"policy_kwargs": {"net_arch": [8]}, **SMALL, **kwargs}
    return EntropicPPO("MlpPolicy", GFNEnv(Hypergrid(2, 4) if dag is None else dag), **kwargs)


def tensor(values: Any) -> th.Tensor:
    return th.tensor(values, dtype=th.float64)


def weights(network: Any) -> th.Tensor:
    return th.cat([p.detach().flatten() for p in network.parameters()])


# ---- by hand --------------------------------------------------------------------------------


def test_generalised_advantage_by_hand() -> None:
    errors = tensor([[1.0, -2.0, 4.0], [3.0, 5.0, 0.0]])  # the second one ends after two
    found = targets.generalised_advantage(errors, 0.5)
    np.testing.assert_allclose(found, tensor([[1 - 1 + 1, -2 + 2, 4], [3 + 2.5, 5, 0]]))
    np.testing.assert_allclose(targets.generalised_advantage(errors, 0.0), errors)


def test_clipped_surrogate_by_hand() -> None:
    ratio = tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    found = targets.clipped_surrogate(ratio.log(), tensor([2.0, -2.0, 2.0, -2.0, 2.0]), 0.2)
    # Clipped only where the step was good and went too far.
    np.testing.assert_allclose(found, [2.4, -3.0, 1.0, -1.6, 2.2])


def test_policy_divergence_by_hand() -> None:
    q = tensor([[log(3), 0.0, -inf]]).requires_grad_()
    divergence = targets.policy_divergence(q, tensor([[7.0, 7.0, -inf]]))
    assert divergence.item() == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))
    divergence.sum().backward()
    assert q.grad is not None
    by_hand = 0.75 * 0.25 * log(3)  # π1·π2·(log π1/π2)
    np.testing.assert_allclose(q.grad, [[by_hand, -by_hand, 0.0]])


def test_surrogate_with_the_divergence_is_best_at_the_soft_optimum() -> None:
    """E_π'[ρ·A] − KL(π ‖ π') with A = Q − log π' − V has its maximum at softmax Q."""
    q, before = tensor([[0.3, -1.0, 2.0, -inf]]), tensor([[1.0, 0.5, -0.2, -inf]])
    logits = q.clone().requires_grad_()
    legal = th.tensor([0, 1, 2])
    old, new = (targets.log_policy(x)[0, legal] for x in (before, logits))
    advantages = q[0, legal] - old - targets.soft_value(q)
    surrogate = targets.clipped_surrogate(new - old, advantages, 100.0)
    loss = -(old.exp() * surrogate).sum() + targets.policy_divergence(logits, before).sum()
    loss.backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, np.zeros((1, 4)), atol=1e-12)
    assert loss.item() == pytest.approx(0.0)  # the advantage of the optimum over π' is in it


def all_weights_zero(model: Any) -> None:
    """Three actions alike, and V = log 3."""
    for p in model.networks.parameters():
        p.data.zero_()
    model.networks.value.head.bias.data.fill_(log(3))


def test_first_epoch_by_hand() -> None:
    """(0,0) → (1,0), and the stop there with log R = −3; all weights 0, three actions legal.

    V = log 3 and log π = −log 3 everywhere: the TD errors are log 3 and −3.
    """
    model = make(
        Hypergrid(2, 4, reward=lambda states: np.full(len(states), -3.0)), n_envs=1,
        gae_lambda=0.5, gradient_steps=1,
    )  # fmt: skip
    all_weights_zero(model)
    states = np.array([[0, 0]], dtype=np.int32)
    for action in (0, 2):
        transition = model.mdp.step(states, np.array([action]))
        model.replay_buffer.add(states, np.array([action]), transition)
        states = transition.next_states
    batch = model.replay_buffer.batch(model.replay_buffer.take_new())
    model._begin_round(batch)
    loss = model._loss(batch)
    advantages = np.array([log(3) - 1.5, -3.0])  # and the returns are V more
    assert loss.item() == pytest.approx((0.5 * advantages**2 - advantages).mean(), rel=1e-6)

    loss.backward()
    net = model.networks
    chosen = np.array([[1, 0, 0], [0, 0, 1]])
    by_hand = -(advantages[:, None] * (chosen - 1 / 3)).mean(axis=0)
    np.testing.assert_allclose(net.actor.head.bias.grad, by_hand, rtol=1e-5)
    by_hand = -advantages.mean()  # (V − A − V')·dV
    np.testing.assert_allclose(net.value.head.bias.grad, [by_hand], rtol=1e-5)


def test_later_epochs_by_hand() -> None:
    """The stop in (0,0) with log R = −3, so A = −3, after π has moved from 1/3 to 1/2 of it.

    ρ = 3/2, which is not clipped where A < 0; KL = ½ log 3/2 + 2·¼ log 3/4; V has not moved.
    """
    losses = []
    for kl_coefficient in (0.0, 2.0):
        model = make(
            Hypergrid(2, 4, reward=lambda states: np.full(len(states), -3.0)), n_envs=1,
            kl_coefficient=kl_coefficient,
        )  # fmt: skip
        all_weights_zero(model)
        states, stop = np.array([[0, 0]], dtype=np.int32), np.array([2])
        model.replay_buffer.add(states, stop, model.mdp.step(states, stop))
        batch = model.replay_buffer.batch(model.replay_buffer.take_new())
        model._begin_round(batch)
        assert model._loss(batch).item() == pytest.approx(3.0 + 0.5 * 3.0**2)
        model.networks.actor.head.bias.data[2] = log(2)
        losses.append(model._loss(batch).item())
    divergence = 0.5 * log(3 / 2) + 0.5 * log(3 / 4)
    surrogate = -3.0 * 3 / 2
    assert losses[0] == pytest.approx(0.5 * 3.0**2 - surrogate)
    assert losses[1] - losses[0] == pytest.approx(2.0 * divergence, rel=1e-4)


def test_network_is_value_and_policy() -> None:
    model = make()
    states = enumerate_graph(model.dag).states
    net, mask = model.networks, th.from_numpy(model.dag.action_mask(states))
    rows = th.from_numpy(states.astype(np.int64))
    value = net.value(rows).detach()
    np.testing.assert_allclose(model.policy.log_flow(states), value, atol=1e-5)
    expected = targets.log_policy(net.actor(rows, mask)).detach()
    np.testing.assert_allclose(model.policy.log_probs(states), expected, atol=1e-5)


def test_epochs_share_what_was_before_them() -> None:
    """A round begins once, before its three epochs, on the trajectories that these have."""
    calls: list[tuple[str, Any]] = []

    class Watched(EntropicPPO):  # type: ignore[misc, unused-ignore]
        def _begin_round(self, batch: Any) -> None:
            calls.append(("begin", batch))
            super()._begin_round(batch)

        def _loss(self, batch: Any) -> Any:
            calls.append(("loss", batch))
            return super()._loss(batch)

    model = Watched("MlpPolicy", GFNEnv(Hypergrid(2, 4)), gradient_steps=3, **SMALL)
    model.learn(total_trajectories=8)
    assert updates(model) == 6
    assert [name for name, _ in calls] == ["begin", "loss", "loss", "loss"] * 2
    batches = [batch for _, batch in calls]
    assert all(batch is batches[0] for batch in batches[:4])
    assert all(batch is batches[4] for batch in batches[4:])
    assert batches[0] is not batches[4]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"learning_rate": 3e-3}, (3e-3, 1e-3)),
        ({"learning_rate": 3e-3, "value_learning_rate": 0.5}, (3e-3, 0.5)),
        (
            {
                "learning_rate": lambda left: 3e-3 * (1 + left),
                "value_learning_rate": lambda left: 7,
            },
            (3e-3, 7.0),
        ),
    ],
)
def test_learning_rates(kwargs: dict[str, Any], expected: tuple[float, float]) -> None:
    model = make(**kwargs).learn(total_trajectories=8)
    rates = [group["lr"] for group in model.policy.optimizer.param_groups]
    assert rates == pytest.approx(expected)
    groups = [len(group["params"]) for group in model.policy.optimizer.param_groups]
    assert groups == [4, 4]


class Values(BaseCallback):
    """V of every state before each round of the training."""

    model: Any

    def _on_training_start(self) -> None:
        self.states = enumerate_graph(self.model.dag).states
        self.seen: list[Any] = []

    def _on_rollout_start(self) -> None:
        self.seen.append(self.model.policy.log_flow(self.states))

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("of_its_own", [True, False], ids=["its own", "a third of the policy's"])
@pytest.mark.parametrize("falls", [True, False], ids=["falls", "rises"])
def test_the_rate_of_v_follows_its_schedule(falls: bool, of_its_own: bool) -> None:
    """At a rate of 0, V stands still: in the second half of the training, or in the first."""

    def schedule(left: float) -> float:
        return 1e-2 if (left > 0.5) == falls else 0.0

    values = Values()
    name = "value_learning_rate" if of_its_own else "learning_rate"
    kwargs: dict[str, Any] = {name: schedule}
    make(**kwargs).learn(total_trajectories=64, callback=values)
    moves = [np.abs(new - old).max() > 1e-4 for old, new in pairwise(values.seen)]
    assert len(moves) > 12
    assert all(moves[:4]) == falls and any(moves[:4]) == falls
    assert all(moves[-4:]) != falls and any(moves[-4:]) != falls


# ---- learning -------------------------------------------------------------------------------


class SteepPiles(Piles):
    def log_reward(self, states: Any) -> Any:
        return 3 * super().log_reward(states)


def test_paper_preset_learns_the_hypergrid() -> None:
    dag = Hypergrid(2, 8)
    model = EntropicPPO("MlpPolicy", GFNEnv(dag), preset="paper", seed=0)
    found = evaluate_exact(dag, as_policy(model.learn(total_trajectories=2400)))
    assert evaluate_exact(dag, uniform_policy(dag))["total_variation"] > 0.7
    assert found["total_variation"] < 0.05
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("dag", [Words(3, 3), SteepPiles()], ids=["words", "piles"])
def test_learns_dags_of_other_kinds(dag: DAG) -> None:
    before = evaluate_exact(dag, uniform_policy(dag))["total_variation"]
    model = EntropicPPO(
        "MlpPolicy", GFNEnv(dag), learning_rate=LinearSchedule(1e-2, 1e-4, 1.0), seed=0,
        policy_kwargs={"net_arch": [32]},
    ).learn(total_trajectories=3200)  # fmt: skip
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < 0.05 < 0.2 < before


def test_transformer_trains_without_dropout() -> None:
    """With it, π would not be what it is divided by, and the first epoch's ratios not 1."""
    model = EntropicPPO(
        "TransformerPolicy", GFNEnv(BitSequence(8, 2)), **SMALL, gradient_steps=1,
        policy_kwargs={"width": 16, "heads": 2, "layers": 1, "dropout": 0.5},
    )  # fmt: skip
    model.learn(total_trajectories=8)
    means = logged(model)  # of two rounds, neither of which can be negative
    assert means["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert means["train/clip_fraction"] == 0.0


# ---- a learnt P_B ---------------------------------------------------------------------------


def test_a_round_learns_p_b_once_and_then_takes_its_rewards() -> None:
    """A round first moves P_B, and the advantages are of what it has become."""
    kwargs: dict[str, Any] = {
        "learnt_backward": True, "backward_tau": 0.5, "backward_learning_rate": 0.1,
        "gae_lambda": 0.0, "n_envs": 1, "train_freq": (3, "episode"),
        "learning_rate": 1e-30, "value_learning_rate": 1e-30,  # π and V stay as they are
    }  # fmt: skip
    model, dag = make(Piles(), **kwargs), Piles()
    # Two of the walks come to (2, 1, 0) by (1, 1, 0), the last by (2, 0, 0).
    walks = [[0, 1, 0, 3], [2, 1, 1, 3], [0, 0, 1, 3]]
    batch = trajectories_of(dag, walks, learnt_backward=True)
    network = make(Piles(), **kwargs).policy.backward_net
    twin = TLMBackward(network, th.optim.Adam, {}, learning_rate=0.1, tau=0.5)
    twin.learn([batch.backward], 1.0)
    for walk in walks:
        states = dag.initial_states(1)
        for action in map(np.array, ([a] for a in walk)):
            transition = model.mdp.step(states, action)
            model.replay_buffer.add(states, action, transition)
            states = transition.next_states
    model.set_logger(configure(None, []))
    model.train(2)  # of two epochs, only the first of which moves P_B
    moved = weights(model.backward.reward_network)
    np.testing.assert_allclose(moved, weights(twin.reward_network), atol=1e-6)
    assert not moved.equal(weights(make(Piles(), **kwargs).backward.reward_network))

    states, actions = batch.states.numpy(), batch.actions.numpy()
    log_backward = MDP(dag, model.backward_policy).log_backward(states, actions)
    assert np.abs(log_backward - batch.log_backward.numpy()).max() > 0.01
    value = model.policy.log_flow(states)
    next_value = np.where(batch.dones, 0.0, np.roll(value, -1))
    log_pi = model.policy.log_probs(states)[np.arange(len(actions)), actions]
    errors = log_backward + batch.log_reward.numpy() - log_pi + next_value - value
    np.testing.assert_allclose(model._start.advantages, errors, atol=1e-5)


@pytest.mark.parametrize("dag", [Hypergrid(2, 8), SteepPiles()], ids=["grid", "parallel edges"])
def test_learns_the_target_with_a_learnt_p_b(dag: DAG) -> None:
    model = EntropicPPO(
        "MlpPolicy", GFNEnv(dag), learnt_backward=True, seed=0,
        learning_rate=LinearSchedule(3e-3, 1e-4, 1.0),
    ).learn(total_trajectories=3200)  # fmt: skip
    graph = enumerate_graph(dag)
    assert evaluate_exact(graph, as_policy(model))["total_variation"] < 0.05
    log_backward = graph.log_backward(model.backward_policy)
    total = np.bincount(graph.children, np.exp(log_backward), minlength=len(graph.states))
    np.testing.assert_allclose(total, [0.0, *[1.0] * (len(total) - 1)], atol=1e-6)
    assert np.abs(log_backward - graph.log_backward()).max() > 0.1
    log_z = solve(graph, model.backward_policy).log_z
    assert model.policy.log_flow(graph.states[:1])[0] == pytest.approx(log_z, abs=0.1)


# ---- saving and resuming --------------------------------------------------------------------


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make(gae_lambda=0.9, clip_range=0.1, kl_coefficient=0.5).learn(total_trajectories=40)
    model.save(tmp_path / "model")
    loaded = EntropicPPO.load(tmp_path / "model")
    states = enumerate_graph(model.dag).states
    assert (loaded.policy.log_probs(states) == model.policy.log_probs(states)).all()
    assert (loaded.policy.log_flow(states) == model.policy.log_flow(states)).all()
    assert (loaded.gae_lambda, loaded.clip_range, loaded.kl_coefficient) == (0.9, 0.1, 0.5)
    loaded.learn(total_trajectories=40)
    assert (loaded.policy.log_probs(states) != model.policy.log_probs(states)).any()


class Interrupt(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps >= 700:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("learnt_backward", [False, True])
def test_interrupted_and_resumed_is_as_never_interrupted(
    learnt_backward: bool, tmp_path: Path
) -> None:
    kwargs: dict[str, Any] = {"n_envs": 5, "learning_rate": LinearSchedule(1e-2, 1e-3, 1.0)}
    kwargs["learnt_backward"] = learnt_backward
    whole = make(**kwargs)
    whole.learn(1500, callback=TrainingCheckpoint(tmp_path / "whole.zip", 200))
    with pytest.raises(KeyboardInterrupt):
        make(**kwargs).learn(
            1500, callback=[TrainingCheckpoint(tmp_path / "c.zip", 200), Interrupt()]
        )
    resumed = EntropicPPO.resume(tmp_path / "c.zip")
    assert 200 < resumed.num_timesteps < 700
    resumed.learn()
    assert updates(resumed) == updates(whole)
    pairs = zip(resumed.policy.parameters(), whole.policy.parameters(), strict=True)
    assert all(our.equal(their) for our, their in pairs)
    ours, theirs = (m.policy.optimizer.state_dict() for m in (resumed, whole))
    assert ours["param_groups"] == theirs["param_groups"]
    for key, state in ours["state"].items():
        assert all(value.equal(theirs["state"][key][name]) for name, value in state.items())
    if learnt_backward:
        assert weights(resumed.policy.backward_net).equal(weights(whole.policy.backward_net))
        assert weights(resumed.backward.reward_network).equal(
            weights(whole.backward.reward_network)
        )


# ---- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "dag"),
    [
        ("MlpPolicy", Hypergrid(2, 4)),
        ("TransformerPolicy", BitSequence(8, 2)),
        ("SmallBlockTreePolicy", Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3)),
    ],
    ids=["grid", "bits", "molecules"],
)
def test_the_papers_settings(policy: str, dag: DAG) -> None:
    model = EntropicPPO(policy, GFNEnv(dag), preset="paper")
    assert (model.preset, model.n_envs, model.gradient_steps) == ("paper", 16, 4)
    assert (model.train_freq.frequency, model.train_freq.unit.value) == (16, "episode")
    assert (model.learning_rate, model.value_learning_rate) == (1e-3, 1e-3 / 3)
    assert (model.gae_lambda, model.clip_range, model.exploration_initial_eps) == (0.7, 0.2, 0.0)


@pytest.mark.parametrize("name", ["replay_trajectories", "replay_batch"])
def test_what_it_has_not_is_named(name: Any) -> None:
    with pytest.raises(TypeError, match=f"EntropicPPO has no '{name}': a policy gradient"):
        EntropicPPO("MlpPolicy", GFNEnv(Words()), **{name: 1})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gae_lambda": 1.2}, "gae_lambda=1.2 must be a finite number from 0 to 1"),
        ({"clip_range": 0.0}, "clip_range=0.0 must be a finite number above 0"),
        ({"kl_coefficient": -1.0}, "kl_coefficient=-1.0 must be a finite number of at least 0"),
        ({"value_learning_rate": 0.0}, "value_learning_rate=0.0 must be a finite number above 0"),
        (
            {"backward_tau": 1.5},
            "backward_tau=1.5 must be a finite number above 0 and of at most 1",
        ),
        (
            {"backward_learning_rate": -1.0},
            "backward_learning_rate=-1.0 must be a finite number of at",
        ),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)
