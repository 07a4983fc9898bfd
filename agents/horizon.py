"""What learn() is asked for: totals that can be reached, and updates on the way."""

from __future__ import annotations

import warnings
from typing import Any

from gfn_gym.arguments import flag, whole

from .training.frequency import parse_frequency


def check_learn(log_interval: Any, reset_num_timesteps: Any, progress_bar: Any) -> None:
    """Raise an error that names a bad argument of learn(); the totals are :func:`check_totals`'."""
    if log_interval is not None:
        whole("log_interval", log_interval, least=0)
    flag("reset_num_timesteps", reset_num_timesteps)
    flag("progress_bar", progress_bar)


def check_totals(timesteps: Any, trajectories: Any) -> None:
    """Raise an error that names a total which is given and is not an integer of at least 1."""
    for name, total in (("total_timesteps", timesteps), ("total_trajectories", trajectories)):
        if total is not None:
            whole(name, total, least=1)


def warn_of_no_update(model: Any) -> None:
    """Warn, with the numbers, where no update will come before the total is reached.

    Where learning starts after steps but the total is in trajectories, that is known where the DAG
    says how long a trajectory can be.
    """
    if model.gradient_steps == 0:
        warnings.warn(
            "gradient_steps=0: trajectories will be collected, but nothing is learnt from them",
            stacklevel=4,
        )
        return
    trajectories = model._total_trajectories
    total, unit = (
        (model._total_timesteps, "step") if trajectories is None else (trajectories, "episode")
    )
    first, starts_in = parse_frequency(model.learning_starts, "learning_starts", least=0)
    most = total  # an episode has at least one step
    if starts_in == "step" and unit == "episode":
        longest = model.dag.max_trajectory_length()
        if longest is None:
            return
        most = (total + model.n_envs) * longest
    if first > most:
        what = "steps" if unit == "step" else "trajectories"
        warnings.warn(
            f"learning_starts={model.learning_starts!r} lies beyond the total of {total} {what}: "
            "the model will not be updated once; train longer, or let learning start earlier",
            stacklevel=4,
        )
