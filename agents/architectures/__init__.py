"""What reads a state, by the name that an algorithm's ``policy`` takes.

A new architecture is one file here and one line below; a user's own class needs neither.
"""

from __future__ import annotations

from typing import Any

from gfn_gym.registration import imported

from .base import ActionValues, Architecture, DenseValues
from .block_tree import BlockTree, SmallBlockTree
from .mixture import Mixture
from .mlp import MLP
from .scored_edges import ScoredEdges
from .spins import Spins
from .transformer import Transformer

ARCHITECTURES: dict[str, type[Architecture]] = {
    "MlpPolicy": MLP,
    "TransformerPolicy": Transformer,
    "BlockTreePolicy": BlockTree,
    "SmallBlockTreePolicy": SmallBlockTree,
    "MixturePolicy": Mixture,
    "ScoredEdgesPolicy": ScoredEdges,
    "SpinsPolicy": Spins,
}
"""Our architectures, by the name that ``policy=`` takes."""

__all__ = [
    "ARCHITECTURES",
    "MLP",
    "ActionValues",
    "Architecture",
    "BlockTree",
    "DenseValues",
    "Mixture",
    "ScoredEdges",
    "SmallBlockTree",
    "Spins",
    "Transformer",
    "architecture_of",
]


def architecture_of(policy: Any) -> type[Architecture]:
    """Return the architecture that ``policy`` names.

    Args:
        policy: one of :data:`ARCHITECTURES`, "module:Class", or a subclass of
            :class:`Architecture`.

    Raises:
        ValueError: an unknown name.
        TypeError: a class that is not an architecture.
    """
    if isinstance(policy, str):
        if ":" in policy:
            policy = imported(policy)
        elif policy in ARCHITECTURES:
            return ARCHITECTURES[policy]
        else:
            raise ValueError(
                f"policy={policy!r} is not one of {['auto', *ARCHITECTURES]}; or give a subclass "
                "of gfn_gym.agents.Architecture, or 'module:Class' of one"
            )
    if not (isinstance(policy, type) and issubclass(policy, Architecture)):
        raise TypeError(
            f"policy={policy!r} is not a subclass of gfn_gym.agents.Architecture: give one, or "
            f"one of {['auto', *ARCHITECTURES]}"
        )
    return policy
