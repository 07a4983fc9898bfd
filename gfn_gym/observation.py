"""The forms in which an environment shows its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import DTypeLike, NDArray

from gfn_gym.dag import DAG, Observation, States

NAMES = ("onehot", "state")


@dataclass(frozen=True)
class Observer:
    """Shows states as observations, and reads them back exactly where that is possible.

    Attributes:
        dag: whose states.
        name: "onehot" for the DAG's own observation, "state" for the compact state itself, or one
            of the DAG's ``other_observations``.
    """

    dag: DAG
    name: str = "onehot"
    _other: Observation | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        others = self.dag.other_observations()
        if self.name not in (*NAMES, *others):
            raise ValueError(
                f"observation={self.name!r} is unknown; choose from {[*NAMES, *others]}"
            )
        object.__setattr__(self, "_other", others.get(self.name))

    @property
    def space(self) -> spaces.Space[Any]:
        """The observation space of one state."""
        if self._other is not None:
            return self._other.space
        return self.dag.state_space if self.name == "state" else self.dag.observation_space

    def observe(self, states: States) -> NDArray[Any]:
        """States (n, d) → a fresh array of observations, (n, …)."""
        if self._other is not None:
            return self._other.observe(states)
        if self.name == "state":
            return np.array(states, dtype=self.dag.state_space.dtype, order="C")
        return self.dag.observe(states)

    def states_of(self, observations: NDArray[Any]) -> States:
        """Observations (n, …) → states (n, d).

        Raises:
            NotImplementedError: these observations don't tell the state.
        """
        if self._other is not None:
            raise NotImplementedError(f"observation={self.name!r} does not tell the state")
        if self.name == "state":
            return np.asarray(observations).astype(self.dag.state_space.dtype)
        return self.dag.states_of(observations)


@dataclass(frozen=True)
class WithMask:
    """Shows states and their action masks side by side, as ``DictObservation`` does.

    Attributes:
        observer: how it shows the states.
        observation_key, mask_key, mask_dtype: as in :class:`gfn_gym.wrappers.DictObservation`.
    """

    observer: Observer
    observation_key: str = "observations"
    mask_key: str = "action_mask"
    mask_dtype: DTypeLike = np.float32

    @property
    def space(self) -> spaces.Dict:
        """The observation space of one state."""
        mask = mask_space(self.observer.dag.n_actions, self.mask_dtype)
        return spaces.Dict({self.observation_key: self.observer.space, self.mask_key: mask})

    @property
    def dag(self) -> DAG:
        """Whose states."""
        return self.observer.dag

    def observe(self, states: States) -> dict[str, NDArray[Any]]:
        """States (n, d), each with a legal action → observations (n, …), masks (n, n_actions)."""
        mask = self.observer.dag.action_mask(states).astype(self.mask_dtype)
        return {self.observation_key: self.observer.observe(states), self.mask_key: mask}

    def states_of(self, observations: dict[str, NDArray[Any]]) -> States:
        """As :meth:`Observer.states_of`, of the observation without its mask."""
        return self.observer.states_of(observations[self.observation_key])


def mask_space(n_actions: int, dtype: DTypeLike) -> spaces.Box:
    """Return the space of one action mask, zeros and ones."""
    kind: Any = np.dtype(dtype).type
    return spaces.Box(0, 1, shape=(n_actions,), dtype=kind)
