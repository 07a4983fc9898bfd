"""The forms in which an environment shows its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.dag import DAG, States

NAMES = ("onehot", "state")


@dataclass(frozen=True)
class Observer:
    """Shows states as observations, and reads them back, both exactly.

    Attributes:
        dag: whose states.
        name: "onehot" for the DAG's own observation, "state" for the compact state itself.
    """

    dag: DAG
    name: str = "onehot"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"observation={self.name!r} is unknown; choose from {list(NAMES)}")

    @property
    def space(self) -> spaces.Space[Any]:
        """The observation space of one state."""
        return self.dag.state_space if self.name == "state" else self.dag.observation_space

    def observe(self, states: States) -> NDArray[Any]:
        """States (n, d) → a fresh array of observations, (n, …)."""
        if self.name == "state":
            return np.array(states, dtype=self.dag.state_space.dtype, order="C")
        return self.dag.observe(states)

    def states_of(self, observations: NDArray[Any]) -> States:
        """Observations (n, …) → states (n, d)."""
        if self.name == "state":
            return np.asarray(observations).astype(self.dag.state_space.dtype)
        return self.dag.states_of(observations)
