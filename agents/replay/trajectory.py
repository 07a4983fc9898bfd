"""A trajectory as a value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gfn_gym.mdp import Transition


class Trajectory(NamedTuple):
    """T edges from s0 to an object, or the first T while it is under way.

    Attributes:
        states: (T, d), compact, what each edge leaves.
        actions: int32 (T,).
        log_backward: float32 (T,), log P_B by the environment's backward policy; 0 for a stop.
        shaping: float32 (T,), what a potential adds; 0 without one.
        log_reward: log R of the object.
        final: (d,), the object; empty while under way.
    """

    states: NDArray[Any]
    actions: NDArray[np.int32]
    log_backward: NDArray[np.float32]
    shaping: NDArray[np.float32]
    log_reward: float
    final: NDArray[Any]


def transitions_of(
    trajectory: Trajectory, steps: int | None = None
) -> tuple[NDArray[Any], NDArray[np.int32], Transition]:
    """Return the first ``steps`` edges of a trajectory, or all, as a buffer takes them.

    Returns:
        states (k, d), actions (k,), and what they led to.
    """
    n = len(trajectory.actions)
    nexts = np.concatenate([trajectory.states[1:], trajectory.final[None]])
    done = np.arange(n) == n - 1
    part = slice(n if steps is None else steps)
    led_to = Transition(
        nexts[part],
        done[part],
        trajectory.log_backward[part].astype(np.float64),
        np.where(done, trajectory.log_reward, 0.0)[part],
        trajectory.shaping[part].astype(np.float64),
    )
    return trajectory.states[part], trajectory.actions[part], led_to
