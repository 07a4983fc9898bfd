"""The balance agents as Stable-Baselines3 algorithms: learning, acting, saving, refusing."""

from __future__ import annotations

import csv
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from logs import trajectories, updates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule
from test_learning import SteepPiles

from block_sets import BLOCK_SETS, tilted
from dags import DAGS, Piles, Words
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import (
    DetailedBalance,
    EvaluationCallback,
    SoftDQN,
    SubTrajectoryBalance,
    TrajectoryBalance,
    as_policy,
    sampled_metrics,
)
from gfn_gym.agents.presets import bit_sequence, hypergrid, molecule
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import elbo, evaluate_exact, initial_log_flow, sample, uniform_policy
from gfn_gym.graph import enumerate_graph

NAN = float("nan")
NAMES: dict[str, Any] = {
    "TrajectoryBalance": TrajectoryBalance,
    "DetailedBalance": DetailedBalance,
    "SubTrajectoryBalance": SubTrajectoryBalance,
}
ALGORITHMS = pytest.mark.parametrize("algorithm", NAMES.values())
SMALL: dict[str, Any] = {
    "n_envs": 4,
    "train_freq": (4, "episode"),
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
}


def make(algorithm: Any = TrajectoryBalance, env: Any = None, **kwargs: Any) -> Any:
    env = GFNEnv(Hypergrid(2, 4)) if env is None else env
    return algorithm("MlpPolicy", env, **{**SMALL, **kwargs})


def parameters(model: Any) -> Any:
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


def log_probs(model: Any) -> Any:
    return model.policy.log_probs(enumerate_graph(Hypergrid(2, 4)).states)


# ---- learning -------------------------------------------------------------------------------


def learn(algorithm: Any, dag: DAG, total_trajectories: int, **kwargs: Any) -> dict[str, float]:
    kwargs = {
        "learning_rate": LinearSchedule(1e-2, 5e-4, 1.0),
        "exploration_initial_eps": 0.3,
        "policy_kwargs": {"net_arch": [64, 64]},
        **kwargs,
    }
    model = algorithm("MlpPolicy", GFNEnv(dag), seed=0, **kwargs)
    model.learn(total_trajectories=total_trajectories)
    return evaluate_exact(dag, as_policy(model))


@pytest.mark.parametrize(
    ("algorithm", "learnt_backward", "total_trajectories"),
    [
        (TrajectoryBalance, False, 6000),
        (DetailedBalance, False, 12_000),
        (SubTrajectoryBalance, False, 8000),
        (DetailedBalance, True, 8000),
    ],
)
def test_learns_the_hypergrid(
    algorithm: Any, learnt_backward: bool, total_trajectories: int
) -> None:
    dag = Hypergrid(2, 8)
    assert evaluate_exact(dag, uniform_policy(dag))["total_variation"] > 0.7
    found = learn(algorithm, dag, total_trajectories, learnt_backward=learnt_backward)
    assert found["total_variation"] < 0.05
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)


# With parallel edges, by a stop and by completion; and a uniform policy is far from the target.
@pytest.mark.parametrize(
    ("algorithm", "dag"),
    [(SubTrajectoryBalance, SteepPiles()), (TrajectoryBalance, SteepPiles(4, 4, total=8))],
    ids=["stop", "completion"],
)
def test_learns_with_a_learnt_backward_policy(algorithm: Any, dag: DAG) -> None:
    before = evaluate_exact(dag, uniform_policy(dag))["total_variation"]
    found = learn(algorithm, dag, 6000, learnt_backward=True)
    assert found["total_variation"] < 0.05 < 0.25 < before


def test_learns_from_replay() -> None:
    found = learn(TrajectoryBalance, Words(3, 3), 4000, replay_trajectories=500)
    assert found["total_variation"] < 0.05


@pytest.mark.parametrize("algorithm", [TrajectoryBalance, SubTrajectoryBalance])
def test_the_transformer_policy_learns(algorithm: Any) -> None:
    dag = BitSequence(8, 2, modes=["00100111"])
    before = evaluate_exact(dag, uniform_policy(dag))["total_variation"]
    network = {
        "layers": 1, "heads": 2, "width": 16, "dropout": 0.0, "learnt_positions": True,
        "norm_first": True,
    }  # fmt: skip
    model = algorithm(
        "TransformerPolicy", GFNEnv(dag), seed=0, learnt_backward=True, learning_rate=1e-2,
        policy_kwargs=network,
    )  # fmt: skip
    model.learn(total_trajectories=2400)
    assert evaluate_exact(dag, as_policy(model))["total_variation"] < before / 2


