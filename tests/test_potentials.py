"""Potentials: a reward on every step, the same optimum, through every door."""

from __future__ import annotations

import math
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv
from test_theorem import ENVIRONMENTS, Tabular, log_sum_exp

from block_sets import BLOCK_SETS
from block_sets import tilted as tilted_molecules
from dags import DAGS
from gfn_gym import DAG, MDP, GFNEnv, GFNVectorEnv, check_dag
from gfn_gym.agents import (
    MENTS,
    DetailedBalance,
    EntropicPPO,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
)
from gfn_gym.checks import DAGError
from gfn_gym.dag import Floats, States
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import evaluate_exact, solve


def random_potential(states: States) -> Floats:
    """A finite number for every state, not 0 at s0, that has nothing to do with any reward."""
    weights = np.random.default_rng(3).normal(size=states.shape[1])
    return 3.0 * np.cos(states @ weights) + 2.0


def with_potential(name: str, potential: Any) -> GFNEnv:
    """One of the environments of the theorem's tests, with a potential."""
    dag = ENVIRONMENTS[name]().unwrapped.dag
    return GFNEnv(dag, observation="state", potential=potential)


# ---- the optimum --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_optimum_is_the_same(name: str) -> None:
    plain, shaped = (
        Tabular(with_potential(name, None)),
        Tabular(with_potential(name, random_potential)),
    )
    assert shaped.value(shaped.start) == pytest.approx(plain.value(plain.start), abs=1e-9)
    log_rewards = {x: shaped.log_reward(x) for x in plain.terminal_distribution()}
    log_z = log_sum_exp(list(log_rewards.values()))
    assert shaped.value(shaped.start) == pytest.approx(log_z, abs=1e-9)
    moved = 0.0
    for state, edges in plain.edges.items():
        for ours, theirs in zip(edges, shaped.edges[state], strict=True):
            assert (ours.action, ours.child, ours.ended) == (
                theirs.action, theirs.child, theirs.ended,
            )  # fmt: skip
            policies = [t.q(e) - t.value(state) for t, e in ((plain, ours), (shaped, theirs))]
            assert policies[0] == pytest.approx(policies[1], abs=1e-9)
            moved = max(moved, abs(ours.reward - theirs.reward))
    assert moved > 0.1  # else nothing was tested
    distribution = shaped.terminal_distribution()
    for x, log_r in log_rewards.items():
        assert distribution[x] == pytest.approx(math.exp(log_r - log_z), abs=1e-9)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_values_shift_by_the_potential(name: str) -> None:
    env = with_potential(name, random_potential)
    plain, shaped = Tabular(with_potential(name, None)), Tabular(env)
    for state in plain.edges:
        phi = env.mdp.potential_of(np.array([state]))[0]
        assert shaped.value(state) == pytest.approx(plain.value(state) - phi, abs=1e-9)


# ---- every door ---------------------------------------------------------------------------------


def test_rewards_by_hand() -> None:
    def phi(states: States) -> Floats:
        return 10.0 + states.sum(axis=1) ** 2

    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=4, potential=phi)
    plain = gymnasium.make("HypergridGFN-v0", ndim=2, height=4)
    gained: list[Any] = []
    for e in (env, plain):
        e.reset()
        gained.append([e.step(action)[1] for action in (0, 1, 1, 2)])
    assert np.subtract(gained[0], gained[1]) == pytest.approx([1.0, 3.0, 5.0, -9.0])


@pytest.mark.parametrize("name", ["piles", "grid"])
def test_single_batch_and_agents_batch_agree(name: str) -> None:
    dag: DAG = Hypergrid(2, 4) if name == "grid" else DAGS[name]
    env = GFNEnv(dag, potential=random_potential)
    batch = GFNVectorEnv(dag, 3, autoreset_mode="SameStep", potential=random_potential)
    vec_env = SoftDQN("MlpPolicy", GFNEnv(dag, potential=random_potential), n_envs=3).env
    generator = np.random.default_rng(0)
    env.reset()
    batch.reset()
    vec_env.reset()
    for _ in range(40):
        action = generator.choice(np.flatnonzero(env.action_masks()))
        _, reward, done, _, _ = env.step(action)
        rewards = batch.step(np.full(3, action))[1]
        assert rewards == pytest.approx([reward] * 3)
        assert vec_env.step(np.full(3, action))[1] == pytest.approx([reward] * 3, rel=1e-5)
        if done:
            env.reset()


