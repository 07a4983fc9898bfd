"""Presets of RNA folds, with potential="dag"."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .common import ENTROPIC_PPO, flow_matching
from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import MUNCHAUSEN

# A first pair costs energy, and only its neighbors pay it back: ε begins at 1, or all stay with
# the open chain. Stops weighed more than pairs, or a replay that forgets, keep it there as well.
EXPLORATION: dict[str, Any] = {
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.02,
    "exploration_fraction": 0.5,
}
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    **EXPLORATION,
    "n_envs": 64,
    "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
    "buffer_size": 500_000,
    "learning_starts": 8_192,
    "batch_size": 256,
    "leaf_weight": 1.0,
    "replay_alpha": 0.9,
}
BALANCE: dict[str, Any] = {
    **EXPLORATION,
    "n_envs": 16,
    "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
    "train_freq": (16, "episode"),
    "gradient_steps": 1,
    "policy_kwargs": {"optimizer_kwargs": {"fused": True}},
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
        # What follows was not tuned.
        "TrajectoryBalance": {**BALANCE, "log_z_learning_rate": 0.1},
        "DetailedBalance": BALANCE,
        "SubTrajectoryBalance": {**BALANCE, "subtb_lambda": 0.9},
        "EntropicPPO": ENTROPIC_PPO,
        "SoftActorCritic": {**FAST, "q_learning_rate": 3e-3},
        "FlowMatching": flow_matching(FAST),
    },
}
