"""Bayesian networks and Ising models behind Gymnasium's API."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from frames import Frame
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import gfn_gym  # noqa: F401
from gfn_gym import agents
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network.exact import posterior
from gfn_gym.mdp import sample_legal_actions

DATA = erdos_renyi_data(4)[0]
ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "networks": ("BayesianNetworkGFN-v0", {"data": DATA, "max_parents": 2}),
    "spins": ("IsingGFN-v0", {"L": 3, "field": 0.2}),
    "spins, raster": ("IsingGFN-v0", {"L": 3, "order": "raster"}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasiums_checker_passes_the_terminating_variant(name: str) -> None:
    id, arguments = ENVIRONMENTS[name]
    env = gymnasium.make(id.replace("GFN", "GFN-Terminate"), **arguments, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_batch_and_single_agree(name: str) -> None:
    id, arguments = ENVIRONMENTS[name]
    generator, n = np.random.default_rng(0), 5
    singles = [gymnasium.make(id, **arguments) for _ in range(n)]
    batch = gymnasium.make_vec(
        id, num_envs=n, autoreset_mode=AutoresetMode.SAME_STEP, **arguments
    )  # fmt: skip
    _, infos = batch.reset()
    for single in singles:
        single.reset()
    for _ in range(25):
        mask = np.asarray(infos["action_mask"])
        actions = sample_legal_actions(mask, generator)
        observations, rewards, ended, _, infos = batch.step(actions)
        for row, single in enumerate(singles):
            observation, reward, over, _, info = single.step(actions[row])
            assert reward == pytest.approx(rewards[row], abs=1e-12) and over == ended[row]
            if over:
                assert np.array_equal(observation, infos["final_obs"][row])
                observation, info = single.reset()
            assert np.array_equal(observation, observations[row])
            assert np.array_equal(info["action_mask"], infos["action_mask"][row])


def test_an_edge_that_closes_a_cycle_is_refused() -> None:
    env = gymnasium.make("BayesianNetworkGFN-v0", data=DATA)
    env.reset()
    env.step(0 * 4 + 1)
    with pytest.raises(ValueError, match=r"action 4 is illegal in state \[0, 1, 0, .*legal are"):
        env.step(1 * 4 + 0)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_dag_survives_pickling(name: str) -> None:
    id, arguments = ENVIRONMENTS[name]
    dag: Any = gymnasium.make(id, **arguments).unwrapped.dag  # type: ignore[attr-defined]
    log_z = dag.log_partition()
    again = pickle.loads(pickle.dumps(dag))
    assert again.log_partition() == log_z and repr(again) == repr(dag)
    states = dag.initial_states(3)
    states, _ = dag.step(states, np.array([1, 1, 1]))
    assert np.array_equal(again.log_reward(states), dag.log_reward(states))


def test_a_model_fits_data_of_the_same_columns(tmp_path: Path) -> None:
    first, other = BayesianNetwork(DATA), BayesianNetwork(DATA[:50], "bic")
    assert first.structure() == other.structure()
    assert repr(first) == "BayesianNetwork(d=4, score='bge')"
    path = tmp_path / "data.csv"
    path.write_text("a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in DATA.tolist()))
    assert BayesianNetwork(path).structure() != first.structure()


REAL = dict(zip("abcd", DATA.T, strict=True))
LEVELS = {"x": ["no", "yes", "no", "yes"], "y": [1, 2, 3, 1], "z": [0.0, 10.0, 2.0, 2.0]}


@pytest.mark.parametrize(
    "data, arguments",
    [
        (Frame(**REAL), {"required": iter([("b", "a")]), "forbidden": np.array([[0, 1], [2, 3]])}),
        (REAL, {"score": "bic", "max_parents": 2}),
        (DATA, {"alpha_mu": 2.0}),
        (Frame(**LEVELS), {"score": "bde", "equivalent_sample_size": 3}),
        (None, {}),
    ],
)
def test_the_arguments_of_a_network_are_plain_data(data: Any, arguments: dict[str, Any]) -> None:
    dag = BayesianNetwork(data, **arguments)
    plain = dag.arguments()
    assert plain is not None
    again = BayesianNetwork(**plain)
    assert again.structure() == dag.structure() and again.local_scores is not dag.local_scores
    assert np.array_equal(again.required, dag.required)
    assert np.array_equal(again.allowed, dag.allowed) and again.max_parents == dag.max_parents
    states = posterior(dag)[0]
    assert np.array_equal(again.log_reward(states), dag.log_reward(states))
    assert again.initial_score == dag.initial_score


def test_the_arguments_outlive_the_users_array_and_file(tmp_path: Path) -> None:
    path, data = tmp_path / "data.csv", DATA.copy()
    path.write_text("a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in DATA.tolist()))
    of_file, of_array = BayesianNetwork(path), BayesianNetwork(data)
    path.unlink()
    data[:] = 0.0
    for dag in (of_file, of_array):
        plain = dag.arguments()
        assert plain is not None
        again = BayesianNetwork(**plain)
        assert again.names == dag.names and again.initial_score == dag.initial_score


def test_a_model_of_a_users_table_is_saved_as_data(tmp_path: Path) -> None:
    env = gymnasium.make("BayesianNetworkGFN-v0", data=Frame(**REAL), required=[("a", "b")])
    model = agents.SoftDQN("MlpPolicy", env, n_envs=2, seed=0, device="cpu")
    model.save(tmp_path / "model")
    dag = agents.SoftDQN.load(tmp_path / "model", device="cpu").dag  # without trusted=True
    assert isinstance(dag, BayesianNetwork) and dag.names == ("a", "b", "c", "d")
    states = dag.initial_states(1)
    assert dag.required[0, 1] and np.array_equal(dag.log_reward(states), [0.0])
