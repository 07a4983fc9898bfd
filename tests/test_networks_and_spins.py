"""Bayesian networks and Ising models behind Gymnasium's API."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import gfn_gym  # noqa: F401
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
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
