"""Evaluation while training, by our agents and by sb3-contrib's MaskablePPO."""

from __future__ import annotations

import csv
import json
import pickle
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from gymnasium import wrappers
from logs import trajectories
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecNormalize,
)

from dags import Words
from gfn_gym import GFNEnv
from gfn_gym.agents import (
    EvaluationCallback,
    ModesCallback,
    MunchausenDQN,
    SoftDQN,
    as_policy,
    exact_metrics,
    sampled_metrics,
)
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import EmpiricalDistribution, elbo, evaluate_exact, sample, uniform_policy
from gfn_gym.graph import enumerate_graph
from gfn_gym.wrappers import DictObservation

EXACT = {
    "total_variation",
    "kl",
    "reverse_kl",
    "jensen_shannon",
    "log_z",
    "log_z_error",
}
DAG = Hypergrid(2, 4)


def make(algorithm: Any = SoftDQN, env: Any = None, **kwargs: Any) -> Any:
    settings: dict[str, Any] = {
        "n_envs": 4,
        "learning_starts": 40,
        "batch_size": 32,
        "train_freq": 1,
        "learning_rate": 5e-3,
        "policy_kwargs": {"net_arch": [16]},
        "seed": 0,
    }
    return algorithm("MlpPolicy", GFNEnv(DAG) if env is None else env, **{**settings, **kwargs})


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 2.0, 1.0, 3.0, float("nan")])
    evaluation = EvaluationCallback(
        25, metrics=lambda policy: {"x": next(values)}, monitor="x", best_model_save_path=tmp_path
    )
    make().learn(100, callback=evaluation)
    assert len(evaluation.history) == 5 and evaluation.best == 1.0
    assert (tmp_path / "best_model.zip").exists()


# ---- what is evaluated, and when ------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_metrics_are_logged_and_kept(algorithm: Any, tmp_path: Path) -> None:
    model, evaluation = make(algorithm), EvaluationCallback(200)
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.learn(1000, evaluation)
    model.logger.close()
    logged = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    logged = [row for row in logged if "eval/kl" in row]
    assert len(logged) == len(evaluation.history)
    for row, kept in zip(logged, evaluation.history, strict=True):
        assert set(kept) == EXACT | {"timesteps", "trajectories", "cpu_seconds"}
        for name in EXACT:
            assert row[f"eval/{name}"] == pytest.approx(kept[name], rel=1e-6)
    last = {name: evaluation.history[-1][name] for name in EXACT}
    assert last == pytest.approx(evaluate_exact(DAG, as_policy(model)))
    assert last["log_z_error"] == pytest.approx(last["log_z"] - DAG.log_partition())
    assert evaluation.best == min(row["total_variation"] for row in evaluation.history)


def test_evaluates_first_every_so_often_and_last() -> None:
    by_steps, by_trajectories = EvaluationCallback(200), EvaluationCallback((50, "episode"))
    model = make().learn(1010, [by_steps, by_trajectories])
    assert [row["timesteps"] for row in by_steps.history] == [0, 200, 400, 600, 800, 1000, 1012]
    counts = [row["trajectories"] for row in by_trajectories.history]
    assert counts[0] == 0 and counts[-1] == trajectories(model)
    assert all(50 * k <= n < 50 * k + 4 for k, n in enumerate(counts[1:-1], start=1))
    seconds = [row["cpu_seconds"] for row in by_steps.history]
    assert seconds == sorted(seconds) and seconds[-1] > 0


def burn(seconds: float) -> float:
    """Keep the CPU busy that long; return how long it was in fact."""
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass
    return time.process_time() - start


class SlowTraining(BaseCallback):
    spent = 0.0

    def _on_step(self) -> bool:
        self.spent += burn(0.002)
        return True


def test_cpu_seconds_are_those_of_training_alone() -> None:
    """Neither evaluation nor what a user does between two calls of learn() is training."""
    model, training, evaluating, learning = make(), SlowTraining(), [0.0], 0.0

    def metrics(policy: Any) -> dict[str, float]:
        evaluating.append(burn(0.05))
        return {"x": 0.0}

    evaluation = EvaluationCallback(40, metrics, monitor="x")
    for again in (False, True):
        burn(0.05)
        start = time.process_time()
        model.learn(120, [training, evaluation], reset_num_timesteps=not again)
        learning += time.process_time() - start
        seconds = [row["cpu_seconds"] for row in evaluation.history]
        rounding = 1e-3
        assert training.spent - rounding <= seconds[-1] <= learning - sum(evaluating) + rounding
    assert len(seconds) == len(evaluating) - 1 == 7 and seconds[0] < 0.05


