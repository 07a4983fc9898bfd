"""Log-probabilities that users' functions return, checked and normalised."""

from __future__ import annotations

from typing import Any

import numpy as np

from gfn_gym.dag import Floats, Mask, States

TOLERANCE = 1e-4
"""How far from one a row of probabilities may sum: float32 networks are not exact."""


def normalised(log_probs: Any, mask: Mask, states: States, source: str) -> Floats:
    """Return log-probabilities as float64, −inf where the mask is False, each row summing to one.

    Args:
        log_probs: what was returned for the states.
        mask: bool (n, n_actions), with something legal in each row.
        states: (n, d).
        source: who returned it, for the message.

    Raises:
        ValueError: another shape, NaN, mass on an illegal action, or a row that does not sum to
            one; the message names the first such state.
    """
    values = np.asarray(log_probs, dtype=np.float64)
    if values.shape != mask.shape:
        raise ValueError(
            f"{source} returned shape {values.shape} for states of shape {states.shape}; "
            f"it must return log-probabilities, shape {mask.shape}"
        )
    with np.errstate(over="ignore"):
        probs = np.exp(values)
    # A masked logit of −1e8, as sb3-contrib writes it, has no mass either: exp of it is 0.
    astray = (probs > 0) & ~mask
    total = probs.sum(axis=1)
    good = (np.abs(total - 1) <= TOLERANCE) & ~astray.any(axis=1)  # NaN is not good either
    if not good.all():
        row = int(np.argmin(good))
        if np.isnan(values[row]).any():
            problem = "NaN"
        elif astray[row].any():
            action = int(np.argmax(astray[row]))
            problem = f"probability {probs[row, action]:.4g} for the illegal action {action}"
        else:
            problem = f"log-probabilities whose exponentials sum to {total[row]:.6g}, not 1,"
        raise ValueError(f"{source} returned {problem} in state {states[row].tolist()}")
    return np.where(mask, values, -np.inf) - np.log(total)[:, None]