@pytest.mark.parametrize("name", DAGS)
@ALGORITHMS
def test_updates_on_every_kind_of_dag(algorithm: Any, name: str) -> None:
    model = make(algorithm, GFNEnv(DAGS[name]), learnt_backward=True, max_grad_norm=1.0)
    before = parameters(model)
    model.learn(200)
    assert updates(model) > 5 and th.isfinite(parameters(model)).all()
    assert ((parameters(model) != before).double().mean() > 0.5).item()


# ---- what an update sees --------------------------------------------------------------------


Walk = tuple[Any, Any]


class Watching(TrajectoryBalance):  # type: ignore[misc, unused-ignore]
    """Keeps the trajectories of every gradient step, each as its states and its actions."""

    def _loss(self, batch: Any) -> Any:
        lengths = batch.lengths.tolist()
        columns = (column.split(lengths) for column in (batch.states, batch.actions))
        walks = [(s.tolist(), a.tolist()) for s, a in zip(*columns, strict=True)]
        self.seen: list[list[Walk]] = [*getattr(self, "seen", []), walks]
        return super()._loss(batch)


class Finished(BaseCallback):
    """Keeps the trajectories that the environments finish, in order, likewise."""

    def _on_training_start(self) -> None:
        self.under_way: list[Walk] = [([], []) for _ in range(self.training_env.num_envs)]
        self.walks: list[Walk] = []

    def _on_step(self) -> bool:
        columns = (self.locals[name].tolist() for name in ("states", "actions", "dones"))
        for row, (state, action, done) in enumerate(zip(*columns, strict=True)):
            states, actions = self.under_way[row]
            states.append(state)
            actions.append(action)
            if done:
                self.walks.append((states, actions))
                self.under_way[row] = ([], [])
        return True


@pytest.mark.parametrize("n_envs", [1, 4, 64])
def test_every_trajectory_is_used_once_in_order(n_envs: int) -> None:
    model, finished = make(Watching, n_envs=n_envs, train_freq=(16, "episode")), Finished()
    model.learn(total_trajectories=300, callback=finished)
    assert [len(batch) for batch in model.seen] == [16] * updates(model)
    left = trajectories(model) - 16 * updates(model)
    assert len(model.replay_buffer.new) == left < 16 + n_envs
    used = [walk for batch in model.seen for walk in batch]
    assert used == finished.walks[: len(used)] and len(finished.walks) == trajectories(model)
    model.learn(total_trajectories=100, reset_num_timesteps=False)
    assert 0 <= trajectories(model) - 16 * updates(model) < 16 + n_envs


def test_several_gradient_steps_and_replay() -> None:
    model = make(Watching, gradient_steps=3, replay_trajectories=20, replay_batch=5)
    finished = Finished()
    model.learn(total_trajectories=40, callback=finished)
    assert [len(batch) for batch in model.seen] == [9] * updates(model)
    assert updates(model) == 30
    for number, steps in enumerate(zip(*[iter(model.seen)] * 3, strict=True)):
        new = finished.walks[4 * number : 4 * number + 4]
        assert all(step[:4] == new for step in steps)
        kept = finished.walks[: 4 * number + 8]  # up to three that no round has had yet
        assert all(walk in kept for step in steps for walk in step[4:])
    drawn = [step[4:] for step in model.seen[6:]]  # from the third round on there is a choice
    assert all(one != other for one, other in pairwise(drawn))


def test_train_freq_in_steps_takes_what_is_finished() -> None:
    model = make(Watching, train_freq=2)
    model.learn(400)
    assert sum(len(batch) for batch in model.seen) == trajectories(model)
    assert 20 < updates(model) < 50  # in some pairs of steps nothing finishes


def test_environments_that_start_anew_leave_no_half_walks() -> None:
    model = make(Watching)
    for _ in range(5):
        model.learn(22)
    model.set_env(GFNEnv(Hypergrid(2, 4, "hard")))
    assert not model.replay_buffer.new
    model.learn(50, reset_num_timesteps=False)
    assert {len(batch) for batch in model.seen} == {4}
    for batch in model.seen:
        for states, actions in batch:
            assert [sum(state) for state in states] == list(range(len(actions)))


