"""What evaluation takes for a policy, and the checks on what it returns."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.log_probs import TOLERANCE, normalised
from gfn_gym.mdp import BackwardPolicy


class Policy(Protocol):
    """States (n, d) → log-probabilities of the actions, float (n, n_actions), −inf where illegal.

    It is asked only about states in which something is legal. A policy may also have a method
    ``log_flow(states) -> (n,)``, its estimate of log F (the soft value V); then the error of
    its log Z is evaluated too. And it may have ``of_actions(states, actions) -> (n,)``, the
    log-probabilities of single legal actions, where that is less work than all of them; then
    likelihoods of given trajectories ask for no others.
    """

    def __call__(self, states: States, /) -> NDArray[Any]: ...


def uniform_policy(dag: DAG) -> Policy:
    """Return the policy that chooses uniformly among the legal actions: a baseline."""
    return partial(_uniform, dag)  # unlike a closure, it can be pickled


def _uniform(dag: DAG, states: States) -> Floats:
    mask = dag.action_mask(states)
    log_prob = -np.log(np.maximum(mask.sum(axis=1, keepdims=True), 1))
    return np.where(mask, log_prob, -np.inf)


def log_probs_of(dag: DAG, policy: Policy, states: States, mask: Mask | None = None) -> Floats:
    """Return the policy's log-probabilities, checked and normalised in float64.

    Args:
        dag: the DAG.
        policy: the policy.
        states: (n, d), each with a legal action.
        mask: ``dag.action_mask(states)`` where it is at hand.

    Returns:
        float64 (n, n_actions), exactly −inf where illegal. Float32 networks sum to one only to
        about 1e-6; the rest is divided out here, so that exact distributions sum to one.

    Raises:
        ValueError: another shape, NaN, mass on an illegal action, or a row that does not sum to
            one; the message names the first such state.
    """
    check_policy(policy)
    mask = dag.action_mask(states) if mask is None else mask
    return normalised(policy(states), mask, states, "the policy")


def log_probs_of_actions(dag: DAG, policy: Policy, states: States, actions: Actions) -> Floats:
    """Return the policy's log-probabilities of legal actions (n,), float64 (n,).

    By its ``of_actions`` if it has one, as they are; else by :func:`log_probs_of`.

    Raises:
        ValueError: as :func:`log_probs_of`; or what ``of_actions`` returned is of another shape
            or no log-probability.
    """
    check_policy(policy)
    of_actions = getattr(policy, "of_actions", None)
    if of_actions is None:
        return log_probs_of(dag, policy, states)[np.arange(len(states)), actions]
    values = np.asarray(of_actions(states, actions), dtype=np.float64)
    if values.shape != actions.shape or not (values <= TOLERANCE).all():  # NaN fails too
        raise ValueError(
            f"the policy's of_actions returned {values} for actions of shape {actions.shape}; "
            "it must return one log-probability for each"
        )
    return values


def check_policy(policy: Any) -> None:
    """Raise a TypeError that says what to pass unless a policy can be called."""
    if not callable(policy) or isinstance(policy, type):
        hint = "; for a model pass gfn_gym.agents.as_policy(model)" * hasattr(policy, "predict")
        raise ArgumentTypeError(
            f"policy={policy!r} must be a function from states (n, d) to log-probabilities "
            f"(n, n_actions){hint}"
        )


def checked_backward_policy(dag: DAG, policy: BackwardPolicy | None) -> BackwardPolicy | None:
    """Return the backward policy with the checks of :func:`log_probs_of`; None stays None."""
    if policy is not None and not callable(policy):
        raise ArgumentTypeError(
            f"backward_policy={policy!r} must be a function from states (n, d) to "
            "log-probabilities (n, n_backward_actions), or None"
        )
    return None if policy is None else partial(_checked_backward, dag, policy)


def _checked_backward(dag: DAG, policy: BackwardPolicy, states: States) -> Floats:
    return normalised(policy(states), dag.backward_mask(states), states, "the backward policy")
