"""Trained models as the policies that :mod:`gfn_gym.evaluation` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import SubprocVecEnv

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.contract import require_dag
from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.evaluation import Policy, policy_from_logits
from gfn_gym.mdp import MDP, BackwardPolicy
from gfn_gym.observation import NAMES, Observer, WithMask

from .policy import GFNPolicy
from .vec_env import check_same_structure, made_alike
from .wrapped import what_it_changes


@dataclass(frozen=True)
class GFNPolicyEvaluation:
    """One of our policies: log-probabilities, and V as the log-flow."""

    policy: GFNPolicy

    def __call__(self, states: States) -> Floats:
        return self.policy.log_probs(states)

    def of_actions(self, states: States, actions: Actions) -> Floats:
        """The log-probabilities of the actions (n,) only, (n,)."""
        return self.policy.log_probs_of_actions(states, actions)

    def log_flow(self, states: States) -> Floats:
        """V(s) = log F(s), (n,)."""
        return self.policy.log_flow(states)


class ActorLogits:
    """The logits of an SB3 actor-critic policy (PPO, A2C, sb3-contrib's MaskablePPO).

    Args:
        policy: the model's.
        normalize: what a ``VecNormalize`` around its environment does to observations.
    """

    def __init__(self, policy: Any, normalize: Callable[[Any], Any] | None = None):
        self.policy, self.normalize = policy, normalize

    def __call__(self, observations: Any) -> th.Tensor:
        if self.normalize is not None:
            observations = self.normalize(observations)
        self.policy.set_training_mode(False)
        with th.no_grad():
            tensor, _ = self.policy.obs_to_tensor(observations)
            return self.policy.get_distribution(tensor).distribution.logits


def as_policy(model: BaseAlgorithm, dag: DAG | None = None) -> Policy:
    """Turn a trained SB3 model into a function from states to log-probabilities.

    For networks of other libraries there is :func:`gfn_gym.evaluation.policy_from_logits`.

    Args:
        model: one of our agents, or an actor-critic such as sb3-contrib's MaskablePPO that acts
            in a GFN environment: wrapped, with a :class:`gfn_gym.wrappers.DictObservation`, or in
            subprocesses. Illegal actions are masked, whether or not it knows masks.
        dag: whose states; by default that of the model or of its environment. Needed where the
            model has no environment, or one in other processes.

    Raises:
        TypeError: it is not an SB3 model, its policy has no action probabilities, or a wrapper
            changes observations or actions in a way that only it knows.
        ValueError: the DAG is not known or another one, or the model observes it in no form that
            is known.
    """
    if not isinstance(model, BaseAlgorithm):
        raise ArgumentTypeError(
            f"model={model!r} must be a Stable-Baselines3 model, such as our agents; of anything "
            "else write a function from states (n, d) to log-probabilities (n, n_actions)"
        )
    if dag is not None:
        require_dag(dag)
    if isinstance(model.policy, GFNPolicy):
        if dag is not None:
            check_same_structure(model.policy.dag, dag)
        return GFNPolicyEvaluation(model.policy)
    if not hasattr(model.policy, "get_distribution"):
        raise TypeError(
            f"{type(model).__name__} has no action probabilities to evaluate: say by "
            "gfn_gym.evaluation.policy_from_logits what they are, its Q-values for example"
        )
    _check_wrappers(model)
    dag = dag_of(model) if dag is None else dag
    normalizer = model.get_vec_normalize_env()
    normalize = None if normalizer is None else normalizer.normalize_obs
    return policy_from_logits(
        dag, ActorLogits(model.policy, normalize), observation=observer_of(model, dag).observe
    )


def observer_of(model: BaseAlgorithm, dag: DAG | None = None) -> Observer | WithMask:
    """How a model sees the states of its DAG, or of another.

    Raises:
        ValueError: in none of the forms in which that DAG is observed.
    """
    dag = dag_of(model) if dag is None else dag
    for name in (*NAMES, *dag.other_observations()):
        observer = Observer(dag, name)
        if observer.space == model.observation_space:
            return observer
        for with_mask in _with_masks(observer, model.observation_space):
            if with_mask.space == model.observation_space:
                return with_mask
    raise ValueError(
        f"the model observes {model.observation_space}, which is neither the one-hot observation "
        f"nor the state of {dag!r}, nor any other that it knows, alone or beside the mask in a "
        "DictObservation; gfn_gym.evaluation.policy_from_logits takes a function that makes it"
    )


def _with_masks(observer: Observer, space: spaces.Space[Any]) -> Iterator[WithMask]:
    """The ways in which a Dict of two may be an observation and its mask."""
    if not isinstance(space, spaces.Dict) or len(space.spaces) != 2:
        return
    # Where both look alike the names decide.
    for mask_key in sorted(space.spaces, key=lambda key: "mask" not in key):
        (observation_key,) = set(space.spaces) - {mask_key}
        dtype = space.spaces[mask_key].dtype
        if dtype is not None:
            yield WithMask(observer, observation_key, mask_key, dtype)


def _check_wrappers(model: BaseAlgorithm) -> None:
    """Raise a TypeError where what the model sees or does is known to a wrapper alone."""
    members = getattr(getattr(model.env, "unwrapped", None), "envs", [])
    for env in members[:1]:
        while isinstance(env, gymnasium.Wrapper):
            is_known = not isinstance(env, (gymnasium.ObservationWrapper, gymnasium.ActionWrapper))
            what = None if is_known else what_it_changes(env)
            if what is not None:
                raise TypeError(
                    f"the wrapper {type(env).__name__} {what}, so what the model does in a state "
                    "is not known: evaluate it by gfn_gym.evaluation.policy_from_logits, with a "
                    "function that makes its observations"
                )
            env = env.env


def dag_of(model: BaseAlgorithm) -> DAG:
    """The DAG that a model acts in.

    Raises:
        ValueError: the model has no environment, none with a DAG, or one in other processes.
    """
    if hasattr(model, "mdp"):
        return model.mdp.dag
    return _mdp_of_environment(model, "pass dag=").dag


def backward_policy_of(model: BaseAlgorithm) -> BackwardPolicy | None:
    """P_B as the model's rewards have it: learnt, or its environment's; None is uniform.

    Raises:
        ValueError: as :func:`dag_of`.
    """
    if hasattr(model, "backward_policy"):
        return model.backward_policy
    return _mdp_of_environment(model, "its backward policy is not known").backward_policy


def _mdp_of_environment(model: BaseAlgorithm, consequence: str) -> MDP:
    env = model.env
    if env is None:
        raise ValueError(f"the model has no environment: {consequence}, or call model.set_env")
    if isinstance(env.unwrapped, SubprocVecEnv):  # what a worker cannot pickle would end it
        raise ValueError(f"the model's environments live in other processes: {consequence}")
    try:
        first, *others = env.get_attr("mdp")
    except AttributeError:
        raise ValueError(
            f"the model's environment, {env}, is not a GFN environment: {consequence}"
        ) from None
    for other in others:
        if not made_alike(other, first):
            raise ValueError(
                f"the model's environments are of {first.dag!r} and {other.dag!r}, or their "
                f"backward policies or reward functions differ: {consequence}"
            )
    return first