# ---- rates ----------------------------------------------------------------------------------


def test_log_z_has_a_rate_and_no_decay_of_its_own() -> None:
    model = make(
        learning_rate=LinearSchedule(1e-3, 0.0, 1.0), log_z_learning_rate=0.05,
        learnt_backward=True,
        policy_kwargs={"net_arch": [16], "optimizer_kwargs": {"weight_decay": 0.1}},
    )  # fmt: skip
    model.learn(total_trajectories=100)
    forward, backward, log_z = model.policy.optimizer.param_groups
    assert forward["lr"] == backward["lr"] < 1e-4 and log_z["lr"] == 0.05
    assert forward["weight_decay"] == backward["weight_decay"] == 0.1
    assert log_z["weight_decay"] == 0.0 and len(log_z["params"]) == 1
    model = make(log_z_learning_rate=LinearSchedule(0.2, 0.0, 1.0))
    assert model.policy.optimizer.param_groups[-1]["lr"] == 0.2
    model.learn(total_trajectories=100)
    assert model.policy.optimizer.param_groups[-1]["lr"] < 0.02


# ---- acting and evaluation ------------------------------------------------------------------


@ALGORITHMS
def test_predicts_legally_and_is_evaluated(algorithm: Any) -> None:
    dag = Hypergrid(2, 4)
    model = make(algorithm).learn(200)
    states = np.repeat(enumerate_graph(dag).states, 20, axis=0)
    for deterministic in (False, True):
        actions, _ = model.predict(dag.observe(states), deterministic=deterministic)
        assert dag.action_mask(states)[np.arange(len(states)), actions].all()
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=5)
    assert np.isfinite(mean)


def test_log_flows_where_they_are_learnt() -> None:
    dag = Hypergrid(2, 4)
    states = enumerate_graph(dag).states
    balance: Any = make(TrajectoryBalance)
    balance.policy.log_z.data.fill_(1.25)
    assert initial_log_flow(dag, as_policy(balance)) == 1.25
    with pytest.raises(ValueError, match="only the flow of s0 is learnt"):
        balance.policy.log_flow(states)
    flows = make(DetailedBalance).policy.log_flow(states)
    assert flows.shape == (len(states),) and np.isfinite(flows).all()


@ALGORITHMS
def test_callbacks_and_log(algorithm: Any, tmp_path: Path) -> None:
    model, evaluation = make(algorithm), EvaluationCallback((50, "episode"))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(total_trajectories=200, callback=evaluation, log_interval=50)
    model.logger.close()
    assert {"total_variation", "log_z_error"} <= set(evaluation.history[-1])
    with (tmp_path / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["time/trajectories"]]
    keys = ("train/loss", "train/log_z", "train/learning_rate", "rollout/ep_rew_mean")
    assert len(rows) == 4 and all(row[key] for row in rows for key in keys)
    values = sampled_metrics(model, 50)(as_policy(model))
    assert {"elbo", "log_z"} <= set(values)


@ALGORITHMS
def test_evaluation_does_not_change_the_training(algorithm: Any) -> None:
    with_it, without = (make(algorithm, exploration_initial_eps=0.5) for _ in range(2))
    with_it.learn(400, EvaluationCallback(50))
    without.learn(400)
    assert parameters(with_it).equal(parameters(without))
    assert not parameters(make(algorithm, seed=1).learn(400)).equal(parameters(without))


def test_the_learnt_backward_policy_tightens_the_bound() -> None:
    """It is what the trajectories of P_F look like from behind."""
    model = make(learnt_backward=True, learning_rate=5e-3).learn(total_trajectories=1000)
    bounds = [
        elbo(sample(model.dag, as_policy(model), 2000, 0, backward_policy=backward))
        for backward in (None, model.backward_policy)
    ]
    assert bounds[1] > bounds[0]
    assert make().backward_policy is None


