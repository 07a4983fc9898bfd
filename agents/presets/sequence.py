"""Presets of words."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from .common import fast_for_all
from .hypergrid import FAST as FAST_HYPERGRID

EXPLORATION: dict[str, Any] = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.02}
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    **EXPLORATION,
    "n_envs": 64,
    "learning_rate": LinearSchedule(4e-3, 4e-5, 1.0),
    "batch_size": 256,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": fast_for_all(FAST, EXPLORATION, q_learning_rate=4e-3),
}
