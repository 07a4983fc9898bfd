"""Presets of the hypergrid."""

from __future__ import annotations

import functools
from typing import Any

from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from .common import ENTROPIC_PPO, MUNCHAUSEN, flow_matching, frugal

# arXiv:2310.12934, its public code at commit 4347320.
PAPER: dict[str, Any] = {
    "n_envs": 16,
    "learning_rate": 1e-3,
    "buffer_size": 100_000,
    "learning_starts": (256, "episode"),
    "batch_size": 256,
    "train_freq": (16, "episode"),
    "gradient_steps": 1,
    "tau": 0.25,
    "huber": True,
    "replay_alpha": 0.5,
    "new_priority": "td_error",
}

# What won on 20^4; see benchmarks/README.md for the figures. The learning rate decays over
# whatever total learn() is given.
FAST: dict[str, Any] = {
    "n_envs": 256,
    "learning_rate": LinearSchedule(8e-3, 4e-5, 1.0),
    "buffer_size": 100_000,
    "learning_starts": 2_048,
    "batch_size": 512,
    "train_freq": (1, "step"),
    "gradient_steps": 1,
    "tau": 0.25,
    "dueling": True,
    "huber": True,
    "leaf_weight": 5.0,
    "replay_alpha": 0.5,
    "new_priority": "max",
    "average_share": 0.05,
    "policy": "MlpPolicy",
    # At this rate most of a ReLU network's units die.
    "architecture": {"activation_fn": functools.partial(nn.LeakyReLU, 0.1)},
    "policy_kwargs": {"optimizer_kwargs": {"betas": (0.9, 0.99), "fused": True}},
}

FRUGAL = frugal(FAST)

# The balance losses of the same paper and code.
PAPER_BALANCE: dict[str, Any] = {
    "n_envs": 16,
    "learning_rate": 1e-3,
    "train_freq": (16, "episode"),
    "gradient_steps": 1,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "SoftDQN": PAPER,
        "MunchausenDQN": {**PAPER, **MUNCHAUSEN},
        "TrajectoryBalance": {**PAPER_BALANCE, "log_z_learning_rate": 0.1},
        "DetailedBalance": PAPER_BALANCE,
        "SubTrajectoryBalance": {**PAPER_BALANCE, "subtb_lambda": 0.9},
        "EntropicPPO": ENTROPIC_PPO,
        "SoftActorCritic": {**PAPER, "q_learning_rate": 1e-2},
        "FlowMatching": flow_matching(PAPER),
    },
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
    },
    "frugal": {
        "SoftDQN": FRUGAL,
        "MunchausenDQN": {**FRUGAL, **MUNCHAUSEN},
    },
}
