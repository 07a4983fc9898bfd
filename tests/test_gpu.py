"""Everything that learns, on a GPU. Skipped where there is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from halfway import resumed_half_way
from test_architectures import ALGORITHMS, DAGS, FITTING, LEARN_BACKWARD, small_model

from gfn_gym import GFNEnv
from gfn_gym.agents import MENTS, EvaluationCallback, SoftDQN, as_policy
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, log_probs_of, sample

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")


small = partial(small_model, device=DEVICE)


def assert_on_gpu(model: Any) -> None:
    assert {p.device.type for p in model.policy.parameters()} == {DEVICE}


@pytest.mark.parametrize("learnt_backward", [False, True])
@pytest.mark.parametrize("policy", FITTING)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_with_every_architecture(algorithm, policy, learnt_backward):
    if learnt_backward and algorithm not in LEARN_BACKWARD:
        pytest.skip("flow matching has no P_B")
    for name in FITTING[policy]:
        kwargs = {"learnt_backward": True} if learnt_backward else {}
        model = small(algorithm, policy, name, **kwargs)
        model.learn(total_trajectories=24)
        assert_on_gpu(model)
        states = DAGS[name].initial_states(2)
        assert np.isfinite(log_probs_of(DAGS[name], as_policy(model), states).max(axis=1)).all()
        if learnt_backward:
            children, _ = DAGS[name].step(states, DAGS[name].action_mask(states).argmax(axis=1))
            log_p = model.backward_policy(children)
            assert np.allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-5)


OPTIONS: list[dict[str, Any]] = [
    {"dueling": True, "double": True, "average_share": 0.1},
    {"n_step": 3, "td_lambda": 0.9, "importance_weights": True, "new_priority": "max"},
    {"planning_simulations": 4},
    {"replay_pool": 8, "local_search": 0.5, "exploration_ladder": (0.01, 0.5)},
    {"reward_annealing": (0.2, 0.5), "max_grad_norm": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_soft_dqn_trains_with_its_options(options):
    model = small(SoftDQN, **options).learn(total_trajectories=48)
    assert_on_gpu(model)
    assert np.isfinite(model.policy.log_flow(model.dag.initial_states(1))).all()


def test_learns_what_it_learns_on_a_cpu():
    model = SoftDQN(
        "MlpPolicy", GFNEnv(Hypergrid(2, 8)), n_envs=16, learning_rate=3e-3, seed=0, device=DEVICE
    )
    callback = EvaluationCallback((3_000, "episode"))
    model.learn(total_trajectories=6_000, callback=callback)
    assert callback.history[-1]["total_variation"] < 0.05
    assert abs(callback.history[-1]["log_z_error"]) < 0.1


def test_plans_and_samples_after_training():
    model = small(SoftDQN).learn(total_trajectories=100)
    planned = evaluate_exact(model.dag, MENTS(model, 16))["total_variation"]
    assert planned < evaluate_exact(model.dag, as_policy(model))["total_variation"]
    assert np.isfinite(sample(model.dag, MENTS(model, 4), 20).log_weights()).all()


def test_what_is_saved_on_a_gpu_is_the_same_on_a_cpu(tmp_path):
    model = small(SoftDQN, learnt_backward=True).learn(total_trajectories=100)
    model.save(tmp_path / "model")
    states = model.dag.initial_states(1)
    for device in (DEVICE, "cpu"):
        loaded = SoftDQN.load(tmp_path / "model", device=device)
        assert loaded.device.type == device
        assert np.allclose(
            loaded.policy.log_probs(states), model.policy.log_probs(states), atol=1e-5
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_training_that_was_cut_off_goes_on(algorithm, tmp_path):
    model = resumed_half_way(small(algorithm), 64, tmp_path / "checkpoint.zip")
    assert model._episode_num >= 64
    assert np.isfinite(model.policy.log_probs(model.dag.initial_states(1)).max())


def test_a_checkpoint_holds_the_generator_of_the_gpu(tmp_path):
    model = small(SoftDQN).learn(total_trajectories=24)
    model.save_checkpoint(tmp_path / "checkpoint.zip")
    drawn = th.rand(4, device=DEVICE)
    SoftDQN.resume(tmp_path / "checkpoint.zip", device=DEVICE)
    assert th.rand(4, device=DEVICE).equal(drawn)
