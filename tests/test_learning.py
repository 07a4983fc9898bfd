"""The agents learn to sample R/Z, by the exact total variation."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.utils import LinearSchedule

from dags import Piles, Words
from gfn_gym import DAG, GFNEnv
from gfn_gym.agents import MunchausenDQN, SoftDQN, as_policy
from gfn_gym.dag import Floats, States
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, uniform_policy

SMALL: dict[str, Any] = {"n_envs": 16, "seed": 0}


class SteepPiles(Piles):
    """With a reward that uniform actions are far from."""

    def log_reward(self, states: States) -> Floats:
        return 3 * super().log_reward(states)


def learn(algorithm: Any, dag: DAG, total_timesteps: int, **kwargs: Any) -> dict[str, float]:
    model = algorithm("MlpPolicy", GFNEnv(dag), **{**SMALL, **kwargs}).learn(total_timesteps)
    return evaluate_exact(dag, as_policy(model))


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
@pytest.mark.parametrize("reward", ["standard", "hard"])
def test_fast_preset_learns_the_hypergrid(algorithm: Any, reward: str) -> None:
    """With exploration: without, one seed in six misses a mode in so few steps."""
    dag = Hypergrid(2, 8, reward=reward)
    assert evaluate_exact(dag, uniform_policy(dag))["total_variation"] > 0.7
    found = learn(
        algorithm, dag, 20_000, preset="fast", learning_starts=512, batch_size=128,
        exploration_initial_eps=0.5,
    )  # fmt: skip
    assert found["total_variation"] < 0.05
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_paper_settings_learn_the_hypergrid(algorithm: Any) -> None:
    """One update per 16 trajectories at a rate of 1e-3 is slow: here more of both."""
    found = learn(
        algorithm, Hypergrid(2, 8), 40_000, preset="paper", learning_rate=3e-3,
        train_freq=(4, "episode"), policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    assert found["total_variation"] < 0.05


# Without a stop action; with parallel edges; with both, where Q of a completed object is −inf.
@pytest.mark.parametrize(
    "dag",
    [Words(3, 3), SteepPiles(), SteepPiles(4, 4, total=8)],
    ids=["words", "piles", "piles_total"],
)
@pytest.mark.parametrize("algorithm", [SoftDQN, MunchausenDQN])
def test_learns_dags_of_other_kinds(algorithm: Any, dag: DAG) -> None:
    before = evaluate_exact(dag, uniform_policy(dag))["total_variation"]
    found = learn(
        algorithm, dag, 12_000, learning_rate=LinearSchedule(5e-3, 1e-4, 1.0), batch_size=64,
        learning_starts=200, train_freq=1, double=True, dueling=True,
        exploration_initial_eps=0.5, policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    assert found["total_variation"] < 0.05 < 0.25 < before
    assert found["log_z_error"] == pytest.approx(0, abs=0.1)
