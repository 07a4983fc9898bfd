"""Theorem 1 of arXiv:2310.12934: a GFlowNet's DAG as an entropy-regularised decision process.

A construction edge earns log P_B(edge); ending by the stop action earns log R(x); ending by the
last construction step earns both. γ = 1, and nothing is ever truncated. At entropy coefficient 1
the optimal policy is the GFlowNet's forward policy, Q* = log F(edge) and V*(s0) = log Z.

A potential Φ moves rewards along a trajectory and leaves their sum, and so the optimal policy, as
they are (Ng, Harada and Russell 1999; as forward-looking flows arXiv:2302.01687): a step also
earns Φ(s') − Φ(s), and an ending pays Φ(s) back. With Φ(s0) = 0, V*(s0) = log Z as before, while
V*(s) and Q*(s, ·) shift by −Φ(s).

P_B is a distribution over the *edges* into a state, so it sums to one over all (s, a) that lead
there, parallel actions included; only then does P(x) ∝ R(x) hold exactly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.contract import require_dag
from gfn_gym.dag import DAG, Actions, Floats, Mask, States, check_log_reward, check_numbers
from gfn_gym.edges import Edges
from gfn_gym.log_probs import normalised

BackwardPolicy = Callable[[States], Floats]
"""States (n, d) → log-probabilities of the backward actions, (n, n_backward_actions)."""
Potential = Callable[[States], Floats]
"""States (n, d), finished or not → finite numbers, float64 (n,)."""


@dataclass(slots=True)
class Transition:
    """What n edges lead to. ``rewards`` is ``log_backward + log_reward + shaping``.

    Attributes:
        next_states: (n, d).
        done: bool (n,), this action ended the construction.
        log_backward: float64 (n,), log P_B of construction edges, 0 for the stop action.
        log_reward: float64 (n,), log R(x) where done, else 0.
        shaping: float64 (n,), what the potential adds; 0 over a trajectory, and without one.
    """

    next_states: States
    done: Mask
    log_backward: Floats
    log_reward: Floats
    shaping: Floats = None  # type: ignore[assignment]  # zeros where it is left out

    def __post_init__(self) -> None:
        if self.shaping is None:
            self.shaping = np.zeros(len(self.done))

    @property
    def rewards(self) -> Floats:
        """The reward of Theorem 1, float64 (n,)."""
        return self.log_backward + self.log_reward + self.shaping


class MDP:
    """The decision process of a DAG under a fixed backward policy.

    Args:
        dag: the graph and its reward.
        backward_policy: log-probabilities of backward actions; None is uniform over the legal
            ones, as in the paper.
        potential: Φ, which gives a reward at every step and leaves the optimum as it is: a
            function of states, or "dag" for the DAG's own; None: none, the reward of the paper.

    Raises:
        TypeError, ValueError: the potential is something else, or the DAG has none, or it returns
            other than one finite number a state.
    """

    def __init__(
        self,
        dag: DAG,
        backward_policy: BackwardPolicy | None = None,
        potential: str | Potential | None = None,
    ):
        require_dag(dag)
        if backward_policy is not None and not callable(backward_policy):
            raise ArgumentTypeError(
                f"backward_policy={backward_policy!r} must be a function from states (n, d) to "
                "log-probabilities (n, n_backward_actions), or None"
            )
        self.dag = dag
        self.backward_policy = backward_policy
        self._backward_check = _BackwardCheck()
        self.potential = _checked_potential(dag, potential)
        self._initial_potential = 0.0
        if self.is_shaped:
            self._initial_potential = float(self.potential_of(dag.initial_states(1))[0])
        # −log of every number of parents that can be; s0's none counts as one.
        self._minus_log = -np.log(np.maximum(np.arange(dag.n_backward_actions + 1), 1))
        # One action per child is the common case; then an edge is one backward action, and
        # neither groups nor parallel edges need be looked at.
        self._simple = dag.one_action_per_edge

    def step(self, states: States, actions: Actions) -> Transition:
        """Take legal actions (n,) from states (n, d)."""
        next_states, done = self.dag.step(states, actions)
        log_reward = np.zeros(len(states))
        if done.any():
            log_reward[done] = log_reward_of(self.dag, next_states[done])
        log_backward = self.log_backward(states, actions, next_states)
        shaping = self.shaping(states, next_states, done)
        return Transition(next_states, done, log_backward, log_reward, shaping)

    # ---- the potential ----------------------------------------------------------------------

    @property
    def is_shaped(self) -> bool:
        """Whether there is a potential."""
        return self.potential is not None

    def potential_of(self, states: States) -> Floats:
        """Return Φ(s) − Φ(s0), float64 (n,); 0 without a potential.

        Raises:
            ValueError: it is not one finite number a state; the message names the state.
        """
        if self.potential is None or not len(states):
            return np.zeros(len(states))
        if isinstance(self.potential, str):
            values = check_numbers(self.dag.potential(states), states, self.dag, "the potential")
        else:
            values = check_numbers(
                self.potential(states), states, "potential=", "one number a state"
            )
        return values - self._initial_potential

    def shaping(self, states: States, next_states: States, done: Mask) -> Floats:
        """Return what the potential adds to the rewards of edges, float64 (n,).

        Φ(s') − Φ(s) where the construction goes on, −Φ(s) where it ends.
        """
        if self.potential is None:
            return np.zeros(len(states))
        added = -self.potential_of(states)
        added[~done] += self.potential_of(next_states[~done])
        return added

    # ---- the backward policy ----------------------------------------------------------------

    def log_backward(
        self, states: States, actions: Actions, next_states: States | None = None
    ) -> Floats:
        """Return log P_B of edges (state, action), float64 (n,); 0 for the stop action.

        log P_B(edge) = logsumexp of log p_B over the backward actions of the next state that
        lead to this state − log(number of actions that lead from this state to the next).
        """
        stop = self.dag.stop_action
        if stop is None:
            return self._log_backward_of_steps(states, actions, next_states)
        moves = actions != stop
        if moves.all():
            return self._log_backward_of_steps(states, actions, next_states)
        if self._simple and self.backward_policy is None and next_states is not None:
            # Counting parents needs no action, so the stops can be blanked afterwards.
            return np.where(moves, self._log_uniform(next_states), 0.0)
        result = np.zeros(len(states))
        if moves.any():
            kept = None if next_states is None else next_states[moves]
            result[moves] = self._log_backward_of_steps(states[moves], actions[moves], kept)
        return result

    def _log_backward_of_steps(
        self, states: States, actions: Actions, next_states: States | None
    ) -> Floats:
        if next_states is None:
            next_states, _ = self.dag.step(states, actions)
        if self.backward_policy is None:
            if self._simple:
                return self._log_uniform(next_states)
            return self.dag.log_uniform_backward(Edges(states, actions, next_states))
        edges = Edges(states, actions, next_states)
        log_p = self.backward_log_probs(next_states)
        group = self.dag.backward_group(edges)  # (n, n_backward_actions), as log_p
        log_parallel = np.log(self.dag.n_parallel(edges))
        return np.logaddexp.reduce(np.where(group, log_p, -np.inf), axis=1) - log_parallel

    def backward_log_probs(self, states: States) -> Floats:
        """Return log p_B over the backward actions, float64 (n, n_backward_actions).

        Illegal ones are −inf; s0, which has no parent, gets a row of −inf.

        Raises:
            ValueError: the backward policy returned no log-probabilities of this shape; of the
                first 10,000 states all are looked at, later a sample, and NaN is always seen.
        """
        mask = self.dag.backward_mask(states)
        if self.backward_policy is not None:
            log_probs = np.asarray(self.backward_policy(states))
            self._backward_check.check(log_probs, mask, states)
            return np.where(mask, log_probs, -np.inf)
        return np.where(mask, self._log_uniform(states)[:, None], -np.inf)

    def _log_uniform(self, states: States) -> Floats:
        return self._minus_log.take(self.dag.backward_mask(states).sum(axis=1))


def _checked_potential(dag: DAG, potential: Any) -> str | Potential | None:
    if potential is None or callable(potential):
        return potential
    if potential != "dag":
        raise ArgumentTypeError(
            f"potential={potential!r} must be None, 'dag' for the DAG's own, or a function of "
            "states (n, d) that returns float64 (n,)"
        )
    if not dag.has_potential:
        raise ValueError(f"potential='dag', but {dag!r} has none: give a function of states")
    return "dag"


class _BackwardCheck:
    """Checks what a user's backward policy returns: all of the first states, then a few.

    It equals any other, so that decision processes that were made alike stay so.
    """

    FIRST, EVERY, FEW = 10_000, 16, 64  # states; then of every 16th call as many as 64

    def __init__(self) -> None:
        self._states = self._calls = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BackwardCheck)

    def __hash__(self) -> int:
        return hash(_BackwardCheck)

    def check(self, log_probs: NDArray[Any], mask: Mask, states: States) -> None:
        """Raise a ValueError unless these are log-probabilities (n, n_backward_actions)."""
        self._calls += 1
        wrong = log_probs.shape != mask.shape or np.isnan(log_probs).any()
        if not wrong and self._states >= self.FIRST:
            if self._calls % self.EVERY:
                return
            log_probs, mask, states = log_probs[: self.FEW], mask[: self.FEW], states[: self.FEW]
        self._states += len(states)
        has_parent = mask.any(axis=1)
        if log_probs.shape == mask.shape:  # s0 has nothing to choose from
            log_probs, mask, states = log_probs[has_parent], mask[has_parent], states[has_parent]
        normalised(log_probs, mask, states, "the backward policy")


def log_reward_of(dag: DAG, states: States) -> Floats:
    """Return ``dag.log_reward(states)``, float64 (n,), checked to be finite and of that shape."""
    return check_log_reward(dag.log_reward(states), states, dag)


def check_legal(dag: DAG, states: States, actions: Actions, mask: Mask | None = None) -> None:
    """Raise a ValueError that names the first illegal action, its state and the legal ones."""
    legal = legal_actions(dag.action_mask(states) if mask is None else mask, actions)
    if not legal.all():
        row = int(np.flatnonzero(~legal)[0])
        choices = np.flatnonzero(dag.action_mask(states[row : row + 1])[0])
        shown = choices.tolist() if len(choices) <= 20 else f"{choices[:20].tolist()} and more"
        raise ValueError(
            f"action {actions[row]} is illegal in state {states[row].tolist()} of {dag!r}; "
            f"legal are {shown}"
        )


def legal_actions(mask: Mask, actions: Actions) -> Mask:
    """Return bool (n,): the mask (n, n_actions) allows the action (n,)."""
    inside = (actions >= 0) & (actions < mask.shape[1])
    return np.asarray(inside & mask[np.arange(len(mask)), actions * inside])


def sample_legal_actions(mask: Mask, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw uniformly among the legal actions of each row of a mask; int64 (n,).

    Raises:
        ValueError: a row has no legal action.
    """
    n, width = mask.shape
    starts = np.arange(0, (n + 1) * width, width)
    # All legal (row, action), row by row; as bool, in which numpy finds them fastest.
    legal = np.flatnonzero(np.ascontiguousarray(mask, dtype=bool))
    bounds = np.searchsorted(legal, starts)
    count = bounds[1:] - bounds[:-1]
    if not count.all():
        raise ValueError(f"row {int(np.argmin(count))} of the mask has no legal action")
    rank = (generator.random(n) * count).astype(np.int64)
    return legal[bounds[:-1] + rank] - starts[:-1]


def sample_from_log_probs(
    log_probs: NDArray[Any], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw an action a row from log-probabilities (n, n_actions), −inf where illegal; (n,).

    By the Gumbel-max trick: exact, and an action of −inf is never drawn.
    """
    noise = -np.log(generator.standard_exponential(log_probs.shape))
    return np.argmax(log_probs + noise, axis=1)


def __getattr__(name: str) -> Any:
    renamed = {"sample_actions": sample_legal_actions, "sample_from": sample_from_log_probs}
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = renamed[name]
    warnings.warn(
        f"gfn_gym.mdp.{name} is now called {new.__name__}", DeprecationWarning, stacklevel=2
    )
    return new
