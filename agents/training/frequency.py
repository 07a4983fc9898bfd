"""How often something is done, in environment steps or in trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


def parse_frequency(value: Any, name: str, least: int = 1) -> tuple[int, str]:
    """Return (n, "step") or (n, "episode") of n, (n, "step") or (n, "episode").

    Raises:
        ValueError: it is none of these, or n is below ``least``; the message has the ``name``.
    """
    pair = value if isinstance(value, (tuple, list)) else (value, "step")
    good = len(pair) == 2 and pair[1] in ("step", "episode") and not isinstance(pair[0], bool)
    if not good or not isinstance(pair[0], (int, np.integer)) or pair[0] < least:
        raise ValueError(
            f"{name}={value!r} must be a number of steps, at least {least}, or (number, 'episode')"
        )
    return int(pair[0]), pair[1]


class Frequency:
    """Says when another ``n`` steps or trajectories have passed.

    Args:
        value: n environment steps (``num_timesteps``), or (n, "step"), or (n, "episode").
        name: of the argument, for messages.
    """

    def __init__(self, value: int | tuple[int, str], name: str):
        self.amount, self.unit = parse_frequency(value, name)
        self.name, self.next = name, self.amount

    def count(self, model: BaseAlgorithm) -> int:
        """How many steps or trajectories the model has made."""
        if self.unit == "step":
            return model.num_timesteps
        if isinstance(model, OnPolicyAlgorithm):
            raise ValueError(
                f"{type(model).__name__} does not count episodes: give {self.name} in steps"
            )
        return model._episode_num

    def due(self, model: BaseAlgorithm) -> bool:
        """Whether the next multiple has been reached since the last time it was due."""
        count = self.count(model)
        if count < self.next:
            if count < self.next - self.amount:  # a new learn() has started counting anew
                self.next = (count // self.amount + 1) * self.amount
            return False
        self.next = (count // self.amount + 1) * self.amount
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next = state["next"]
