"""Saving, loading, and giving a model another environment or other parameters."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from logs import updates
from stable_baselines3.common.vec_env import DummyVecEnv

from dags import Piles, Words
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import (
    EvaluationCallback,
    FlowMatching,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
)
from gfn_gym.agents.vec_env import made_alike
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.graph import enumerate_graph

ALGORITHMS = pytest.mark.parametrize(
    "algorithm", [SoftDQN, MunchausenDQN, SoftActorCritic, FlowMatching]
)
OWN: dict[Any, dict[str, Any]] = {  # settings that not all of them have
    SoftDQN: {"double": True, "tau": 0.1, "n_step": 2, "td_lambda": 0.5},
    MunchausenDQN: {"munchausen_alpha": 0.4, "munchausen_l0": -30.0, "planning_simulations": 1},
    SoftActorCritic: {"q_learning_rate": 3e-3, "tau": 0.1},
    FlowMatching: {"flow_epsilon": 1e-5, "huber": True},
}
SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 40,
    "batch_size": 32,
    "train_freq": (4, "episode"),
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
}


def trained(algorithm: Any = SoftDQN, env: Any = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4)) if env is None else env
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs}).learn(300)


def log_probs(model: Any) -> Any:
    return model.policy.log_probs(enumerate_graph(Hypergrid(2, 4)).states)


def slope(states: Any) -> Any:
    return states.sum(axis=1) / 3.0


# ---- save and load --------------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("observation", ["onehot", "state"])
def test_a_loaded_model_predicts_without_an_environment(
    algorithm: Any, observation: str, tmp_path: Path
) -> None:
    model = trained(
        algorithm, GFNEnv(Hypergrid(2, 4), observation=observation),
        dueling=True, average_share=0.3,
    )  # fmt: skip
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    assert loaded.get_env() is None
    assert (log_probs(loaded) == log_probs(model)).all()
    observations = model.get_env().reset()
    expected = model.predict(observations, deterministic=True)[0]
    assert (loaded.predict(observations, deterministic=True)[0] == expected).all()
    for ours, theirs in zip(loaded.policy.parameters(), model.policy.parameters(), strict=True):
        assert ours.equal(theirs)


@ALGORITHMS
def test_a_loaded_model_keeps_its_settings(algorithm: Any, tmp_path: Path) -> None:
    kwargs = {"leaf_weight": 3.0, "replay_alpha": 0.7, **OWN[algorithm]}
    model = trained(algorithm, **kwargs)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    for name, value in kwargs.items():
        assert getattr(loaded, name) == value
    temperature = 1 / (1 - 0.4) if algorithm is MunchausenDQN else 1.0
    assert loaded.policy.online.temperature == pytest.approx(temperature)
    assert loaded.policy.roles == model.policy.roles
    assert loaded.n_envs == 4 and loaded.num_timesteps == model.num_timesteps
    assert loaded.replay_buffer.alpha == 0.7


@ALGORITHMS
def test_a_loaded_model_learns_on_without_an_environment(algorithm: Any, tmp_path: Path) -> None:
    model = trained(algorithm)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    loaded.learn(200, reset_num_timesteps=False)
    assert loaded.get_env().num_envs == 4
    assert loaded.num_timesteps >= model.num_timesteps + 200
    assert updates(loaded) > updates(model)
    assert (log_probs(loaded) != log_probs(model)).any()


def test_load_with_a_single_environment_keeps_the_number_of_environments(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model", env=GFNEnv(Hypergrid(2, 4)))
    assert loaded.n_envs == loaded.get_env().num_envs == 4
    loaded.learn(100)


def test_load_with_a_vec_env_takes_its_number(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    env = DummyVecEnv([lambda: GFNEnv(Hypergrid(2, 4))] * 7)
    loaded = SoftDQN.load(tmp_path / "model", env=env)
    assert loaded.n_envs == loaded.get_env().num_envs == loaded.replay_buffer.n_envs == 7
    loaded.learn(100)


def assert_rewards_are(reward: Any, buffer: Any) -> None:
    batch = buffer.batch_at(np.arange(buffer.size()))
    ends = batch.next_states[batch.dones].numpy()
    assert len(ends)
    np.testing.assert_allclose(batch.log_reward[batch.dones], reward(ends), rtol=1e-6)


def test_load_with_another_reward_learns_that(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model", env=GFNEnv(Hypergrid(2, 4, reward=slope)))
    assert loaded.dag.reward is slope and loaded.get_env().dag.reward is slope
    assert (log_probs(loaded) == log_probs(model)).all()
    loaded.learn(100)
    assert_rewards_are(slope, loaded.replay_buffer)


@ALGORITHMS
@pytest.mark.parametrize(
    ("env", "name"),
    [
        (lambda: GFNEnv(Hypergrid(2, 5)), r"Hypergrid\(ndim=2, height=5, .*\)"),
        (lambda: gymnasium.make("gfn_gym:HypergridGFN-v0", ndim=3), r"Hypergrid\(ndim=3, .*\)"),
        (lambda: GFNEnv(Words()), "Words"),
    ],
)
def test_load_into_another_grid_names_both(
    algorithm: Any, env: Any, name: str, tmp_path: Path
) -> None:
    trained(algorithm).save(tmp_path / "model")
    ours = r"Hypergrid\(ndim=2, height=4, reward='standard'\)"
    with pytest.raises(ValueError, match=f"environment is .*{name}.*model was made for {ours}"):
        algorithm.load(tmp_path / "model", env=env())


def test_load_with_another_form_of_observation_is_refused(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        SoftDQN.load(tmp_path / "model", env=GFNEnv(Hypergrid(2, 4), observation="state"))


def test_load_by_another_algorithm_is_refused(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    with pytest.raises(ValueError, match="SoftDQN"):
        MunchausenDQN.load(tmp_path / "model")


def test_save_to_and_load_from_a_file_object() -> None:
    model, file = trained(), io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = SoftDQN.load(file, env=GFNEnv(Hypergrid(2, 4)))
    assert (log_probs(loaded) == log_probs(model)).all()


def test_a_reward_and_a_backward_policy_of_the_users_are_saved(tmp_path: Path) -> None:
    tilt = 0.25

    def backward_policy(states: Any) -> Any:  # a closure, as in a notebook
        weights = np.where(states > 0, [1.0, tilt], 0.0)
        with np.errstate(divide="ignore"):  # what is illegal has no probability at all
            return np.log(weights / np.maximum(weights.sum(1, keepdims=True), tilt))

    def reward(states: Any) -> Any:
        return tilt * states[:, 0]

    dag = Hypergrid(2, 4, reward=reward)
    model = trained(env=GFNEnv(dag, backward_policy=backward_policy))
    model.save(tmp_path / "model")
    code = r"model\.zip holds code.*dag\.reward .*backward_policy .*trusted=True"
    with pytest.raises(ValueError, match=code):
        SoftDQN.load(tmp_path / "model")
    loaded = SoftDQN.load(tmp_path / "model", trusted=True)
    states = np.array([[1, 1], [2, 0]], dtype=np.int32)
    assert loaded.dag.log_reward(states).tolist() == [0.25, 0.5]
    ours, theirs = (m.mdp.log_backward(states, np.array([1, 1])) for m in (model, loaded))
    assert (ours == theirs).all() and (ours != -np.log(2)).any()
    loaded.learn(50)


def test_the_policy_alone_can_be_saved(tmp_path: Path) -> None:
    model = trained(average_share=0.3)
    model.policy.save(tmp_path / "policy")
    policy = type(model.policy).load(tmp_path / "policy")
    states = enumerate_graph(Hypergrid(2, 4)).states
    assert (policy.log_probs(states) == log_probs(model)).all()


def test_the_replay_buffer_can_be_saved(tmp_path: Path) -> None:
    model = trained()
    model.save_replay_buffer(tmp_path / "replay")
    other = trained(seed=5)
    other.load_replay_buffer(tmp_path / "replay")
    assert other.replay_buffer.size() == model.replay_buffer.size()
    assert (other.replay_buffer.tree.leaves == model.replay_buffer.tree.leaves).all()
    other.learn(100, reset_num_timesteps=False)


# ---- what a DAG was made with -------------------------------------------------------------------


class Listed(Hypergrid):
    def __init__(self, *sides: int, **kwargs: Any):
        super().__init__(len(sides), sides[0], **kwargs)


class Renamed(Hypergrid):
    def __init__(self, side: int, **kwargs: Any):
        super().__init__(2, side, **kwargs)


def test_a_dag_knows_what_it_was_made_with() -> None:
    assert Hypergrid(2, height=4).arguments() == {"ndim": 2, "height": 4}
    assert Renamed(4, reward="hard").arguments() == {"side": 4, "reward": "hard"}
    assert Listed(4, 4).arguments() is None  # which cannot be given by name
    assert Words().arguments() == {}
    for dag in (Hypergrid(2, 4), Renamed(4)):
        for copied in (copy.deepcopy(dag), pickle.loads(pickle.dumps(dag))):
            assert copied.arguments() == dag.arguments()
    assert made_alike(Hypergrid(2, 4), Hypergrid(ndim=2, height=4, reward="standard"))
    with pytest.raises(TypeError, match=r"DAG\(\) takes no arguments"):
        DAG(3)  # type: ignore[abstract]
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        Hypergrid(size=3)  # type: ignore[call-arg]


def test_the_blocks_of_a_file_are_saved_not_its_path(tmp_path: Path) -> None:
    path = tmp_path / "blocks.json"
    path.write_text('[["C", [0, 0]], ["N", [0, 0]]]')
    dag = Molecule(path, max_blocks=2)
    path.unlink()
    arguments = dag.arguments()
    assert arguments is not None and arguments["blocks"] == (("C", (0, 0)), ("N", (0, 0)))
    assert Molecule(**arguments).structure() == dag.structure()


# ---- environments and parameters ------------------------------------------------------------


def test_set_env_with_another_reward() -> None:
    model = trained()
    model.set_env(GFNEnv(Hypergrid(2, 4, reward=slope)))
    assert model.get_env().num_envs == 4 and model.dag.reward is slope
    assert model.replay_buffer.size() == 0  # its rewards were the other's
    model.learn(100, reset_num_timesteps=False)
    assert model.replay_buffer.size() == 100
    assert (model.replay_buffer.tree.leaves[100:] == 0).all()
    assert_rewards_are(slope, model.replay_buffer)


def test_set_env_with_the_same_reward_keeps_the_replay() -> None:
    model = trained()
    before = model.replay_buffer.size()
    model.set_env(GFNEnv(Hypergrid(2, 4)))
    assert model.replay_buffer.size() == before > 0


def test_set_env_with_other_masks_is_acted_on_by_those() -> None:
    model = trained(SoftDQN, GFNEnv(Piles(total=5)))
    dag = Piles(total=4)
    model.set_env(GFNEnv(dag))
    states = enumerate_graph(dag).states
    legal = np.isfinite(model.policy.log_probs(states[~(states.sum(axis=1) == 4)]))
    assert (legal == dag.action_mask(states[~(states.sum(axis=1) == 4)])).all()
    model.learn(100, reset_num_timesteps=False)
    stored = model.replay_buffer.batch_at(np.arange(model.replay_buffer.size()))
    assert not stored.next_masks[stored.dones].any()  # by the other's, it would go on from there


def test_set_env_with_another_grid_names_both() -> None:
    model = trained()
    with pytest.raises(ValueError, match=r"height=9.*model was made for .*height=4"):
        model.set_env(GFNEnv(Hypergrid(2, 9)))
    with pytest.raises(TypeError, match="is not a GFN environment"):
        model.set_env(gymnasium.make("CartPole-v1"))
    assert model.dag.height == 4


@ALGORITHMS
def test_get_and_set_parameters(algorithm: Any, tmp_path: Path) -> None:
    model, other = trained(algorithm), trained(algorithm, seed=1)
    found = model.get_parameters()
    assert set(found) == {"policy", "policy.optimizer"}
    networks = {"online"} | ({"target"} if algorithm is not FlowMatching else set())
    assert {name.split(".")[0] for name in found["policy"]} == networks
    parts = {name.split(".")[1] for name in found["policy"] if name.startswith("online.")}
    assert parts == (
        {"actor", "critics"} if algorithm is SoftActorCritic else {"architecture", "head"}
    )
    assert (log_probs(other) != log_probs(model)).any()
    other.set_parameters(found)
    assert (log_probs(other) == log_probs(model)).all()
    for ours, theirs in zip(other.policy.parameters(), model.policy.parameters(), strict=True):
        assert ours.equal(theirs)
    model.save(tmp_path / "model")
    third = trained(algorithm, seed=2)
    third.set_parameters(str(tmp_path / "model"))
    assert (log_probs(third) == log_probs(model)).all()
    assert th.equal(
        next(iter(third.policy.optimizer.state.values()))["exp_avg"],
        next(iter(model.policy.optimizer.state.values()))["exp_avg"],
    )


# ---- replay buffers, copies -----------------------------------------------------------------


def test_a_replay_buffer_is_saved_and_loaded_whatever_the_reward(tmp_path: Path) -> None:
    model = trained(env=GFNEnv(Hypergrid(2, 4, lambda states: states.sum(axis=1) / 3.0)))
    model.save_replay_buffer(tmp_path / "buffer")
    other = trained(seed=1)
    other.load_replay_buffer(tmp_path / "buffer")
    assert other.replay_buffer.dag is other.dag
    assert other.replay_buffer.size() == model.replay_buffer.size()
    other.learn(100, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("kwargs", "what"),
    [
        ({"env": GFNEnv(Hypergrid(2, 5))}, "observation_space"),
        ({"n_envs": 3}, "n_envs is 4, but the model's is 3"),
        ({"replay_alpha": 0.0}, r"alpha is 0\.5, but the model's is 0\.0"),
    ],
)
def test_a_replay_buffer_of_another_model_is_refused(
    kwargs: dict[str, Any], what: str, tmp_path: Path
) -> None:
    trained().save_replay_buffer(tmp_path / "buffer")
    other = trained(**kwargs)
    own = other.replay_buffer
    with pytest.raises(ValueError, match=what):
        other.load_replay_buffer(tmp_path / "buffer")
    assert other.replay_buffer is own


def test_a_trained_model_can_be_copied() -> None:
    model = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL)
    model.learn(300, EvaluationCallback(100))
    assert (log_probs(copy.deepcopy(model)) == log_probs(model)).all()


def test_parameters_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not fit a model of .*height=5"):
        trained(env=GFNEnv(Hypergrid(2, 5))).set_parameters(trained().get_parameters())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"gamma": 0.5}, "gamma=0.5 must be 1"), ({"preset": "fast"}, "preset is for new ones")],
)
def test_what_is_changed_on_loading_is_checked(
    kwargs: dict[str, Any], message: str, tmp_path: Path
) -> None:
    trained().save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        SoftDQN.load(tmp_path / "model", **kwargs)


def test_a_checkpoint_is_not_a_model_nor_a_model_a_checkpoint(tmp_path: Path) -> None:
    model = trained()
    model.save_checkpoint(tmp_path / "checkpoint.zip")
    with pytest.raises(ValueError, match=r"checkpoint\.zip.* resume\(\)"):
        SoftDQN.load(tmp_path / "checkpoint.zip")
    with pytest.raises(ValueError, match=r"checkpoint\.zip.* SoftDQN, not by MunchausenDQN"):
        MunchausenDQN.resume(tmp_path / "checkpoint.zip")
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ValueError, match="text is damaged, or was not written by GFN Gym"):
        SoftDQN.resume(tmp_path / "text")
    untrained = SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4)), **SMALL)
    with pytest.raises(ValueError, match="no training to checkpoint yet"):
        untrained.save_checkpoint(tmp_path / "none.zip")


def test_trains_on_where_what_was_collected_is_gone(tmp_path: Path) -> None:
    """More trajectories have ended than an update takes, and a loaded model has none of them."""
    kwargs: dict[str, Any] = {"n_envs": 64, "train_freq": (1, "episode")}
    model = trained(**kwargs).learn(total_trajectories=200)
    assert model._credit > 1
    model.save(tmp_path / "model")
    SoftDQN.load(tmp_path / "model").learn(total_trajectories=100, reset_num_timesteps=False)
    model.set_env(GFNEnv(Hypergrid(2, 4, slope)))
    model.learn(total_trajectories=100, reset_num_timesteps=False)
