"""Trained models as the policies that :mod:`gfn_gym.evaluation` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.contract import require_dag
from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.evaluation import Policy
from gfn_gym.mdp import BackwardPolicy
from gfn_gym.observation import NAMES, Observer

from .policy import GFNPolicy
from .vec_env import as_vec_env, check_same_structure


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


@dataclass(frozen=True)
class ActorEvaluation:
    """An SB3 actor-critic policy (PPO, A2C, sb3-contrib's MaskablePPO) on a GFN environment.

    The action mask is applied to whatever the actor says, so one trained without masks is
    evaluated as it would act under them.
    """

    policy: Any
    observer: Observer

    def __call__(self, states: States) -> Floats:
        observation = self.observer.observe(states)
        self.policy.set_training_mode(False)
        with th.no_grad():
            tensor, _ = self.policy.obs_to_tensor(observation)
            logits = self.policy.get_distribution(tensor).distribution.logits
        mask = self.observer.dag.action_mask(states)
        masked = np.where(mask, logits.double().cpu().numpy(), -np.inf)
        return masked - np.logaddexp.reduce(masked, axis=1, keepdims=True)


def as_policy(model: BaseAlgorithm, dag: DAG | None = None) -> Policy:
    """Turn a trained SB3 model into a function from states to log-probabilities.

    Args:
        model: one of our agents, or an actor-critic such as sb3-contrib's MaskablePPO that was
            trained on a GFN environment.
        dag: whose states; by default that of the model or of its environment.

    Raises:
        TypeError: it is not an SB3 model, or its policy has no action probabilities.
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
    if model.get_vec_normalize_env() is not None:
        raise TypeError(
            "the model was trained on observations that VecNormalize changed, which evaluation "
            "from states does not know: train without it"
        )
    if not hasattr(model.policy, "get_distribution"):
        raise TypeError(
            f"{type(model).__name__} has no action probabilities to evaluate: write a function "
            "from states (n, d) to log-probabilities (n, n_actions) for it"
        )
    return ActorEvaluation(model.policy, observer_of(model, dag))


def observer_of(model: BaseAlgorithm, dag: DAG | None = None) -> Observer:
    """How a model sees the states of its DAG, or of another.

    Raises:
        ValueError: in none of the forms in which that DAG is observed.
    """
    dag = dag_of(model) if dag is None else dag
    for name in (*NAMES, *dag.other_observations()):
        observer = Observer(dag, name)
        if observer.space == model.observation_space:
            return observer
    raise ValueError(
        f"the model observes {model.observation_space}, which is neither the one-hot observation "
        f"nor the state of {dag!r}, nor any other that it knows"
    )


def dag_of(model: BaseAlgorithm) -> DAG:
    """The DAG that a model was trained on.

    Raises:
        ValueError: the model has no environment.
    """
    if hasattr(model, "mdp"):
        return model.mdp.dag
    if model.env is None:
        raise ValueError("the model has no environment: call model.set_env, or pass dag=")
    return as_vec_env(model.env, 1).dag


def backward_policy_of(model: BaseAlgorithm) -> BackwardPolicy | None:
    """P_B as the model's rewards have it: learnt, or its environment's; None is uniform.

    Raises:
        ValueError: the model has no environment.
    """
    if hasattr(model, "backward_policy"):
        return model.backward_policy
    if model.env is None:
        raise ValueError("the model has no environment, so its backward policy is not known")
    return as_vec_env(model.env, 1).mdp.backward_policy
