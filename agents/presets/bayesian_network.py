"""Presets of Bayesian networks."""

from __future__ import annotations

from typing import Any

from gfn_gym.dag import DAG

from .common import MUNCHAUSEN, frugal
from .hypergrid import FAST as FAST_HYPERGRID
from .hypergrid import PRESETS as HYPERGRID


def policy(dag: DAG) -> str:
    """What "auto" means: where all local scores are known, the policy that reads them."""
    scores = getattr(dag, "local_scores", None)
    return "ScoredEdgesPolicy" if scores is not None and scores.complete else "MlpPolicy"


# The hypergrid's, and what finds modes that are far apart, as with few data they are: exploration
# and a reward that is annealed. docs/bayesian_networks.md has what each of them brings.
FAST: dict[str, Any] = {
    **{name: value for name, value in FAST_HYPERGRID.items() if name != "policy"},
    "dueling": False,  # ScoredEdgesPolicy has a value for all edges
    "exploration_initial_eps": 0.1,
    "exploration_final_eps": 0.02,
    "exploration_fraction": 0.7,
    "reward_annealing": (0.1, 0.7),
}

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