def test_an_illegal_ending_pays_the_potential_back() -> None:
    for potential in (None, "dag"):
        env: Any = gymnasium.make("HypergridGFN-Terminate-v0", height=3, potential=potential)
        dag = env.unwrapped.dag
        env.reset()
        for action in (0, 0):
            env.step(action)
        state = env.unwrapped.state[None]
        phi = (dag.log_reward(state) - dag.log_reward(dag.initial_states(1)))[0]
        _, reward, terminated, _, _ = env.step(0)  # off the grid
        assert terminated
        paid = 0.0 if potential is None else phi
        assert reward == pytest.approx(-100.0 - paid)


@pytest.mark.parametrize(
    "dag",
    [
        Hypergrid(2, 5),
        BitSequence(8, 2, n_modes=2),
        Molecule(BLOCK_SETS["ring"], tilted_molecules, max_blocks=3),
    ],
    ids=["grid", "bits", "molecules"],
)
def test_the_dags_own_potential_is_log_r_where_there_is_one(dag: DAG) -> None:
    check_dag(dag)
    graph = solve(dag).graph
    objects = graph.states[graph.objects]
    assert dag.potential(objects) == pytest.approx(dag.log_reward(objects))
    mdp = MDP(dag, potential="dag")
    if dag.stop_action is not None:  # to stop then earns Φ(s0), everywhere
        stop = np.full(len(objects), dag.stop_action)
        expected = dag.log_reward(objects) - mdp.potential_of(objects)
        assert mdp.step(objects, stop).rewards == pytest.approx(expected)


def test_bits_count_the_words_that_are_filled() -> None:
    dag = BitSequence(8, 2, modes=["00000000", "11110000"], reward_exponent=0.5)
    states = np.array([[4, 4, 4, 4], [3, 4, 4, 4], [3, 0, 4, 4], [1, 4, 4, 3]], dtype=np.int32)
    assert dag.potential(states) == pytest.approx([0.0, 0.0, -1.0, -1.5])


# ---- agents -------------------------------------------------------------------------------------

SETTINGS: dict[Any, dict[str, Any]] = {
    SoftDQN: {"preset": "paper", "learning_rate": 3e-3, "train_freq": (4, "episode")},
    MunchausenDQN: {"preset": "paper", "learning_rate": 3e-3, "train_freq": (4, "episode")},
    SoftActorCritic: {
        "learning_rate": 3e-3, "q_learning_rate": 3e-3, "train_freq": (4, "episode"),
    },
    FlowMatching: {"learning_rate": 3e-3, "train_freq": (4, "episode")},
    DetailedBalance: {"learning_rate": 5e-3, "gradient_steps": 2},
    SubTrajectoryBalance: {"learning_rate": 5e-3, "gradient_steps": 2},
    EntropicPPO: {"learning_rate": 3e-3},
}  # fmt: skip


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_every_agent_learns_under_a_potential(algorithm: Any) -> None:
    env = GFNEnv(Hypergrid(2, 4), potential=random_potential)
    kwargs = {"policy_kwargs": {"net_arch": [64, 64]}, **SETTINGS[algorithm]}
    model = algorithm("MlpPolicy", env, seed=0, **kwargs).learn(total_trajectories=8_000)
    found = evaluate_exact(model.dag, as_policy(model))
    assert found["total_variation"] < 0.05
    assert abs(found["log_z_error"]) < 0.05
    flows = solve(model.dag)
    error = model.policy.log_flow(flows.graph.states) - flows.log_flow
    assert np.abs(error).mean() < 0.3  # unshaped: the potential ranges over 6


def test_for_tb_a_potential_changes_nothing() -> None:
    models = [
        TrajectoryBalance("MlpPolicy", GFNEnv(Hypergrid(2, 4), potential=potential), seed=0)
        for potential in (None, random_potential)
    ]
    states = solve(models[0].dag).graph.states
    plain, shaped = (m.learn(total_trajectories=200).policy.log_probs(states) for m in models)
    assert np.array_equal(plain, shaped)


@pytest.mark.parametrize("algorithm", [SoftDQN, DetailedBalance])
def test_log_z_is_logged_in_the_units_of_the_reward(algorithm: Any) -> None:
    env = GFNEnv(Hypergrid(2, 4), potential=lambda states: 100.0 + states.sum(axis=1))
    model = algorithm("MlpPolicy", env, seed=0).learn(total_trajectories=64)
    start = model.dag.initial_states(1)
    network = model.policy.online.log_flow(*model.policy.tensors(start)).item()
    assert model.policy.log_flow(start)[0] == network  # Φ(s0) is taken off
    one = model.dag.step(start, np.array([0]))[0]
    network = model.policy.online.log_flow(*model.policy.tensors(one)).item()
    assert model.policy.log_flow(one)[0] == pytest.approx(network + 1.0)


