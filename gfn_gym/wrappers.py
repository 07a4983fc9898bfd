"""The same environment in the shapes that other libraries expect."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import DTypeLike


class DictObservation(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Puts observation and action mask side by side into a Dict.

    RLlib's action-masking module reads ``{"observations", "action_mask"}`` in float32, which are
    the defaults; Tianshou reads ``DictObservation(env, "obs", "mask", bool)``.

    Args:
        env: an environment whose info has "action_mask".
        observation_key: the key of the observation.
        mask_key: the key of the mask.
        mask_dtype: the dtype of the mask.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        observation_key: str = "observations",
        mask_key: str = "action_mask",
        mask_dtype: DTypeLike = np.float32,
    ):
        RecordConstructorArgs.__init__(
            self,
            observation_key=observation_key,
            mask_key=mask_key,
            mask_dtype=mask_dtype,
        )
        gymnasium.Wrapper.__init__(self, env)
        if not hasattr(env.unwrapped, "action_masks"):
            raise ValueError(f"{env} has no action masks: DictObservation wraps a GFN environment")
        if observation_key == mask_key:
            raise ValueError(f"observation_key and mask_key are both {mask_key!r}")
        self.observation_key, self.mask_key = observation_key, mask_key
        self.mask_dtype = np.dtype(mask_dtype)
        self.observation_space = spaces.Dict(
            {observation_key: env.observation_space, mask_key: self._mask_space()}
        )

    def _mask_space(self) -> spaces.Space[Any]:
        assert isinstance(self.env.action_space, spaces.Discrete)
        n = int(self.env.action_space.n)
        if self.mask_dtype.kind == "f":
            return spaces.Box(0.0, 1.0, shape=(n,), dtype=self.mask_dtype.type)
        return spaces.Box(0, 1, shape=(n,), dtype=self.mask_dtype.type)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._join(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._join(observation, info), reward, terminated, truncated, info

    def _join(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        mask = info["action_mask"].astype(self.mask_dtype)
        return {self.observation_key: observation, self.mask_key: mask}
