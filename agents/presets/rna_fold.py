"""Presets of RNA folds."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import MUNCHAUSEN

# A first guess, which has not been tuned; with potential="dag".
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    "n_envs": 64,
    "learning_rate": LinearSchedule(2e-3, 4e-5, 1.0),
    "batch_size": 256,
    "leaf_weight": 2.0,
    "exploration_initial_eps": 0.1,
    "exploration_final_eps": 0.02,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
    },
}
