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
import inspect
from collections.abc import Callable
from typing import Any

import gymnasium

from gfn_gym.arguments import ArgumentTypeError, mapping
from gfn_gym.dag import DAG
from gfn_gym.registration import domain_of

from ..architectures import Architecture, architecture_of
from ..vec_env import as_vec_env


class _Applied(str):
    """The name of a preset whose settings are among the arguments already."""


def with_presets(init: Callable[..., None]) -> Callable[..., None]:
    """Let an algorithm's constructor take ``preset=``; explicit arguments win over it.

    The first constructor that is given a preset, be it by its caller, by its own default or by a
    subclass, and that takes ``policy`` and ``env`` by name, applies it; those above it then see
    an argument like any other.

    Raises:
        TypeError: the constructor does not pass the preset on, and so ignores its settings.
    """
    signature = inspect.signature(init)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    by_name = {"policy", "env"} <= signature.parameters.keys()
    by_name = by_name and inspect.Parameter.VAR_POSITIONAL not in kinds

    @functools.wraps(init)
    def with_preset(self: Any, *args: Any, **given: Any) -> None:
        arguments = _by_name(signature, self, args, given) if by_name else {}
        preset = arguments.get("preset")
        loading = arguments.get("env") is None  # a model has its settings from the file
        if preset is None or isinstance(preset, _Applied) or loading:
            init(self, *args, **given)
            return
        if not isinstance(preset, str):
            raise ArgumentTypeError(f"preset={preset!r} must be a preset's name, or None")
        policy, env = arguments.pop("policy"), arguments.pop("env")
        env = gymnasium.make(env) if isinstance(env, str) else env
        dag = as_vec_env(env, 1).dag
        policy, arguments = _merged(preset_values(type(self), dag, preset), policy, dag, arguments)
        init(self, policy=policy, env=env, **{**arguments, "preset": _Applied(preset)})
        if self.preset != preset:
            raise TypeError(
                f"preset={preset!r}: {type(self).__name__} does not pass its arguments on to "
                f"{type(self).__mro__[1].__name__}; let its constructor take **kwargs and pass them"
            )

    return with_preset


def _by_name(
    signature: inspect.Signature, self: Any, args: tuple[Any, ...], given: dict[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name, and the default of ``preset``; none if they do not fit."""
    try:
        bound = signature.bind(self, *args, **given)
    except TypeError:  # which the call itself explains best
        return {}
    arguments = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    if "preset" in signature.parameters:
        arguments.setdefault("preset", signature.parameters["preset"].default)
    return {name: arguments[name] for name in list(arguments)[1:]}  # without self


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
    kwargs |= mapping("policy_kwargs", given.get("policy_kwargs") or {})
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
