"""Presets of RNA folds, with potential="dag"."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .common import MUNCHAUSEN, fast_for_all, frugal
from .hypergrid import FAST as FAST_HYPERGRID

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

FRUGAL = frugal(FAST)

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": fast_for_all(FAST, EXPLORATION, q_learning_rate=3e-3),
    "frugal": {
        "SoftDQN": FRUGAL,
        "MunchausenDQN": {**FRUGAL, **MUNCHAUSEN},
    },
}
