"""A reward that is annealed: learn from R^e with an exponent e that rises to 1."""

from __future__ import annotations

from typing import Any

from gfn_gym.arguments import number


def check_annealing(annealing: Any, planning_simulations: int = 0) -> None:
    """Raise an error that names a bad ``reward_annealing``."""
    if annealing is None:
        return
    if not isinstance(annealing, (tuple, list)) or len(annealing) != 2:
        raise ValueError(
            f"reward_annealing={annealing!r} must be None, or the first exponent and the share of "
            "the training after which it is 1, (0.25, 0.5)"
        )
    number("reward_annealing[0]", annealing[0], above=0, most=1)
    # At 1 the last round would still learn from another reward than R.
    number("reward_annealing[1]", annealing[1], above=0, below=1)
    if planning_simulations:
        raise ValueError(
            f"reward_annealing={annealing!r} does not go with planning_simulations="
            f"{planning_simulations}: a tree search asks the environment for whole rewards"
        )


def exponent_at(annealing: tuple[float, float] | None, progress: float) -> float:
    """Return e after a share ``progress`` of the training: linear, from the first to 1."""
    if annealing is None:
        return 1.0
    first, share = annealing
    return first + (1.0 - first) * min(1.0, progress / share)
