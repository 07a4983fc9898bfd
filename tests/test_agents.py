"""SoftDQN and MunchausenDQN as Stable-Baselines3 algorithms: making, learning, acting, logging."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from logs import trajectories, updates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from dags import DAGS, Words
from gfn_gym import DAG, MDP, GFNEnv
from gfn_gym.agents import GFNVecEnv, MunchausenDQN, SoftDQN
from gfn_gym.agents.architectures import MLP
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.graph import enumerate_graph

ID = "gfn_gym:HypergridGFN-v0"
SMALL: dict[str, Any] = {
    "n_envs": 4,
    "learning_starts": 40,
    "batch_size": 32,
    "train_freq": (4, "episode"),
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
}
ALGORITHMS = pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])


def make(algorithm: Any = SoftDQN, env: Any = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4)) if env is None else env
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs})


def parameters(model: Any) -> Any:
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


class WatchedGrid(Hypergrid):
    """Keeps every action that anyone takes in it."""

    def __init__(self, ndim: int = 2, height: int = 3):
        super().__init__(ndim, height)
        self.taken: list[tuple[Any, Any]] = []

    def step(self, states: Any, actions: Any) -> Any:
        self.taken.append((states.copy(), np.array(actions)))
        return super().step(states, actions)

    def forget_and_check(self, at_least: int) -> None:
        """Every action was legal, and there were some where not everything was."""
        states, actions = (np.concatenate(column) for column in zip(*self.taken, strict=True))
        mask = self.action_mask(states)
        assert mask[np.arange(len(actions)), actions].all()
        assert (~mask).any(axis=1).sum() >= at_least
        self.taken.clear()


# ---- making and learning --------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize(
    ("env", "n_envs"),
    [
        (ID, 4),
        (lambda: gymnasium.make(ID, ndim=2, height=4), 4),
        (lambda: gymnasium.make_vec(ID, 3, vectorization_mode="vector_entry_point", ndim=1), 3),
        (lambda: make_vec_env(ID, 2, env_kwargs={"ndim": 2}), 2),
        (lambda: GFNVecEnv(MDP(Words()), 5), 5),
    ],
    ids=["id", "environment", "native vector", "VecEnv", "native VecEnv"],
)
def test_takes_an_id_an_environment_or_a_vec_env(algorithm: Any, env: Any, n_envs: int) -> None:
    model = make(algorithm, env if isinstance(env, str) else env(), n_envs=n_envs)
    assert model.n_envs == model.get_env().num_envs == n_envs
    model.learn(60)
    assert model.num_timesteps >= 60 and updates(model) > 0


def test_takes_an_architecture_and_its_keywords() -> None:
    model = SoftDQN(MLP, ID, policy_kwargs={"net_arch": [8, 4], "activation_fn": th.nn.Tanh})
    modules = list(model.q_net.modules())
    layers = [layer for layer in modules if isinstance(layer, th.nn.Linear)]
    assert [layer.out_features for layer in layers] == [4, 5]
    assert sum(isinstance(module, th.nn.Tanh) for module in modules) == 2
    with pytest.raises(TypeError, match=r"policy_kwargs has \['width'\], which MLP does not take"):
        SoftDQN("MlpPolicy", ID, policy_kwargs={"width": 3})


@ALGORITHMS
def test_learns_for_a_number_of_steps_or_of_trajectories(algorithm: Any) -> None:
    model = make(algorithm)
    assert model.learn(500) is model
    assert 500 <= model.num_timesteps < 500 + model.n_envs
    model.learn(total_trajectories=100)
    assert 100 <= trajectories(model) < 100 + model.n_envs
    model.learn(total_trajectories=50, reset_num_timesteps=False)
    assert 150 <= trajectories(model) < 150 + 2 * model.n_envs


@ALGORITHMS
def test_learning_changes_the_online_and_the_target_network(algorithm: Any) -> None:
    model = make(algorithm, average_share=0.1)
    networks = (model.q_net, model.q_net_target, model.policy.average)
    before = [[p.clone() for p in network.parameters()] for network in networks]
    model.learn(200)
    for network, old in zip(networks, before, strict=True):
        assert not any(p.equal(q) for p, q in zip(network.parameters(), old, strict=True))


@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.parametrize("total", [{"total_timesteps": 200}, {"total_trajectories": 30}])
def test_progress_bar(total: dict[str, int], capsys: Any) -> None:
    make().learn(**total, progress_bar=True)
    assert "100%" in "".join(capsys.readouterr())


class Recorder(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def _on_training_start(self) -> None:
        self.events.append("start")

    def _on_step(self) -> bool:
        self.events.append("step")
        return len(self.events) < 20

    def _on_training_end(self) -> None:
        self.events.append("end")


def test_callback_as_a_function_sees_sb3_locals() -> None:
    seen: list[tuple[int, int]] = []

    def callback(names: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append((len(names["infos"]), int(names["dones"].sum())))
        return True

    model = make().learn(200, callback)
    assert len(seen) == 50 and all(infos == 4 for infos, _ in seen)
    assert sum(dones for _, dones in seen) == trajectories(model)


def test_callbacks_in_a_list_can_stop_the_training() -> None:
    callbacks = [Recorder(), Recorder()]
    model = make().learn(10_000, callbacks)
    assert callbacks[0].events == ["start", *["step"] * 19, "end"]
    assert model.num_timesteps == 19 * 4


# ---- logging --------------------------------------------------------------------------------

KEYS = {
    *("rollout/ep_len_mean", "rollout/ep_rew_mean", "rollout/exploration_rate"),
    *("time/episodes", "time/fps", "time/total_timesteps", "time/trajectories"),
    *("train/learning_rate", "train/log_z", "train/loss", "train/td_error"),
}


@ALGORITHMS
def test_csv_log(algorithm: Any, tmp_path: Path) -> None:
    model = make(algorithm)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(total_trajectories=300, log_interval=50)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    extra = {"train/clip_fraction"} if algorithm is MunchausenDQN else set()
    assert KEYS | extra | {"train/n_updates"} <= set(rows[0])
    counts = [int(row["time/trajectories"]) for row in rows]
    assert len(counts) == 6 and all(50 * k <= n < 50 * k + 4 for k, n in enumerate(counts, start=1))
    assert float(rows[-1]["train/n_updates"]) <= counts[-1] / 4
    assert rows[-1]["time/episodes"] == rows[-1]["time/trajectories"]


@ALGORITHMS
def test_tensorboard_log(algorithm: Any, tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = make(algorithm, tensorboard_log=str(tmp_path))
    model.learn(total_trajectories=100, log_interval=50)
    model.logger.close()
    model.learn(total_trajectories=100, log_interval=50, tb_log_name="mine")
    assert {p.name for p in tmp_path.iterdir()} == {f"{algorithm.__name__}_1", "mine_1"}
    model.logger.close()
    events = accumulators.EventAccumulator(str(tmp_path / "mine_1")).Reload()
    not_drawn = {"time/episodes", "time/total_timesteps"}  # SB3 leaves these out
    assert set(events.Tags()["scalars"]) >= KEYS - not_drawn
    assert len(events.Scalars("train/loss")) == 2


def test_logged_episode_statistics_are_those_of_the_environment() -> None:
    model = make(SoftDQN, GFNEnv(Words()), seed=1).learn(300)
    assert {episode["l"] for episode in model.ep_info_buffer} == {3}
    # A word of length 3: −log 1 − log 2 − log 3 for the steps, and log R.
    log_reward = Words().log_reward(enumerate_graph(Words()).states[-8:])
    returns = {round(value - np.log(6), 4) for value in log_reward}
    assert {round(episode["r"], 4) for episode in model.ep_info_buffer} <= returns


# ---- acting ---------------------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("dueling", [False, True])
def test_predict_is_legal_everywhere(algorithm: Any, observation: str, dueling: bool) -> None:
    dag = Hypergrid(2, 4)
    model = make(algorithm, GFNEnv(dag, observation=observation), dueling=dueling)
    model.learn(200)
    states = np.repeat(enumerate_graph(dag).states, 20, axis=0)
    observations = model.get_env().observer.observe(states)
    for deterministic in (False, True):
        actions, _ = model.predict(observations, deterministic=deterministic)
        assert actions.shape == (len(states),)
        assert dag.action_mask(states)[np.arange(len(states)), actions].all()
    one, _ = model.predict(observations[0], deterministic=True)
    assert one.shape == () and one == model.predict(observations, deterministic=True)[0][0]


@ALGORITHMS
def test_predict_samples_the_policy_or_takes_its_mode(algorithm: Any) -> None:
    model = make(algorithm, average_share=0.2).learn(400)
    state = np.array([[1, 2]], dtype=np.int32)
    probabilities = np.exp(model.policy.log_probs(state))[0]
    assert probabilities.sum() == pytest.approx(1) and probabilities.std() > 0.01
    observation = model.dag.observe(np.repeat(state, 20_000, axis=0))
    counts = np.bincount(model.predict(observation)[0], minlength=3)
    expected = 20_000 * probabilities
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # 99.9 % of χ² with 2 degrees
    assert model.predict(observation[0], deterministic=True)[0] == probabilities.argmax()


@ALGORITHMS
def test_stock_evaluate_policy(algorithm: Any) -> None:
    dag = WatchedGrid()
    model = make(algorithm, GFNEnv(dag))
    for env in (Monitor(GFNEnv(dag)), model.get_env()):
        for deterministic in (False, True):
            result: Any = evaluate_policy(
                model, env, n_eval_episodes=20, deterministic=deterministic,
                return_episode_rewards=True,
            )  # fmt: skip
            returns, lengths = result
            assert len(returns) == 20 and max(lengths) <= 5 and np.isfinite(returns).all()
    dag.forget_and_check(at_least=10)


@ALGORITHMS
@pytest.mark.parametrize(
    "kwargs",
    [
        {"learning_starts": 10**6},
        {"exploration_initial_eps": 1.0, "exploration_final_eps": 1.0},
        {"dueling": True, "double": True, "exploration_initial_eps": 0.5},
    ],
    ids=["warm-up", "exploration", "mixed"],
)
def test_no_illegal_action_while_training(algorithm: Any, kwargs: dict[str, Any]) -> None:
    dag = WatchedGrid()
    make(algorithm, GFNEnv(dag), **kwargs).learn(2000)
    dag.forget_and_check(at_least=400)


@pytest.mark.parametrize("name", DAGS)
def test_learns_on_every_kind_of_dag(name: str) -> None:
    model = make(SoftDQN, GFNEnv(DAGS[name]), dueling=True, double=True).learn(400)
    assert updates(model) > 0 and th.isfinite(parameters(model)).all()


def prefers_stop(model: Any) -> Any:
    with th.no_grad():
        model.q_net.head.weight.zero_()
        model.q_net.head.bias.copy_(th.tensor([0.0, 0.0, 5.0]))
    return model


def test_warm_up_acts_by_the_untrained_policy_not_uniformly() -> None:
    model = prefers_stop(make(n_envs=1000, learning_starts=10**6))
    actions, _ = model._sample_action(10**6)
    assert (actions == 2).mean() > 0.97  # e^5/(e^5 + 2) = 0.987


def test_each_environment_tosses_its_own_coin_to_explore() -> None:
    model = prefers_stop(make(n_envs=20_000, buffer_size=20_000, exploration_initial_eps=0.3))
    actions, _ = model._sample_action(0)
    # Uniform with ε = 0.3, else e^5/(e^5 + 2) = 0.987: 0.1 + 0.7·0.987 = 0.791, ± 5σ.
    assert (actions == 2).mean() == pytest.approx(0.791, abs=0.015)
    assert abs((actions == 0).mean() - (actions == 1).mean()) < 0.015


def test_exploration_is_annealed_over_its_fraction() -> None:
    model = make(exploration_initial_eps=0.8, exploration_final_eps=0.2, exploration_fraction=0.5)
    schedule = [model.exploration_schedule(remaining) for remaining in (1.0, 0.75, 0.5, 0.0)]
    assert schedule == pytest.approx([0.8, 0.5, 0.2, 0.2])


# ---- seeds ----------------------------------------------------------------------------------


@ALGORITHMS
def test_the_seed_decides_everything(algorithm: Any) -> None:
    def train(seed: int) -> Any:
        return parameters(
            make(algorithm, seed=seed, exploration_initial_eps=0.3, average_share=0.2).learn(400)
        )

    first = train(3)
    th.rand(7), np.random.rand(7)  # noqa: NPY002 - whatever else uses the global generators
    assert first.equal(train(3))
    assert not first.equal(train(4))


def test_without_a_seed_runs_differ() -> None:
    assert not parameters(make(seed=None)).equal(parameters(make(seed=None)))


def test_predict_and_evaluation_leave_the_networks_alone() -> None:
    model: Any = make()
    before = parameters(model)
    dag: DAG = model.dag
    model.predict(dag.observe(dag.initial_states(5)))
    model.policy.log_probs(dag.initial_states(5))
    assert before.equal(parameters(model))
