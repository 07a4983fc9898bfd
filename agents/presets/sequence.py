"""Presets of words."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .common import ENTROPIC_PPO, flow_matching
from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import MUNCHAUSEN

FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    "n_envs": 64,
    "learning_rate": LinearSchedule(4e-3, 4e-5, 1.0),
    "batch_size": 256,
    "exploration_initial_eps": 0.1,
    "exploration_final_eps": 0.02,
}

BALANCE: dict[str, Any] = {
    "n_envs": 16,
    "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
    "train_freq": (16, "episode"),
    "gradient_steps": 1,
    "exploration_initial_eps": 0.1,
    "exploration_final_eps": 0.02,
    "policy_kwargs": {"optimizer_kwargs": {"fused": True}},
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
        "TrajectoryBalance": {**BALANCE, "log_z_learning_rate": 0.1},
        "DetailedBalance": BALANCE,
        "SubTrajectoryBalance": {**BALANCE, "subtb_lambda": 0.9},
        "EntropicPPO": ENTROPIC_PPO,
        "SoftActorCritic": {**FAST, "q_learning_rate": 4e-3},
        "FlowMatching": flow_matching(FAST),
    },
}
