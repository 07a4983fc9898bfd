"""Presets of bit sequences."""

from __future__ import annotations

import math
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from gfn_gym.envs.bit_sequence import BitSequence

from .common import ENTROPIC_PPO, flow_matching, frugal
from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import PAPER_BALANCE as PAPER_HYPERGRID_BALANCE

# The paper's section 5.3 at k = 8; the same public code, bitseq/run.py. New transitions come with
# the largest priority there, and the exponent of the importance weights stays.
PAPER: dict[str, Any] = {
    "policy": "TransformerPolicy",
    "n_envs": 16,
    "learning_rate": 2e-3,
    "buffer_size": 100_000,
    "learning_starts": (800, "episode"),
    "batch_size": 256,
    "train_freq": (16, "episode"),
    "gradient_steps": 1,
    "tau": 1.0,
    "target_update_interval": 5,
    "huber": True,
    "leaf_weight": 2.0,
    "replay_alpha": 0.9,
    "replay_beta": 0.1,
    "replay_beta_final": 0.1,
    "importance_weights": True,
    "new_priority": "max",
    "exploration_initial_eps": 1e-3,
    "exploration_final_eps": 1e-3,
    "policy_kwargs": {"optimizer_kwargs": {"weight_decay": 1e-5, "fused": True}},
}

# The balance losses there: P_F explores, log Z and the flows are learnt as on the hypergrid.
PAPER_BALANCE: dict[str, Any] = {
    **PAPER_HYPERGRID_BALANCE,
    "policy": "TransformerPolicy",
    "learning_rate": 2e-3,
    "exploration_initial_eps": 1e-3,
    "exploration_final_eps": 1e-3,
    "policy_kwargs": {"optimizer_kwargs": {"weight_decay": 1e-5, "fused": True}},
}

# For spaces that can be enumerated: n = 16, k = 4 to a total variation below 0.05. Sinusoids of
# neighboring positions are much alike, and with the paper's network it stays at 0.3 as long.
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    "n_envs": 64,
    "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
    "learning_starts": 1_024,
    "batch_size": 256,
    "dueling": False,
    "policy": "TransformerPolicy",
    "architecture": {"dropout": 0.0, "learnt_positions": True, "norm_first": True},
}

FRUGAL = frugal(FAST)

LARGE = 64  # bits, from which on there are modes to find


def fast_at_large(dag: BitSequence) -> dict[str, Any]:
    """What wins at n = 120, k = 8 under the potential (benchmarks/paper/bits_sampler.py).

    A mixture of products, because R/Z is nearly one where modes lie far apart. For three quarters
    of the training, half of the trajectories search around the best objects found, and these are
    replayed; after that the policy learns from its own trajectories alone, which makes its samples
    as diverse as those of R/Z. Without the potential it has not been seen to win.
    """
    one_word = dag.k * math.log1p(math.exp(-dag.reward_exponent))  # log Z of a mode, a word's part
    return {
        "policy": "MixturePolicy",
        "architecture": {"experts": 128, "step_value": one_word},
        "n_envs": 96,
        "learning_rate": LinearSchedule(1e-2, 2e-3, 1.0),
        "buffer_size": 40_000,
        "learning_starts": 0,
        "batch_size": 384,
        "train_freq": (96, "episode"),
        "gradient_steps": 5,
        "tau": 0.25,
        "average_share": 0.1,
        "dueling": True,
        "replay_alpha": 0.5,
        "exploration_initial_eps": 0.02,
        "exploration_final_eps": 0.0,
        "exploration_fraction": 0.5,
        "replay_pool": 100,
        "local_search": 0.5,
        "pool_fraction": 0.75,
    }


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "SoftDQN": PAPER,
        "MunchausenDQN": {**PAPER, "munchausen_alpha": 0.15, "munchausen_l0": -25.0},
        "TrajectoryBalance": {**PAPER_BALANCE, "log_z_learning_rate": 0.1},
        "DetailedBalance": PAPER_BALANCE,
        "SubTrajectoryBalance": {**PAPER_BALANCE, "subtb_lambda": 1.9},
        "EntropicPPO": ENTROPIC_PPO,
        # Not in that paper: its settings for SoftDQN.
        "SoftActorCritic": {**PAPER, "q_learning_rate": 2e-3},
        "FlowMatching": flow_matching(PAPER),
    },
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, "munchausen_alpha": 0.15, "munchausen_l0": -100.0},
    },
    "frugal": {
        "SoftDQN": FRUGAL,
        "MunchausenDQN": {**FRUGAL, "munchausen_alpha": 0.15, "munchausen_l0": -100.0},
    },
}


def presets(dag: BitSequence) -> dict[str, dict[str, dict[str, Any]]]:
    """The presets of a domain of this size."""
    if dag.n < LARGE:
        return PRESETS
    fast = fast_at_large(dag)
    saving = {**fast, "n_envs": 32, "train_freq": (32, "episode")}
    return {
        **PRESETS,
        "fast": {**PRESETS["fast"], "SoftDQN": fast},
        "frugal": {**PRESETS["frugal"], "SoftDQN": saving},
    }
