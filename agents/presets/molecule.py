"""Presets of molecules."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .common import ENTROPIC_PPO, flow_matching, frugal
from .hypergrid import FAST as FAST_HYPERGRID

# The paper's section 5.2; the same public code, mols/. Its network is "BlockTreePolicy"; new
# transitions come with the largest priority, and the exponent of the importance weights stays.
PAPER: dict[str, Any] = {
    "policy": "BlockTreePolicy",
    "n_envs": 4,
    "learning_rate": 5e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100_000,
    "batch_size": 256,
    "train_freq": (4, "episode"),
    "gradient_steps": 1,
    "tau": 0.1,
    "dueling": True,
    "huber": True,
    "replay_alpha": 0.9,
    "replay_beta": 0.1,
    "replay_beta_final": 0.1,
    "importance_weights": True,
    "new_priority": "max",
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.05,
    "exploration_fraction": 0.001,
}

# The balance losses there, mols/gflownet.py, except for log Z: there it begins at 30 and has P_F's
# rate; here it begins at 0, from where 50,000 updates at that rate would not reach it.
PAPER_BALANCE: dict[str, Any] = {
    "policy": "BlockTreePolicy",
    "n_envs": 4,
    "learning_rate": 5e-4,
    "train_freq": (4, "episode"),
    "gradient_steps": 1,
    "exploration_initial_eps": 0.05,
    "exploration_final_eps": 0.05,
}

# For "SmallBlockTreePolicy" and some hundred thousand molecules on one core of a CPU. The leaf
# weight matters: until log R is learnt, everything above it bootstraps from values near 0. So do a
# large replay and some exploration: without, molecules of low reward are forgotten once the first
# ones have left the replay, and the correlation falls from 0.75 to 0.1 while the ELBO still rises.
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    "n_envs": 64,
    "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
    "buffer_size": 1_000_000,
    "learning_starts": 4_096,
    "batch_size": 256,
    "tau": 0.1,
    "exploration_initial_eps": 0.05,
    "exploration_final_eps": 0.05,
    "policy": "SmallBlockTreePolicy",
    "architecture": {},
}

# A target that is flat for longer: after 10,000 molecules a correlation of 0.67 against 0.56.
FRUGAL = frugal(FAST, n_envs=16, learning_starts=1_024, reward_annealing=(0.1, 0.5))

MUNCHAUSEN = {"munchausen_alpha": 0.15, "munchausen_l0": -2500.0}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "SoftDQN": PAPER,
        "MunchausenDQN": {**PAPER, **MUNCHAUSEN},
        "TrajectoryBalance": {**PAPER_BALANCE, "log_z_learning_rate": 1e-2},
        "DetailedBalance": PAPER_BALANCE,
        "SubTrajectoryBalance": {**PAPER_BALANCE, "subtb_lambda": 0.99},
        "EntropicPPO": {**ENTROPIC_PPO, "policy": "BlockTreePolicy"},
        # Not in that paper: its settings for SoftDQN.
        "SoftActorCritic": {**PAPER, "q_learning_rate": 5e-4},
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
