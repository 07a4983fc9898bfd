"""SpinsPolicy: what it knows before training, its symmetries, and that it learns the rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch as th

from gfn_gym import GFNEnv
from gfn_gym.agents import SoftDQN, as_policy
from gfn_gym.agents.architectures import Spins
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.ising import UNSET, Ising
from gfn_gym.evaluation import evaluate_exact

SPIN_GLASS = np.array([[0, 1, -2], [1, 0, 0.5], [-2, 0.5, 0]])
FIELDS = np.linspace(-0.5, 0.7, 9)
DAGS = {
    "raster": Ising(3, order="raster"),
    "raster, uniform field": Ising(3, field=0.3, order="raster"),
    "raster, fields": Ising(3, field=FIELDS, order="raster"),
    "any": Ising(3),
    "any, fields": Ising(3, field=FIELDS),
    "couplings": Ising(couplings=SPIN_GLASS, order="raster"),
}
CHAIN = np.diag([1.0, -0.5, 2.0, 0.3], k=1) + np.diag([1.0, -0.5, 2.0, 0.3], k=-1)


def states_of(dag: Ising, n: int = 40) -> Any:
    """Unfinished states, int8 (n, N)."""
    rng = np.random.default_rng(0)
    spins = rng.integers(0, 2, (n, dag.n_spins), dtype=np.int8)
    n_set = rng.integers(0, dag.n_spins, (n, 1))
    ranks = np.arange(dag.n_spins) + np.zeros((n, 1), dtype=int)
    if dag.order == "any":
        ranks = rng.permuted(ranks, axis=1)
    return np.where(ranks < n_set, spins, UNSET).astype(np.int8)


def model_of(dag: Ising, trained: bool = False, **kwargs: Any) -> SoftDQN:
    env = GFNEnv(dag, potential="dag")
    model = SoftDQN("SpinsPolicy", env, seed=0, device="cpu", n_envs=32, dueling=True, **kwargs)
    if trained:  # to anything, so that the heads no longer say 0
        with th.no_grad():
            for parameter in model.policy.online.parameters():
                parameter.add_(0.1 * th.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", DAGS)
def test_before_training_a_spin_goes_where_the_potential_gains(name: str) -> None:
    dag = DAGS[name]
    states = states_of(dag)
    log_probs, mask = model_of(dag).policy.log_probs(states), dag.action_mask(states)
    rows, actions = np.nonzero(mask)
    gains = np.full(mask.shape, -np.inf)
    gains[rows, actions] = dag.potential(dag.step(states[rows], actions)[0])
    legal = mask[:, ::2]
    expected = gains[:, 1::2][legal] - gains[:, ::2][legal]
    assert np.allclose(log_probs[:, 1::2][legal] - log_probs[:, ::2][legal], expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5
    of_sites = np.exp(log_probs[:, ::2]) + np.exp(log_probs[:, 1::2])
    assert np.allclose(of_sites, legal / legal.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("order", ["any", "raster"])
def test_before_training_log_z_of_a_chain_is_exact(order: str) -> None:
    chain = Ising(couplings=CHAIN, beta=0.7, order=order)
    flow = model_of(chain).policy.log_flow(chain.initial_states(1))
    assert flow == pytest.approx(chain.log_partition(), abs=1e-4)
    alone = Ising(couplings=np.zeros((4, 4)), field=[0.5, -1.0, 0.0, 2.0], order=order)
    states = states_of(alone)  # spins that know nothing of each other: every flow is exact
    found = model_of(alone).policy.log_flow(states)
    assert found == pytest.approx(log_flows(alone, states), abs=1e-4)


def test_strong_couplings_and_fields_are_finite() -> None:
    pair = Ising(couplings=[[0, 1], [1, 0]], field=[0.5, 0.0], beta=2000.0)
    flow = model_of(pair).policy.log_flow(pair.initial_states(1))
    assert flow == pytest.approx(pair.log_partition(), rel=1e-6)


def log_flows(dag: Ising, states: Any) -> list[float]:
    """log F of each state, from its definition: Σ R(x) over what completes it, over the ways."""
    codes = np.arange(2**dag.n_spins)
    objects = ((codes[:, None] >> np.arange(dag.n_spins)) & 1).astype(np.int8)
    log_rewards, flows = dag.log_reward(objects), []
    for state in states:
        fits = ((objects == state) | (state == UNSET)).all(axis=1)
        n_set = int((state != UNSET).sum())
        ways = math.comb(dag.n_spins, n_set) if dag.order == "any" else 1
        flows.append(float(np.logaddexp.reduce(log_rewards[fits]) - np.log(ways)))
    return flows


@pytest.mark.parametrize("name", [name for name, dag in DAGS.items() if not dag.field.any()])
def test_flipped_spins_are_set_the_other_way_round(name: str) -> None:
    dag = DAGS[name]
    states = states_of(dag)
    flipped = np.where(states == UNSET, states, 1 - states).astype(np.int8)
    model = model_of(dag, trained=True)
    log_probs, of_flipped = model.policy.log_probs(states), model.policy.log_probs(flipped)
    legal = dag.action_mask(states)[:, ::2]
    assert np.allclose(log_probs[:, ::2][legal], of_flipped[:, 1::2][legal], atol=1e-5)
    flows = model.policy.log_flow(states), model.policy.log_flow(flipped)
    assert np.allclose(*flows, atol=1e-5)
    differs = log_probs[:, ::2][legal] - log_probs[:, 1::2][legal]
    assert np.abs(differs).max() > 0.1


def test_a_field_breaks_the_flip_symmetry_and_is_learnt() -> None:
    dag = DAGS["any, fields"]
    network = Spins(dag, [8])
    states = th.as_tensor(states_of(dag).astype(np.int64))
    assert network.has_field and (network.encode(states).sign == 1).all()


def test_on_a_torus_sites_are_read_relative_to_the_next() -> None:
    network = Spins(Ising(4, order="raster"), [8])
    assert network.same_everywhere
    site = 4 * 1 + 3  # row 1, the last column
    around = network.around[site].view(4, 4)
    assert around[0, 0] == site
    assert around[-1, 0] == 3 and around[0, -1] == 4 + 2  # above it, and left of it
    assert around[0, 1] == 4 and around[1, 0] == 4 * 2 + 3  # right of it, and below
    assert sorted(around.flatten().tolist()) == list(range(16))
    for name in ("raster, fields", "any", "couplings"):
        assert not Spins(DAGS[name], [8]).same_everywhere
    assert Spins(DAGS["raster, uniform field"], [8]).same_everywhere


@pytest.mark.parametrize("name", ["raster", "raster, fields", "any"])
def test_it_learns(name: str) -> None:
    dag = DAGS[name]
    env = GFNEnv(dag, potential="dag")
    kwargs = {"net_arch": [64, 64]}
    model = SoftDQN("auto", env, preset="fast", seed=0, device="cpu", policy_kwargs=kwargs)
    assert isinstance(model.policy.online.architecture, Spins)
    before = evaluate_exact(dag, as_policy(model))["total_variation"]
    model.learn(total_trajectories=12_000)
    after = evaluate_exact(dag, as_policy(model))
    assert after["total_variation"] < min(0.03, before / 3)
    assert abs(after["log_z_error"]) < 0.05


def test_without_dueling_values_are_free_as_well() -> None:
    dag = DAGS["raster"]
    model = SoftDQN(
        "SpinsPolicy", GFNEnv(dag, potential="dag"), seed=0, device="cpu", n_envs=64,
        learning_rate=3e-3, policy_kwargs={"net_arch": [32, 32]},
    )  # fmt: skip
    model.learn(total_trajectories=6_000)
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < 0.05


def test_other_dags_are_refused() -> None:
    with pytest.raises(TypeError, match="SpinsPolicy reads Ising models, but Hypergrid"):
        SoftDQN("SpinsPolicy", GFNEnv(Hypergrid(2, 4)))
    with pytest.raises(ValueError, match="must list the hidden widths"):
        SoftDQN("SpinsPolicy", GFNEnv(DAGS["any"]), policy_kwargs={"net_arch": []})
