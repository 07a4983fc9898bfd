"""Anybody's network as the policy that evaluation takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.dag import DAG, Floats, Mask, States
from gfn_gym.evaluation.policy import Policy
from gfn_gym.graph import batches
from gfn_gym.observation import Observer


def policy_from_logits(
    dag: DAG,
    logits_of: Callable[[Any], Any],
    *,
    observation: str | Callable[[States], Any] = "onehot",
    batch_size: int = 4096,
) -> Policy:
    """Turn a function of observations, such as a network of any library, into a policy.

    Illegal actions are masked, and what is left is normalized: a network that was trained
    without masks is evaluated as it would act under them. Q-values at temperature λ are the logits
    Q/λ, log-probabilities are logits already. With torch::

        def logits_of(observations):
            with torch.no_grad():
                return network(torch.as_tensor(observations))

        evaluate_exact(dag, policy_from_logits(dag, logits_of))

    Args:
        dag: whose states.
        logits_of: observations (n, …) → logits (n, n_actions), of any float type: a numpy array,
            a torch tensor on any device, or what ``numpy.asarray`` takes.
        observation: what it is given: the form of the environment that the network was trained
            on ("onehot", "state", or one of the DAG's ``other_observations``), or a function from
            states (n, d) to it, such as ``gfn_gym.observation.WithMask(…).observe``.
        batch_size: the most states that ``logits_of`` is asked about at once.

    Returns:
        A policy, states (n, d) → float64 (n, n_actions), −inf where illegal. It can be pickled if
        ``logits_of`` can.

    Raises:
        TypeError: ``logits_of`` or ``observation`` is of another type.
        ValueError: there is no such form of observation, or ``batch_size`` is below 1. When the
            policy is called: the logits are of another shape, NaN or +inf at a legal action, or
            −inf at all of them; the message names the first such state.
    """
    if not callable(logits_of):
        raise TypeError(
            f"logits_of={logits_of!r} must be a function from observations (n, …) to logits "
            f"(n, {dag.n_actions})"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be at least 1")
    if isinstance(observation, str):
        observation = Observer(dag, observation).observe
    elif not callable(observation):
        raise TypeError(
            f"observation={observation!r} must be the name of a form of observation, or a function "
            "of states (n, d)"
        )
    return _LogitsPolicy(dag, logits_of, observation, batch_size)


class _LogitsPolicy:
    """A class rather than a closure, so that it can be pickled."""

    def __init__(
        self,
        dag: DAG,
        logits_of: Callable[[Any], Any],
        observe: Callable[[States], Any],
        batch_size: int,
    ):
        self.dag, self.logits_of, self.observe = dag, logits_of, observe
        self.batch_size = batch_size

    def __call__(self, states: States) -> Floats:
        result = np.empty((len(states), self.dag.n_actions))
        for part in batches(len(states), self.batch_size):
            result[part] = self._log_probs(states[part])
        return result

    def _log_probs(self, states: States) -> Floats:
        logits = _as_numpy(self.logits_of(self.observe(states)))
        mask = self.dag.action_mask(states)
        _check(logits, mask, states)
        masked = np.where(mask, logits, -np.inf)
        masked -= masked.max(axis=1, keepdims=True)  # exp() of no large number
        return masked - np.log(np.exp(masked).sum(axis=1, keepdims=True))


def _as_numpy(values: Any) -> NDArray[np.float64]:
    """Float64, from numpy or torch, which is not imported: a tensor brings its own methods."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()  # numpy has no bfloat16
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"logits_of returned a {type(values).__name__}, which is not an array of logits: "
            "return only these where the network has other outputs"
        ) from error


def _check(logits: NDArray[np.float64], mask: Mask, states: States) -> None:
    if logits.shape != mask.shape:
        raise ValueError(
            f"logits_of returned shape {logits.shape} for {len(states)} observations; it must "
            f"return logits, shape {mask.shape}"
        )
    bad = (mask & (np.isnan(logits) | (logits == np.inf))).any(axis=1)
    bad |= ~(mask & (logits > -np.inf)).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"logits_of returned {logits[row][mask[row]].tolist()} for the legal actions of state "
            f"{states[row].tolist()}; at least one logit must be finite, and none NaN or +inf"
        )
