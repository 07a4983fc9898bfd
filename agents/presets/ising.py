"""Presets of Ising models."""

from __future__ import annotations

from typing import Any

from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import MUNCHAUSEN

# The hypergrid's; with potential="dag" 40,000 trajectories on L = 4, raster, came to 0.031 (seed 0).
FAST: dict[str, Any] = dict(FAST_HYPERGRID)

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
    },
}