def test_learning_on_does_not_start_the_history_anew() -> None:
    model, evaluation = make(), EvaluationCallback(200)
    model.learn(400, evaluation)
    model.learn(400, evaluation, reset_num_timesteps=False)
    assert [row["timesteps"] for row in evaluation.history] == [0, 200, 400, 600, 800]


def test_a_callback_used_again_counts_anew_with_the_model() -> None:
    model, evaluation = make(), EvaluationCallback(200)
    model.learn(1000, evaluation)
    del evaluation.history[1:]
    model.learn(500, evaluation)
    assert [row["timesteps"] for row in evaluation.history] == [0, 200, 400, 500]


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_evaluation_does_not_change_the_training(algorithm: Any, tmp_path: Path) -> None:
    kwargs = {"average_share": 0.2, "exploration_initial_eps": 0.5}
    with_it, without = make(algorithm, **kwargs), make(algorithm, **kwargs)
    with_it.learn(800, EvaluationCallback(50, best_model_save_path=tmp_path))
    without.learn(800)
    for ours, theirs in zip(with_it.policy.parameters(), without.policy.parameters(), strict=True):
        assert ours.equal(theirs)


def test_the_best_model_is_kept(tmp_path: Path) -> None:
    """At this rate the last model is worse than an earlier one."""
    model = make(learning_rate=3e-2, learning_starts=200)
    evaluation = EvaluationCallback(40, best_model_save_path=tmp_path / "new" / "folder")
    model.learn(1500, evaluation)
    assert evaluation.history[-1]["total_variation"] > evaluation.best
    best = SoftDQN.load(tmp_path / "new" / "folder" / "best_model.zip")
    found = evaluate_exact(DAG, as_policy(best))["total_variation"]
    assert found == pytest.approx(evaluation.best, rel=1e-6)


def test_metrics_of_the_users_and_another_monitor(tmp_path: Path) -> None:
    calls: list[int] = []

    def metrics(policy: Any) -> dict[str, float]:
        calls.append(policy(DAG.initial_states(3)).shape[1])
        return {"loss": float(5 - len(calls))}

    evaluation = EvaluationCallback(100, metrics, tmp_path, monitor="loss")
    make().learn(300, evaluation)
    assert [row["loss"] for row in evaluation.history] == [4, 3, 2, 1] and evaluation.best == 1
    assert calls == [3] * 4
    with pytest.raises(ValueError, match=r"monitor='kl' is not among \['loss'\]"):
        make().learn(100, EvaluationCallback(100, metrics, monitor="kl"))


def test_sampled_metrics_for_dags_of_any_size() -> None:
    dag = Hypergrid(8, 12)
    model = make(SoftDQN, GFNEnv(dag))
    evaluation = EvaluationCallback(200, sampled_metrics(model, 200), monitor="elbo_gap")
    model.learn(200, evaluation)
    first, last = evaluation.history
    assert {"elbo", "elbo_gap", "log_z", "log_z_error"} <= set(first)
    assert first["elbo_gap"] == pytest.approx(dag.log_partition() - first["elbo"])
    assert first["elbo_gap"] > 1  # KL of an untrained policy
    expected = elbo(sample(dag, as_policy(model), 200, 0))
    assert last["elbo"] == pytest.approx(expected)


def test_a_dag_too_large_to_enumerate_is_refused_before_training() -> None:
    model = make(SoftDQN, GFNEnv(Hypergrid(8, 12)))
    with pytest.raises(ValueError, match="more than max_states=1000"):
        model.learn(100, EvaluationCallback(50, max_states=1000))
    assert model.num_timesteps == 0


@pytest.mark.parametrize("value", [0, -1, 2.5, (5, "epoch"), (0, "episode")])
def test_eval_freq_is_checked(value: Any) -> None:
    with pytest.raises(ValueError, match="eval_freq"):
        EvaluationCallback(value)


# ---- other libraries ------------------------------------------------------------------------


@pytest.mark.parametrize("observation", ["onehot", "state"])
def test_maskable_ppo_is_evaluated_while_it_trains(observation: str, tmp_path: Path) -> None:
    env = GFNEnv(DAG, observation=observation)
    model = MaskablePPO(
        "MlpPolicy", env, n_steps=64, batch_size=64, gamma=1.0, ent_coef=1.0, seed=0,
        device="cpu",
    )  # fmt: skip
    model.set_logger(configure(str(tmp_path), ["csv"]))
    evaluation = EvaluationCallback(128, best_model_save_path=tmp_path)
    model.learn(512, evaluation)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        values = [row["eval/total_variation"] for row in csv.DictReader(file)]
    assert sum(value != "" for value in values) == len(evaluation.history) == 5
    assert "log_z_error" not in evaluation.history[0]  # it has no flow
    best = MaskablePPO.load(tmp_path / "best_model.zip")
    found = evaluate_exact(DAG, as_policy(best, DAG))["total_variation"]
    assert found == pytest.approx(evaluation.best, rel=1e-6)


