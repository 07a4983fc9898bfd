"""The same environment in the shapes that other libraries expect."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space
from numpy.typing import DTypeLike, NDArray

from gfn_gym.observation import mask_space


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
        self.mask_dtype = np.dtype(mask_dtype)
        RecordConstructorArgs.__init__(
            self,
            observation_key=observation_key,
            mask_key=mask_key,
            mask_dtype=self.mask_dtype.name,  # a class could not be written as JSON
        )
        gymnasium.Wrapper.__init__(self, env)
        _check(env, observation_key, mask_key)
        self.observation_key, self.mask_key = observation_key, mask_key
        assert isinstance(env.action_space, spaces.Discrete)
        mask = mask_space(int(env.action_space.n), self.mask_dtype)
        self.observation_space = spaces.Dict(
            {observation_key: env.observation_space, mask_key: mask}
        )

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._join(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._join(observation, info), reward, terminated, truncated, info

    def _join(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        mask = info["action_mask"].astype(self.mask_dtype)
        return {self.observation_key: observation, self.mask_key: mask}


class DictVectorObservation(gymnasium.vector.VectorWrapper):
    """:class:`DictObservation` for the native vector environment, in all three autoreset modes.

    Args:
        env: a :class:`gfn_gym.GFNVectorEnv`, wrapped or not.
        observation_key, mask_key, mask_dtype: as in :class:`DictObservation`.

    Raises:
        ValueError: the environment has no action masks, or the two keys are the same.
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv[Any, Any, Any],
        observation_key: str = "observations",
        mask_key: str = "action_mask",
        mask_dtype: DTypeLike = np.float32,
    ):
        super().__init__(env)
        _check(env, observation_key, mask_key)
        self.observation_key, self.mask_key = observation_key, mask_key
        self.mask_dtype = np.dtype(mask_dtype)
        assert isinstance(env.single_action_space, spaces.Discrete)
        mask = mask_space(int(env.single_action_space.n), self.mask_dtype)
        self.single_observation_space = spaces.Dict(
            {observation_key: env.single_observation_space, mask_key: mask}
        )
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(**kwargs)
        return self._join(observations, infos["action_mask"]), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:  # objects (num_envs,), None where no episode ends
            final, masks = infos["final_obs"].copy(), infos["final_info"]["action_mask"]
            for row in np.flatnonzero(infos["_final_obs"]):
                final[row] = self._join(final[row], masks[row])
            infos = {**infos, "final_obs": final}
        joined = self._join(observations, infos["action_mask"])
        return joined, rewards, terminated, truncated, infos

    def _join(self, observations: Any, masks: NDArray[Any]) -> dict[str, Any]:
        return {self.observation_key: observations, self.mask_key: masks.astype(self.mask_dtype)}


def _check(env: Any, observation_key: str, mask_key: str) -> None:
    if not hasattr(env.unwrapped, "action_masks"):
        raise ValueError(f"{env} has no action masks: it must be a GFN environment")
    if observation_key == mask_key:
        raise ValueError(f"observation_key and mask_key are both {mask_key!r}")
