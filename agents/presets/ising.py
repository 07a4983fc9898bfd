"""Presets of Ising models."""

from __future__ import annotations

from typing import Any

from .common import MUNCHAUSEN, frugal
from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import PRESETS as HYPERGRID

# The hypergrid's, with a network of this domain's own; with potential="dag". What came out:
# docs/ising.md.
FAST: dict[str, Any] = {**FAST_HYPERGRID, "policy": "SpinsPolicy"}

FRUGAL = frugal(FAST)

# "paper": that of arXiv:2310.12934 for its hypergrid; it has no experiment of this kind.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": HYPERGRID["paper"],
    "fast": {
        "SoftDQN": FAST,
        "MunchausenDQN": {**FAST, **MUNCHAUSEN},
    },
    "frugal": {
        "SoftDQN": FRUGAL,
        "MunchausenDQN": {**FRUGAL, **MUNCHAUSEN},
    },
}