def test_as_policy_of_maskable_ppo_is_its_masked_distribution() -> None:
    model = MaskablePPO("MlpPolicy", GFNEnv(DAG), n_steps=32, batch_size=32, seed=0, device="cpu")
    states = DAG.initial_states(16)
    states[:] = [[x, y] for x in range(4) for y in range(4)]
    mask = DAG.action_mask(states)
    ours = as_policy(model)(states)
    observation, _ = model.policy.obs_to_tensor(DAG.observe(states))
    with th.no_grad():
        theirs: Any = model.policy.get_distribution(observation, action_masks=mask).distribution
    assert ours.dtype == float and (ours[~mask] == -float("inf")).all()
    assert th.as_tensor(ours).exp().numpy() == pytest.approx(theirs.probs.numpy(), abs=1e-6)


def test_episodes_cannot_be_counted_for_on_policy_algorithms() -> None:
    model = MaskablePPO("MlpPolicy", GFNEnv(DAG), n_steps=32, batch_size=32, device="cpu")
    with pytest.raises(ValueError, match="MaskablePPO does not count episodes: give eval_freq"):
        model.learn(64, EvaluationCallback((10, "episode")))


def test_as_policy_refuses_what_has_no_probabilities() -> None:
    model = DQN("MlpPolicy", GFNEnv(DAG, invalid_action="terminate"), buffer_size=10, device="cpu")
    with pytest.raises(TypeError, match="DQN has no action probabilities"):
        as_policy(model)


def test_as_policy_and_exact_metrics_of_an_untrained_model() -> None:
    model = make()
    with th.no_grad():
        for p in model.q_net.parameters():
            p.zero_()
    metrics = exact_metrics(model)(as_policy(model))
    uniform = evaluate_exact(DAG, uniform_policy(DAG))
    assert {name: metrics[name] for name in uniform} == pytest.approx(uniform, abs=1e-6)


def test_exact_metrics_where_completion_ends_the_episode() -> None:
    model, evaluation = make(SoftDQN, GFNEnv(Words()), dueling=True), EvaluationCallback(200)
    model.learn(400, evaluation)
    assert evaluation.best < evaluation.history[0]["total_variation"]


# ---- used again -----------------------------------------------------------------------------


def test_a_callback_used_with_another_target_judges_by_that_one() -> None:
    model, evaluation = make(), EvaluationCallback(10_000)
    model.learn(100, evaluation)
    model.set_env(GFNEnv(Hypergrid(2, 4, "hard")))
    model.learn(100, evaluation, reset_num_timesteps=False)
    expected = evaluate_exact(Hypergrid(2, 4, "hard"), as_policy(model))
    last = evaluation.history[-1]
    assert last["total_variation"] == pytest.approx(expected["total_variation"], abs=1e-12)
    assert last["log_z_error"] == pytest.approx(expected["log_z_error"], abs=1e-12)
    assert evaluation.history[0]["timesteps"] == 100  # the other target's are forgotten


def test_the_largest_value_may_be_the_best() -> None:
    values = iter([1.0, 3.0, 2.0, 2.0])
    evaluation = EvaluationCallback(
        50, lambda policy: {"score": next(values)}, monitor="score", monitor_mode="max"
    )
    make().learn(120, evaluation)
    assert evaluation.best == 3.0
    with pytest.raises(ValueError, match="monitor_mode='least' must be 'min' or 'max'"):
        EvaluationCallback(50, monitor_mode="least")


def test_as_policy_refuses_another_dag_and_evaluation_names_both() -> None:
    model, larger = make(), Hypergrid(2, 5)
    with pytest.raises(ValueError, match=r"height=5.* height=4"):
        as_policy(model, larger)
    with pytest.raises(ValueError, match=r"made for .*height=4.* values up to \[4, 4\]"):
        evaluate_exact(larger, as_policy(model))


# ---- environments that are wrapped, or elsewhere ----------------------------------------------


def ppo(env: Any, policy: str = "MlpPolicy") -> Any:
    return PPO(policy, env, n_steps=8, batch_size=8, seed=0, device="cpu", gamma=1.0)


def terminating(**kwargs: Any) -> GFNEnv:
    return GFNEnv(DAG, invalid_action="terminate", **kwargs)


def states_and_mask() -> tuple[Any, Any]:
    states = enumerate_graph(DAG).states
    return states, DAG.action_mask(states)


