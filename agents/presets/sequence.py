"""Presets of words."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from gfn_gym.envs.sequence.dag import Sequence

from .common import MUNCHAUSEN, fast_for_all, frugal
from .hypergrid import FAST as FAST_HYPERGRID

EXPLORATION: dict[str, Any] = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.02}
FAST: dict[str, Any] = {
    **FAST_HYPERGRID,
    **EXPLORATION,
    "learning_rate": LinearSchedule(4e-3, 4e-5, 1.0),
    "buffer_size": 1_000_000,
    "gradient_steps": 4,
}

# What binds depends on tokens that stand side by side; reading four of them at once halves the
# distance (docs/rna.md). Of a large alphabet fewer, since every window has a row of weights for all
# that it may hold.
NGRAM, MOST_PER_WINDOW = 4, 1_000


def presets(dag: Sequence) -> dict[str, dict[str, dict[str, Any]]]:
    """The presets of words of this length, over an alphabet of this size."""
    values, longest = dag.alphabet.size + 1, min(NGRAM, dag.max_length)
    ngram = max([n for n in range(1, longest + 1) if values**n <= MOST_PER_WINDOW], default=1)
    fast = {
        name: {**settings, "architecture": {**settings.get("architecture", {}), "ngram": ngram}}
        for name, settings in fast_for_all(FAST, EXPLORATION, q_learning_rate=4e-3).items()
    }
    saving = frugal(fast["SoftDQN"], gradient_steps=1)
    return {
        "fast": fast,
        "frugal": {"SoftDQN": saving, "MunchausenDQN": {**saving, **MUNCHAUSEN}},
    }