# ---- saving ---------------------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("learnt_backward", [False, True])
def test_save_and_load(algorithm: Any, learnt_backward: bool, tmp_path: Path) -> None:
    extra = {"subtb_lambda": 0.7} if algorithm is SubTrajectoryBalance else {}
    kwargs = {"replay_trajectories": 30, "replay_batch": 3, "gradient_steps": 2, **extra}
    model = make(algorithm, learnt_backward=learnt_backward, **kwargs).learn(300)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    assert loaded.get_env() is None and (log_probs(loaded) == log_probs(model)).all()
    assert parameters(loaded).equal(parameters(model))
    assert {name: getattr(loaded, name) for name in kwargs} == kwargs
    assert not any(key.startswith("target") for key in model.get_parameters()["policy"])
    ours, theirs = (m.policy.optimizer.state_dict()["param_groups"] for m in (model, loaded))
    assert ours == theirs and len(ours) == 1 + learnt_backward + (algorithm is TrajectoryBalance)
    loaded.learn(200, reset_num_timesteps=False)
    assert updates(loaded) > updates(model)
    with pytest.raises(ValueError, match="saved by"):
        SoftDQN.load(tmp_path / "model")


def test_the_policy_alone_can_be_saved(tmp_path: Path) -> None:
    model = make(learnt_backward=True).learn(100)
    model.policy.save(tmp_path / "policy")
    policy: Any = type(model.policy).load(tmp_path / "policy")
    assert parameters(model).equal(th.cat([p.detach().flatten() for p in policy.parameters()]))


def test_replayed_trajectories_can_be_saved(tmp_path: Path) -> None:
    model = make(replay_trajectories=10).learn(200)
    model.save_replay_buffer(tmp_path / "replay")
    other = make(replay_trajectories=10, seed=5)
    other.load_replay_buffer(tmp_path / "replay")
    kept = [trajectory.states.tolist() for trajectory in other.replay_buffer.kept]
    assert kept == [trajectory.states.tolist() for trajectory in model.replay_buffer.kept]
    other.learn(100)
    with pytest.raises(ValueError, match="capacity is 10, but the model's is 0"):
        make().load_replay_buffer(tmp_path / "replay")
    SoftDQN("MlpPolicy", GFNEnv(Hypergrid(2, 4))).save_replay_buffer(tmp_path / "transitions")
    with pytest.raises(ValueError, match="holds a TransitionBuffer, not a TrajectoryBuffer"):
        make().load_replay_buffer(tmp_path / "transitions")


@pytest.mark.parametrize("learnt_backward", [False, True])
@ALGORITHMS
def test_resumed_is_as_never_stopped(algorithm: Any, learnt_backward: bool, tmp_path: Path) -> None:
    """Stopped in the middle of a rollout, with episodes in flight and trajectories not used."""
    kwargs: dict[str, Any] = {
        "learnt_backward": learnt_backward, "train_freq": (7, "episode"),
        "replay_trajectories": 50, "exploration_initial_eps": 0.3,
    }  # fmt: skip

    def trained(stop_at: int | None) -> Any:
        model = make(algorithm, **kwargs)
        model.learn(400, lambda local, _: stop_at is None or local["self"].num_timesteps < stop_at)
        if stop_at is not None:
            assert model.replay_buffer.new and model.replay_buffer._lengths.any()
            model.save_checkpoint(tmp_path / "checkpoint.zip")
            model = algorithm.resume(tmp_path / "checkpoint.zip").learn()
        return model

    whole, in_two = trained(None), trained(204)
    assert parameters(in_two).equal(parameters(whole)) and updates(whole) > 10
    assert updates(in_two) == updates(whole)


# ---- presets and arguments ------------------------------------------------------------------

PRESETS = {
    "Hypergrid": hypergrid.PRESETS,
    "BitSequence": bit_sequence.PRESETS,
    "Molecule": molecule.PRESETS,
}
PAPER = [
    (domain, name)
    for domain in PRESETS
    for name in NAMES
]  # fmt: skip
# Policy, trajectories an update, learning rate, ε, weight decay, log Z's rate, λ of SubTB.
STATED: dict[str, tuple[Any, ...]] = {
    "Hypergrid": ("MlpPolicy", 16, 1e-3, 0.0, 0.0, 0.1, 0.9),
    "BitSequence": ("TransformerPolicy", 16, 2e-3, 1e-3, 1e-5, 0.1, 1.9),
    "Molecule": ("SmallBlockTreePolicy", 4, 5e-4, 0.05, 0.0, 0.01, 0.99),
}
DOMAINS = {
    "Hypergrid": lambda: Hypergrid(2, 4),
    "BitSequence": lambda: BitSequence(8, 2),
    "Molecule": lambda: Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3),
}