def expected_from(model: Any, observations: Any) -> Any:
    """What the model's own distribution is, masked by hand."""
    _, mask = states_and_mask()
    tensor, _ = model.policy.obs_to_tensor(observations)
    with th.no_grad():
        probs = model.policy.get_distribution(tensor).distribution.probs.numpy() * mask
    return probs / probs.sum(axis=1, keepdims=True)


def test_a_wrapped_environment_is_evaluated() -> None:
    def make() -> Any:
        env = wrappers.NormalizeReward(wrappers.FlattenObservation(terminating()))
        return Monitor(wrappers.TimeLimit(wrappers.RecordEpisodeStatistics(env), 5))

    model, (states, _) = ppo(DummyVecEnv([make] * 2)), states_and_mask()
    for dag in (None, DAG):
        found = np.exp(as_policy(model, dag)(states))
        assert found == pytest.approx(expected_from(model, DAG.observe(states)), abs=1e-6)


def test_vec_normalize_is_applied_to_what_the_model_sees() -> None:
    venv = VecNormalize(DummyVecEnv([terminating] * 2))
    model, (states, _) = ppo(venv).learn(64), states_and_mask()
    seen: Any = venv.normalize_obs(DAG.observe(states))
    assert abs(seen - DAG.observe(states)).max() > 0.1
    found = np.exp(as_policy(model)(states))
    assert found == pytest.approx(expected_from(model, seen), abs=1e-6)


@pytest.mark.parametrize("observation", ["onehot", "state"])
@pytest.mark.parametrize("keys", [("observations", "action_mask", np.float32), ("a", "b", bool)])
def test_dict_observations_are_evaluated(keys: Any, observation: str) -> None:
    model = ppo(DictObservation(terminating(observation=observation), *keys), "MultiInputPolicy")
    states, mask = states_and_mask()
    shown = DAG.observe(states) if observation == "onehot" else states
    expected = expected_from(model, {keys[0]: shown, keys[1]: mask.astype(keys[2])})
    assert np.exp(as_policy(model)(states)) == pytest.approx(expected, abs=1e-6)
    pickle.loads(pickle.dumps(as_policy(model)))


def test_modes_are_counted_under_a_dict_observation() -> None:
    model = ppo(DictObservation(terminating()), "MultiInputPolicy")
    modes = ModesCallback(lambda dag: EmpiricalDistribution(dag))
    model.learn(64, modes)
    assert len(modes.tracker) > 0


def test_environments_in_subprocesses_are_evaluated_with_their_dag() -> None:
    make = partial(gymnasium.make, "gfn_gym:HypergridGFN-Terminate-v0", ndim=2, height=4)
    venv = SubprocVecEnv([make] * 2, start_method="fork")
    try:
        model, evaluation = ppo(venv), EvaluationCallback(32, dag=DAG)
        model.learn(64, evaluation)
        assert len(evaluation.history) >= 2
        found = evaluate_exact(DAG, as_policy(model, DAG))["total_variation"]
        assert found == pytest.approx(evaluation.history[-1]["total_variation"])
        for refused in (as_policy, exact_metrics):
            with pytest.raises(ValueError, match="live in other processes: pass dag="):
                refused(model)
        with pytest.raises(ValueError, match="its backward policy is not known"):
            sampled_metrics(model, 10, dag=DAG)(as_policy(model, DAG))
    finally:
        venv.close()


class Reversed(gymnasium.ObservationWrapper[Any, Any, Any]):
    def observation(self, observation: Any) -> Any:
        return observation[::-1]


def test_what_cannot_be_evaluated_is_refused_without_a_word_about_training() -> None:
    cartpole = ppo("CartPole-v1")
    reversed_, stacked = (
        ppo(Reversed(terminating())),
        ppo(VecFrameStack(DummyVecEnv([terminating]), 2)),
    )
    for model, dag, error, words in (
        (cartpole, None, ValueError, "is not a GFN environment: pass dag="),
        (cartpole, DAG, ValueError, "the model observes Box"),
        (stacked, None, ValueError, "the model observes Box.*policy_from_logits"),
        (reversed_, None, TypeError, "Reversed changes the observations.*policy_from_logits"),
    ):
        with pytest.raises(error, match=words) as raised:
            as_policy(model, dag)
        assert "train" not in str(raised.value)


def test_the_callback_judges_by_the_dag_that_it_is_given() -> None:
    hard = Hypergrid(2, 4, "hard")
    model, evaluation = make(), EvaluationCallback(100, dag=hard)
    model.learn(100, evaluation)
    expected = evaluate_exact(hard, as_policy(model))["total_variation"]
    assert evaluation.history[-1]["total_variation"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="height=5"):  # before anything is trained
        model.learn(100, EvaluationCallback(100, dag=Hypergrid(2, 5)))
