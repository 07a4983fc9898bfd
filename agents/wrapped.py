"""Wrappers around a GFN environment: which change nothing, and what the others change."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import gymnasium
from gymnasium.wrappers import (
    FlattenObservation,
    NormalizeReward,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    TimeLimit,
)
from stable_baselines3.common.monitor import Monitor

from gfn_gym.dag import DAG
from gfn_gym.env import GFNEnv

TRANSPARENT = (PassiveEnvChecker, OrderEnforcing, Monitor, RecordEpisodeStatistics)
"""Wrappers that change neither observation nor action nor reward: they are seen through."""


def unwrap(env: gymnasium.Env[Any, Any]) -> GFNEnv:
    if not isinstance(env.unwrapped, GFNEnv):
        raise TypeError(
            f"{env} is not a GFN environment: this agent needs action masks and the reward of "
            "Theorem 1 (arXiv:2310.12934); define a gfn_gym.DAG and register it"
        )
    while isinstance(env, gymnasium.Wrapper):
        what = what_it_changes(env)
        if what is not None:
            refuse(env, what)
        if isinstance(env, Monitor) and env.results_writer is not None:
            warnings.warn(
                "training runs on a native batch, not on this environment: Monitor's file will "
                "not be written; use the model's logger",
                stacklevel=4,
            )
        env = env.env
    assert isinstance(env, GFNEnv)
    return env


def what_it_changes(wrapper: gymnasium.Wrapper[Any, Any, Any, Any]) -> str | None:
    """Return what a wrapper of a GFN environment changes, as the rest of a sentence, or None."""
    if isinstance(wrapper, TRANSPARENT):
        return None
    space, inner = wrapper.observation_space, wrapper.env.observation_space
    if isinstance(wrapper, FlattenObservation) and space == inner:
        return None
    if isinstance(wrapper, TimeLimit):
        return _what_a_limit_changes(wrapper)
    if isinstance(wrapper, gymnasium.ObservationWrapper) or space != inner:
        return f"changes the observations ({inner} becomes {space})"
    if isinstance(wrapper, (gymnasium.RewardWrapper, NormalizeReward)):
        return "changes the rewards, with which V(s0) would no longer be log Z"
    if isinstance(wrapper, gymnasium.ActionWrapper):
        return "changes the actions, which would no longer be those of the mask"
    return "may change observation, action or reward"


def _what_a_limit_changes(wrapper: TimeLimit[Any, Any]) -> str | None:
    limit: int = wrapper._max_episode_steps
    dag: DAG = wrapper.unwrapped.dag  # type: ignore[attr-defined]
    longest = dag.max_trajectory_length()
    if longest is None:
        return (
            f"may cut episodes off after {limit} steps ({type(dag).__name__} does not say by "
            "max_trajectory_length how long they are)"
        )
    if limit < longest:
        return f"cuts episodes off after {limit} steps, and the longest has {longest}"
    return None


def refuse(wrapper: Any, what: str) -> NoReturn:
    raise TypeError(
        f"the wrapper {type(wrapper).__name__} {what}, and training on the native batch would "
        "bypass it: remove it, or write it into the DAG"
    )
