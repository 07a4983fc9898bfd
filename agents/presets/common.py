"""What the presets of several domains share."""

from __future__ import annotations

from typing import Any

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


def flow_matching(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of SoftDQN without a target network, for the loss of arXiv:2106.04399."""
    of_target = ("tau", "target_update_interval")
    return {**{k: v for k, v in settings.items() if k not in of_target}, "huber": False}
