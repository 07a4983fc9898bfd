"""What the presets of several domains share."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

# arXiv:2606.15793, which has these for the hypergrid; the other domains get the same.
ENTROPIC_PPO: dict[str, Any] = {
    "n_envs": 16,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3 / 3,
    "train_freq": (16, "episode"),
    "gradient_steps": 4,
    "gae_lambda": 0.7,
    "clip_range": 0.2,
}
# What M-DQN has on the paper's hypergrid besides SoftDQN's settings.
MUNCHAUSEN = {"munchausen_alpha": 0.15, "munchausen_l0": -100.0}


def frugal(fast: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """SoftDQN's settings where trajectories are dear and gradient steps are not.

    What "fast" has, with a policy that is never old: few environments, and a round of updates per
    step of theirs, from the start. Every object that was found is replayed, along ever new
    trajectories that P_B draws to it, for which no reward is asked. The target begins flatter, so
    that modes are found before what was found first is learnt by heart.
    """
    return {
        **fast,
        "n_envs": 8,
        "learning_starts": 256,
        "replay_pool": 10_000,
        "reward_annealing": (0.1, 0.3),
        **changes,
    }


def flow_matching(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of SoftDQN without a target network, for the loss of arXiv:2106.04399."""
    of_target = ("tau", "target_update_interval")
    return {**{k: v for k, v in settings.items() if k not in of_target}, "huber": False}


def fast_for_all(
    fast: dict[str, Any], exploration: dict[str, Any], q_learning_rate: float
) -> dict[str, dict[str, Any]]:
    """The preset "fast" of every algorithm, where it was tuned for SoftDQN and no other.

    Args:
        fast: SoftDQN's settings.
        exploration: those of ε, for the balance losses.
        q_learning_rate: of soft actor-critic's critics.
    """
    balance: dict[str, Any] = {
        **exploration,
        "n_envs": 16,
        "learning_rate": LinearSchedule(3e-3, 3e-5, 1.0),
        "train_freq": (16, "episode"),
        "gradient_steps": 1,
        "policy_kwargs": {"optimizer_kwargs": {"fused": True}},
    }
    return {
        "SoftDQN": fast,
        "MunchausenDQN": {**fast, **MUNCHAUSEN},
        "TrajectoryBalance": {**balance, "log_z_learning_rate": 0.1},
        "DetailedBalance": balance,
        "SubTrajectoryBalance": {**balance, "subtb_lambda": 0.9},
        "EntropicPPO": ENTROPIC_PPO,
        "SoftActorCritic": {**fast, "q_learning_rate": q_learning_rate},
        "FlowMatching": flow_matching(fast),
    }
