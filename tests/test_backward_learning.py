"""A P_B learnt by TLM along with Q: a step by hand, rewards never stale, what it ends as."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import updates

from block_sets import BLOCK_SETS, tilted
from dags import Piles
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import (
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    as_policy,
    sampled_metrics,
    transitions,
)
from gfn_gym.agents.architectures import MLP
from gfn_gym.agents.backward import BACKWARD_LEARNING_RATE, TLMBackward, backward_edges
from gfn_gym.agents.networks import BackwardNetwork
from gfn_gym.agents.presets import hypergrid
from gfn_gym.dag import Floats, States
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import elbo, evaluate_exact, sample
from gfn_gym.evaluation.solve import solve
from gfn_gym.graph import batches, enumerate_graph

log = math.log
ALGORITHMS = pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 40,
    "batch_size": 32,
    "train_freq": (4, "episode"),
    "policy_kwargs": {"net_arch": [16]},
    "learnt_backward": True,
    "seed": 0,
}


def make(algorithm: Any = SoftDQN, dag: DAG | None = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4) if dag is None else dag)
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs})


def weights(network: Any) -> Any:
    return th.cat([p.detach().flatten() for p in network.parameters()])


# ---- a step of TLM --------------------------------------------------------------------------


def three_edges() -> Any:
    """(1, 1, 0) → (2, 1, 0), by either of the two lower piles; a stop; (2, 1, 0) → (2, 1, 1)."""
    states = np.array([[1, 1, 0], [2, 1, 0], [2, 1, 0]])
    nexts = np.array([[2, 1, 0], [2, 1, 0], [2, 1, 1]])
    return backward_edges(Piles(), states, np.array([0, 3, 2]), nexts)


def test_a_step_by_hand() -> None:
    """From uniform: log P_B is log 1/2 − log 2, of two piles one and of two actions one; and
    log 2/3, of three piles two. Their gradients in the logits are (1, −1, 0)/2 and (−2, 1, 1)/6.
    """
    network = BackwardNetwork(MLP(Piles(), [8]))
    learner = TLMBackward(network, th.optim.SGD, {}, learning_rate=0.6, tau=0.25)
    found = learner.learn([three_edges()], 1.0)
    assert found["train/backward_loss"] == pytest.approx((log(4) - log(2 / 3)) / 2)
    assert found["train/backward_learning_rate"] == 0.6
    step = 0.6 * np.array([1 / 12, -1 / 6, 1 / 12])  # the mean over two edges, not three
    copy: Any = learner.reward_network
    bias, copied = (net.head.bias.detach() for net in (network, copy))
    np.testing.assert_allclose(bias, step, rtol=1e-5)
    np.testing.assert_allclose(copied, step / 4, rtol=1e-5)
    assert all(p.grad is None for p in (*network.parameters(), *copy.parameters()))


def test_likelihood_rises_to_its_maximum() -> None:
    """The first of two edges into (2, 1, 0) is drawn three times as often as the second."""
    states, nexts = np.array([[1, 1, 0]] * 3 + [[2, 0, 0]]), np.array([[2, 1, 0]] * 4)
    edges = backward_edges(Piles(), states, np.array([0, 0, 1, 1]), nexts)
    learner = TLMBackward(BackwardNetwork(MLP(Piles(), [8])), th.optim.Adam, {}, 0.05, tau=0.2)
    for _ in range(200):
        loss = learner.learn([edges], 1.0)["train/backward_loss"]
    entropy = -0.75 * log(0.75) - 0.25 * log(0.25)
    assert loss == pytest.approx(entropy + log(2), abs=1e-3)  # two parallel actions each
    logits = learner.reward_network(edges.next_states, edges.mask)
    np.testing.assert_allclose(th.softmax(logits, 1), [[0.75, 0.25, 0.0]] * 4, atol=0.02)


@pytest.mark.parametrize(
    ("policy", "dag", "kwargs"),
    [
        ("MlpPolicy", Hypergrid(3, 4), {"net_arch": [8]}),
        ("TransformerPolicy", BitSequence(8, 2), {"width": 16, "heads": 2, "layers": 1}),
        (
            "BlockTreePolicy",
            Molecule(BLOCK_SETS["opposite"], tilted, max_blocks=3),
            {"width": 16, "steps": 2},
        ),
    ],
)
def test_starts_uniform_and_the_copy_is_without_dropout(
    policy: str, dag: DAG, kwargs: dict[str, Any]
) -> None:
    model: Any = SoftDQN(policy, GFNEnv(dag), **{**SMALL, "policy_kwargs": kwargs})
    states = enumerate_graph(dag).states
    expected = MDP(dag).backward_log_probs(states)
    np.testing.assert_allclose(model.backward_policy(states), expected, rtol=1e-6)
    model.learn(300)
    assert not np.allclose(model.backward_policy(states), expected)
    assert not model.backward.reward_network.training
    batch = model.replay_buffer.batch_at(np.arange(100))
    again = model.replay_buffer.batch_at(np.arange(100))
    assert batch.log_backward.equal(again.log_backward)


# ---- rewards follow -------------------------------------------------------------------------


@ALGORITHMS
def test_targets_move_with_p_b(algorithm: Any) -> None:
    """(0, 1) → (1, 1), which has two parents; and the stop in (1, 1), which has no P_B."""
    model = make(algorithm, n_envs=2)
    states, actions = np.array([[0, 1], [1, 1]], dtype=np.int32), np.array([0, 2])
    model.replay_buffer.add(states, actions, model.mdp.step(states, actions))
    before = model.replay_buffer.sample(50)
    with th.no_grad():
        old = model._td_target(model.replay_buffer.batch_at(np.arange(2)))
        model.backward.reward_network.head.bias[:] = th.tensor([log(3.0), 0.0])
        new = model._td_target(model.replay_buffer.batch_at(np.arange(2)))
    np.testing.assert_allclose(new - old, [log(3 / 4) - log(1 / 2), 0.0], atol=1e-6)
    after = model.replay_buffer.sample(50)
    for batch, step in ((before, log(1 / 2)), (after, log(3 / 4))):
        np.testing.assert_allclose(batch.log_backward, np.where(batch.dones, 0.0, step), rtol=1e-6)
    log_reward = model.dag.log_reward(states[1:])[0]
    np.testing.assert_allclose(after.log_reward, np.where(after.dones, log_reward, 0.0), rtol=1e-6)


@ALGORITHMS
def test_a_round_learns_from_new_transitions_once_and_rates_them_by_the_moved_p_b(
    algorithm: Any,
) -> None:
    kwargs = {"learning_starts": 1000, "backward_tau": 1.0, "backward_learning_rate": 0.01}
    model = make(algorithm, Piles(), replay_alpha=1.0, **kwargs).learn(80)
    model.train(0)  # of P_B only
    batch = model.replay_buffer.batch_at(np.arange(80))
    states, nexts, actions = (
        tensor.numpy() for tensor in (batch.states, batch.next_states, batch.actions)
    )
    expected = MDP(model.dag, model.backward_policy).log_backward(states, actions)
    np.testing.assert_allclose(batch.log_backward, expected, atol=1e-5)
    assert not np.allclose(expected, MDP(model.dag).log_backward(states, actions))
    priorities = model._td_error(batch).detach().abs()
    np.testing.assert_allclose(model.replay_buffer.tree.leaves[:80], priorities + 1e-6, rtol=1e-5)

    network = make(algorithm, Piles()).policy.backward_net  # as the model's was at first
    twin = TLMBackward(network, th.optim.Adam, {"fused": True}, 0.01, tau=1.0)
    twin.learn([backward_edges(model.dag, states, actions, nexts)], 1.0)
    moved = weights(model.backward.reward_network)
    assert moved.equal(weights(twin.reward_network))
    model.train(3)  # there is nothing new
    assert weights(model.backward.reward_network).equal(moved)


def test_learns_p_b_with_uniform_replay_too() -> None:
    model = make(replay_alpha=0.0).learn(300)
    assert model.replay_buffer.tree is None
    assert not weights(model.policy.backward_net.head).equal(th.zeros(2 * 17))


def test_its_learning_rate_follows_its_schedule() -> None:
    rates = []

    def schedule(remaining: float) -> float:
        rates.append(remaining)
        return 0.01 * remaining

    model = make(backward_learning_rate=schedule).learn(400)
    assert rates[-1] < 0.1 < 0.8 < rates[1] and sorted(rates, reverse=True) == rates
    learner = model.backward
    assert learner.optimizer.param_groups[0]["lr"] == 0.01 * rates[-1]
    assert [BACKWARD_LEARNING_RATE(remaining) for remaining in (1, 0.75, 0.5, 0.2)] == [
        1e-3, 5e-4, 0.0, 0.0,
    ]  # fmt: skip


def test_a_p_b_that_diverges_is_named() -> None:
    model = make().learn(100)
    model.policy.backward_net.head.bias.data[0] = th.nan
    with pytest.raises(FloatingPointError, match="train/backward_loss is nan at update"):
        model.learn(100)


# ---- what it ends as ------------------------------------------------------------------------


class SteepPiles(Piles):
    def log_reward(self, states: States) -> Floats:
        return 3 * super().log_reward(states)


@pytest.mark.parametrize(
    ("algorithm", "dag", "steps"),
    [
        (SoftDQN, Hypergrid(2, 8), 10_000),
        (MunchausenDQN, Hypergrid(2, 8), 10_000),
        (SoftActorCritic, Hypergrid(2, 8), 10_000),
        (SoftDQN, SteepPiles(), 6_000),
    ],
    ids=["soft", "munchausen", "actor-critic", "parallel edges"],
)
def test_learns_the_target_with_a_p_b_for_which_the_theorem_holds(
    algorithm: Any, dag: DAG, steps: int
) -> None:
    kwargs = {**hypergrid.FAST, "n_envs": 16, "learning_starts": 512, "batch_size": 128}
    kwargs["policy_kwargs"] = {**kwargs["policy_kwargs"], **kwargs.pop("architecture")}
    del kwargs["policy"]
    if algorithm is SoftActorCritic:
        kwargs["q_learning_rate"] = kwargs["learning_rate"]
    model = make(algorithm, dag, **kwargs, exploration_initial_eps=0.5).learn(steps)
    graph, policy = enumerate_graph(dag), as_policy(model)
    assert evaluate_exact(graph, policy)["total_variation"] < 0.05

    # P_B sums to one over the edges into a state, and is no longer uniform.
    log_backward = graph.log_backward(model.backward_policy)
    total = np.bincount(graph.children, np.exp(log_backward), minlength=len(graph.states))
    np.testing.assert_allclose(total, [0.0, *[1.0] * (len(total) - 1)], atol=1e-6)
    assert np.abs(log_backward - graph.log_backward()).max() > 0.1

    # With it the optimum still samples the reward; and V is near the log-flow that it has.
    solution, log_z = solve(graph, model.backward_policy), solve(graph).log_z
    assert solution.log_z == pytest.approx(log_z, abs=1e-9)
    assert evaluate_exact(graph, solution.policy)["total_variation"] < 1e-9
    assert model.policy.log_flow(graph.states[:1])[0] == pytest.approx(log_z, abs=0.1)

    # ELBO takes that P_B: with the uniform one, trajectories are not those of the optimum.
    found = sampled_metrics(model)(policy)["elbo"]
    assert found == pytest.approx(log_z, abs=0.05)
    assert found > elbo(sample(dag, policy, 2048)) + 0.01


# ---- saving ---------------------------------------------------------------------------------


@ALGORITHMS
def test_a_saved_model_keeps_p_b_its_copy_and_how_it_learns(algorithm: Any, tmp_path: Path) -> None:
    model = make(algorithm).learn(300)
    found = model.get_parameters()
    assert {"backward.reward_network", "backward.optimizer"} < set(found)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    states = enumerate_graph(model.dag).states
    assert (loaded.backward_policy(states) == model.backward_policy(states)).all()
    assert weights(loaded.policy.backward_net).equal(weights(model.policy.backward_net))
    assert not weights(loaded.policy.backward_net).equal(weights(loaded.backward.reward_network))
    ours, theirs = (
        next(iter(m.backward.optimizer.state.values()))["exp_avg"] for m in (model, loaded)
    )
    assert ours.equal(theirs) and ours.any()
    assert loaded.replay_buffer.backward_net is loaded.backward.reward_network
    loaded.learn(100)
    learnt = (m.backward.reward_network for m in (loaded, model))
    assert loaded.learnt_backward and not weights(next(learnt)).equal(weights(next(learnt)))
    with pytest.raises(ValueError, match="parameters"):
        make(algorithm, learnt_backward=False).set_parameters(found)


def test_a_loaded_replay_buffer_has_the_models_p_b(tmp_path: Path) -> None:
    model, other = make().learn(300), make(seed=1).learn(200)
    model.save_replay_buffer(tmp_path / "buffer")
    other.load_replay_buffer(tmp_path / "buffer")
    batch = other.replay_buffer.batch_at(np.arange(200))
    expected = MDP(other.dag, other.backward_policy).log_backward(
        batch.states.numpy(), batch.actions.numpy()
    )
    np.testing.assert_allclose(batch.log_backward, expected, atol=1e-5)
    plain = make(learnt_backward=False).learn(100)
    plain.load_replay_buffer(tmp_path / "buffer")
    assert plain.replay_buffer.backward_net is None


# ---- arguments ------------------------------------------------------------------------------


def test_without_it_p_b_is_the_environments() -> None:
    model = make(learnt_backward=False)
    assert model.backward_policy is model.policy.backward_net is None
    assert not model.backward.is_learnt
    policy = MDP(model.dag).backward_log_probs
    own = SoftDQN("MlpPolicy", GFNEnv(model.dag, backward_policy=policy))
    assert own.backward_policy is policy


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"backward_tau": 1.5},
            "backward_tau=1.5 must be a finite number above 0 and of at most 1",
        ),
        (
            {"backward_learning_rate": -1.0},
            "backward_learning_rate=-1.0 must be a finite number of at least 0",
        ),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_an_environment_with_its_own_p_b_is_refused() -> None:
    dag, model = Hypergrid(2, 4), make()
    env = GFNEnv(dag, backward_policy=MDP(dag).backward_log_probs)
    with pytest.raises(ValueError, match="the environment has a backward policy of its own"):
        SoftDQN("MlpPolicy", env, learnt_backward=True)
    with pytest.raises(ValueError, match="the environment has a backward policy of its own"):
        model.set_env(env)
    assert model.mdp.backward_policy is None


def test_a_long_warm_up_is_learnt_from_to_its_end(monkeypatch: Any) -> None:
    model = make(learning_starts=1000, replay_alpha=0.0).learn(80)
    monkeypatch.setattr(transitions, "batches", lambda n: batches(n, 16))
    model.train(0)
    step = next(iter(model.backward.optimizer.state.values()))["step"]
    assert step == 5


def test_p_b_learns_with_dropout_and_its_copy_is_without() -> None:
    modes = []
    model: Any = SoftDQN(
        "TransformerPolicy", GFNEnv(BitSequence(8, 2)),
        **{**SMALL, "policy_kwargs": {"width": 16, "heads": 2, "layers": 1}},
    )  # fmt: skip
    model.policy.backward_net.register_forward_hook(lambda net, *_: modes.append(net.training))
    model.learn(300)
    assert modes and all(modes) and not model.policy.backward_net.training


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN, SoftActorCritic])
def test_resumed_is_as_never_interrupted(algorithm: Any, tmp_path: Path) -> None:
    def trained(stop_at: int | None) -> Any:
        model = make(algorithm, Piles())
        model.learn(400, lambda local, _: stop_at is None or local["self"].num_timesteps < stop_at)
        if stop_at is not None:
            model.save_checkpoint(tmp_path / "checkpoint.zip")
            model = algorithm.resume(tmp_path / "checkpoint.zip", trusted=True).learn()
        return model

    whole, in_two = trained(None), trained(204)
    assert weights(in_two.policy).equal(weights(whole.policy)) and updates(whole) > 10
    assert weights(in_two.backward.reward_network).equal(weights(whole.backward.reward_network))