@pytest.mark.parametrize(("domain", "name"), PAPER)
def test_the_papers_settings(domain: str, name: str) -> None:
    policy, trajectories, rate, epsilon, decay, log_z_rate, subtb_lambda = STATED[domain]
    model: Any = NAMES[name](policy, GFNEnv(DOMAINS[domain]()), preset="paper")
    assert model.preset == "paper" and model.n_envs == trajectories and model.gradient_steps == 1
    assert (model.train_freq.frequency, model.train_freq.unit.value) == (trajectories, "episode")
    assert model.learning_rate == rate
    assert model.exploration_initial_eps == model.exploration_final_eps == epsilon
    assert model.replay_trajectories == 0 and not model.learnt_backward
    assert model.policy.optimizer.param_groups[0]["weight_decay"] == decay
    if name == "TrajectoryBalance":
        assert model.log_z_learning_rate == log_z_rate
    if name == "SubTrajectoryBalance":
        assert model.subtb_lambda == subtb_lambda


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_settings_for_molecules(name: str) -> None:
    dag = Molecule(BLOCK_SETS["ring"], tilted, max_blocks=3)
    model: Any = NAMES[name]("SmallBlockTreePolicy", GFNEnv(dag), preset="paper")
    assert (model.n_envs, model.gradient_steps, model.learning_rate) == (4, 1, 5e-4)
    assert (model.train_freq.frequency, model.train_freq.unit.value) == (4, "episode")
    assert model.exploration_initial_eps == model.exploration_final_eps == 0.05
    assert getattr(model, "subtb_lambda", 0.99) == 0.99


@pytest.mark.parametrize("name", NAMES)
def test_constructor_defaults_are_the_papers(name: str) -> None:
    defaults = {p.name: p.default for p in inspect.signature(NAMES[name]).parameters.values()}
    for argument, value in PRESETS["Hypergrid"]["paper"][name].items():
        assert defaults[argument] == value or (argument, value) == ("n_envs", 16), argument


@ALGORITHMS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gradient_steps", value) for value in (0, -1, 1.5)),
        *(("replay_trajectories", value) for value in (-1, 2.5)),
        *(("replay_batch", value) for value in (0, -1, 2.5)),
        *(("exploration_initial_eps", value) for value in (-0.1, 1.1, NAN)),
        *(("exploration_final_eps", value) for value in (-0.1, 1.1)),
        *(("exploration_fraction", value) for value in (-0.1, 0.0, 1.1)),
        *(("max_grad_norm", value) for value in (0.0, -1.0, NAN)),
        *(("train_freq", value) for value in (0, -1, (0, "episode"), (16, "epoch"), 1.5)),
    ],
)
def test_an_impossible_argument_is_named(algorithm: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        make(algorithm, **{name: value})


@pytest.mark.parametrize(
    ("algorithm", "name", "value"),
    [
        *((TrajectoryBalance, "log_z_learning_rate", value) for value in (0.0, -1.0, NAN)),
        *((SubTrajectoryBalance, "subtb_lambda", value) for value in (0.0, -1.0, NAN, np.inf)),
    ],
)
def test_an_impossible_argument_of_its_own_is_named(algorithm: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        make(algorithm, **{name: value})


@ALGORITHMS
def test_unknown_arguments_and_environments_are_refused(algorithm: Any) -> None:
    with pytest.raises(TypeError, match="learning_rat"):
        make(algorithm, learning_rat=1e-3)
    with pytest.raises(TypeError, match="gamma"):
        make(algorithm, gamma=0.9)
    with pytest.raises(TypeError, match="is not a GFN environment"):
        algorithm("MlpPolicy", "CartPole-v1")
    with pytest.raises(ValueError, match="exactly one of"):
        make(algorithm).learn()


@ALGORITHMS
def test_a_learnt_backward_policy_takes_no_others_place(algorithm: Any) -> None:
    env = GFNEnv(Piles(), backward_policy=lambda states: np.zeros((len(states), 3)))
    with pytest.raises(ValueError, match="learnt_backward=True, but the environment has a backw"):
        make(algorithm, env, learnt_backward=True)


@ALGORITHMS
def test_divergence_stops_the_training_and_says_so(algorithm: Any) -> None:
    model = make(algorithm, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"training has diverged.*learning_rate"):
        model.learn(4000)