def test_planning_is_in_the_units_of_the_reward() -> None:
    """With the exact Q, a search returns log F, potential or not."""
    env = GFNEnv(Hypergrid(2, 4), potential=random_potential)
    model = SoftDQN(
        "MlpPolicy", env, seed=0, planning_simulations=2, learning_starts=64,
        policy_kwargs={"net_arch": [64, 64]}, learning_rate=3e-3,
    ).learn(total_trajectories=2_000)  # fmt: skip
    flows = solve(model.dag)
    states = flows.graph.states
    before = np.abs(model.policy.log_flow(states) - flows.log_flow).mean()
    planned = MENTS(model, simulations=64).log_flow(states)
    assert np.abs(planned - flows.log_flow).mean() < min(before, 0.2)


def test_a_model_is_saved_and_resumed_with_its_potential(tmp_path: Any) -> None:
    env = gymnasium.make("HypergridGFN-v0", ndim=2, height=4, potential="dag")
    model = SoftDQN("MlpPolicy", env, seed=0).learn(total_trajectories=64)
    model.save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model")
    states = solve(model.dag).graph.states
    assert np.array_equal(loaded.policy.log_flow(states), model.policy.log_flow(states))
    assert loaded.mdp.is_shaped
    model.save_checkpoint(tmp_path / "checkpoint")
    resumed = SoftDQN.resume(tmp_path / "checkpoint")
    batches = [m.replay_buffer.batch_at(np.arange(20)) for m in (model, resumed)]
    assert batches[0].shaping.equal(batches[1].shaping) and batches[0].shaping.any()


def test_environments_with_different_potentials_are_not_mixed() -> None:
    dag = Hypergrid(2, 4)
    alike = DummyVecEnv([lambda: GFNEnv(dag, potential="dag")] * 2)
    SoftDQN("MlpPolicy", alike)
    mixed = DummyVecEnv([lambda: GFNEnv(dag), lambda: GFNEnv(dag, potential="dag")])
    with pytest.raises(ValueError, match="potentials or reward functions differ"):
        SoftDQN("MlpPolicy", mixed)


def test_another_potential_makes_replayed_rewards_stale() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), seed=0).learn(total_trajectories=32)
    assert model.replay_buffer.size()
    model.set_env(GFNEnv(Hypergrid(2, 4), potential="dag"))
    assert model.policy.shaped is not None and not model.replay_buffer.size()


def test_environments_with_a_potential_can_be_pickled() -> None:
    env = GFNEnv(Hypergrid(2, 4), potential="dag")
    rewards = []
    for e in (env, pickle.loads(pickle.dumps(env))):
        e.reset()
        rewards.append(e.step(0)[1])
    assert rewards[0] == rewards[1] != 0.0


# ---- bad ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("potential", "error", "message"),
    [
        ("own", TypeError, "potential='own' must be None, 'dag' for the DAG's own, or a function"),
        (3.0, TypeError, r"potential=3\.0 must be None"),
        (lambda states: states, ValueError, r"potential= returned shape \(1, 2\) .*shape \(1,\)"),
        (lambda states: ["x"] * len(states), ValueError, "which are not real numbers"),
        (lambda states: np.full(len(states), np.nan), ValueError, r"nan at state \[0, 0\]"),
    ],
)
def test_bad_potentials_are_refused_at_once(potential: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        GFNEnv(Hypergrid(2, 4), potential=potential)


def test_a_dag_without_a_potential_says_so() -> None:
    with pytest.raises(ValueError, match=r"potential=.dag., but .* has none: give a function"):
        GFNEnv(DAGS["piles"], potential="dag")


def test_an_infinity_later_on_names_the_state() -> None:
    def phi(states: States) -> Floats:
        return np.where(states.sum(axis=1) == 1, -np.inf, 0.0)

    env = GFNEnv(Hypergrid(2, 4), potential=phi)
    env.reset()
    with pytest.raises(ValueError, match=r"potential= returned -inf at state \[1, 0\]"):
        env.step(0)


class Broken(Hypergrid):
    """A grid whose potential is wrong in a way of its own."""

    def __init__(self, how: str):
        super().__init__(2, 3)
        self.how, self.calls = how, 0

    def potential(self, states: States) -> Floats:
        self.calls += 1
        values = states.sum(axis=1).astype(float)
        if self.how == "shape":
            return values[:, None]
        if self.how == "finite":
            return np.where(values == 4, np.inf, values)
        if self.how == "random":
            return values + self.calls
        return values - values.mean()  # of the batch


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shape", "returned shape"),
        ("finite", r"inf at state \[2, 2\]"),
        ("random", "potential must return the same for the same state"),
        ("batch", "potential must return the same for the same state"),
    ],
)
def test_check_dag_verifies_the_potential(how: str, message: str) -> None:
    with pytest.raises(DAGError, match=message):
        check_dag(Broken(how))
