"""Settings by domain, preset and algorithm, and the few lines that look them up.

``SoftDQN("auto", env, preset="paper")`` takes what was registered for the environment's DAG
(:func:`gfn_gym.register`): {preset: {algorithm's name: settings}}. Settings are the constructor's
arguments by name, and besides

- ``policy``: what ``"auto"`` means here, instead of the domain's policy;
- ``architecture``: settings of that policy's architecture, left out for any other.

Explicit arguments win (``policy_kwargs`` key by key); what is not named keeps the constructor's
default. Ours lie in this package, a file per domain.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from gfn_gym.dag import DAG
from gfn_gym.registration import domain_of

from ..architectures import Architecture, architecture_of
from ..vec_env import as_vec_env


def with_presets(init: Callable[..., None]) -> Callable[..., None]:
    """Let an algorithm's constructor take ``preset=``; explicit arguments win over it."""

    @functools.wraps(init)
    def with_preset(
        self: Any, policy: Any, env: Any, *args: Any, preset: str | None = None, **given: Any
    ) -> None:
        outermost = getattr(type(self).__init__, "__wrapped__", None) is init
        if preset is not None and outermost:  # else a subclass has applied it already
            env = gymnasium.make(env) if isinstance(env, str) else env
            dag = as_vec_env(env, 1).dag
            settings = preset_values(type(self), dag, preset)
            if isinstance(env, (VecEnv, VectorEnv)):
                settings.pop("n_envs", None)  # the environment's size wins over the preset's
            policy, given = _merged(settings, policy, dag, given)
        init(self, policy, env, *args, preset=preset, **given)

    return with_preset


def _merged(
    settings: dict[str, Any], policy: Any, dag: DAG, given: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The policy and the arguments of a preset's settings under those that were given."""
    settings = dict(settings)
    of_preset = settings.pop("policy", None) or policy_of(dag)
    architecture = settings.pop("architecture", {})
    policy = of_preset if policy == "auto" else policy
    kwargs = dict(settings.pop("policy_kwargs", {}))
    if architecture and architecture_of(policy) is architecture_of(of_preset):
        kwargs |= architecture
    kwargs |= given.get("policy_kwargs") or {}
    return policy, {**settings, **given, "policy_kwargs": kwargs or None}


def policy_of(dag: DAG) -> str | type[Architecture]:
    """Return what ``"auto"`` means for a DAG: its domain's policy, else "MlpPolicy"."""
    domain = domain_of(dag)
    policy = None if domain is None else domain.policy_for(dag)
    return "MlpPolicy" if policy is None else policy


def preset_values(algorithm: type, dag: DAG, preset: str) -> dict[str, Any]:
    """Return the settings of a preset for an algorithm on a DAG.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    domain = domain_of(dag)
    presets = None if domain is None else domain.presets_for(dag)
    if not presets:
        raise ValueError(
            f"preset={preset!r}: {type(dag).__name__} was registered without presets; pass the "
            "settings as arguments, or gfn_gym.register(…, presets=…)"
        )
    if preset not in presets:
        raise ValueError(f"preset={preset!r} is not one of {sorted(presets)} for {dag!r}")
    by_algorithm = presets[preset]
    name = next((c.__name__ for c in algorithm.__mro__ if c.__name__ in by_algorithm), None)
    if name is None:
        raise ValueError(
            f"preset={preset!r} for {dag!r} has no settings for {algorithm.__name__}, only for "
            f"{sorted(by_algorithm)}"
        )
    return dict(by_algorithm[name])
