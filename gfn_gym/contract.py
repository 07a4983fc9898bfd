"""The cheap part of the DAG contract, seen to wherever a DAG is used; :mod:`.checks` has the rest.

Shapes, dtypes, shared buffers and fickle rewards: what would otherwise give the wrong rows their
rewards, in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import ArgumentTypeError
from gfn_gym.dag import DAG, Floats, Mask, States, check_log_reward

REWARD_TOLERANCE = 1e-4
"""By how much log R of one state may differ, absolutely and relatively: float32 networks do."""


class DAGError(AssertionError, ValueError):
    """A DAG breaks the contract; the message says which part, and where."""


def require_dag(dag: Any, others: str = "") -> None:
    """Raise a TypeError that says what to pass unless ``dag`` is a DAG object.

    Args:
        dag: what was given.
        others: what else may be passed, for the message, as in " or its Graph".
    """
    if isinstance(dag, DAG):
        return
    hint = ""
    if isinstance(dag, type) and issubclass(dag, DAG):
        hint = f"; that is its class, write {dag.__name__}(…)"
    elif isinstance(dag, str):
        hint = "; gymnasium.make makes an environment of an id"
    elif isinstance(getattr(getattr(dag, "unwrapped", dag), "dag", None), DAG):
        hint = "; pass its .unwrapped.dag" if hasattr(dag, "unwrapped") else "; pass its .dag"
    raise ArgumentTypeError(f"dag={dag!r} must be a gfn_gym.DAG object{others}{hint}")


def check_members(dag: DAG) -> None:
    """Check what a DAG's members return for s0: shapes, dtypes, and that arrays are fresh.

    Raises:
        TypeError: it is not a DAG.
        DAGError: the contract is broken; the message names the member.
    """
    require_dag(dag)
    start = np.asarray(dag.initial_states(3))
    if start.ndim != 2 or len(start) != 3 or not np.issubdtype(start.dtype, np.integer):
        raise DAGError(
            f"initial_states(3) must be integers (3, d), not {start.dtype} {start.shape}"
        )
    if not (start == start[0]).all():
        raise DAGError("initial_states must return the same state n times")
    if start[0] not in dag.state_space:
        raise DAGError(f"s0 = {start[0].tolist()} is not in state_space = {dag.state_space}")
    check_mask("action_mask", dag.action_mask(start), (3, dag.n_actions))
    check_mask("backward_mask", dag.backward_mask(start), (3, dag.n_backward_actions))
    if dag.backward_mask(start).any():
        raise DAGError("backward_mask must be False everywhere in s0, which has no parent")
    if not dag.action_mask(start).any():
        raise DAGError("action_mask allows nothing in s0")
    if dag.stop_action is not None and not 0 <= dag.stop_action < dag.n_actions:
        raise DAGError(f"stop_action={dag.stop_action} is not an action below {dag.n_actions}")
    _require_fresh("initial_states", dag.initial_states, (3,))
    _require_fresh("action_mask", dag.action_mask, (start,))
    _require_fresh("backward_mask", dag.backward_mask, (start,))
    actions = np.argmax(dag.action_mask(start), axis=1)
    given = start.copy()
    check_step(given, *dag.step(given, actions))
    if not (given == start).all():
        raise DAGError(f"step must not change the states it is given: {start[0].tolist()} became "
                       f"{given[0].tolist()}")  # fmt: skip
    _require_fresh("step", lambda *a: dag.step(*a)[0], (start.copy(), actions))
    _require_fresh("step", lambda *a: dag.step(*a)[1], (start.copy(), actions))


def _require_fresh(
    name: str, method: Callable[..., NDArray[Any]], arguments: tuple[Any, ...]
) -> None:
    """Raise a DAGError where two calls, each with copies of its own, return shared memory."""
    copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2)]
    first, second = (method(*own) for own in copies)
    if np.may_share_memory(first, second):
        raise DAGError(
            f"{name} must return a fresh array at every call: two calls returned the same memory, "
            "so the second overwrites what the first gave"
        )


def check_mask(name: str, mask: Any, shape: tuple[int, ...]) -> None:
    """Raise a DAGError unless a mask is a bool array of that shape."""
    if not isinstance(mask, np.ndarray) or mask.shape != shape or mask.dtype != bool:
        raise DAGError(f"{name} must be bool {shape}, not {_described(mask)}")


def check_step(states: States, next_states: Any, done: Any) -> None:
    """Raise a DAGError unless a step from states (n, d) returned next states, and bool (n,)."""
    integers = isinstance(next_states, np.ndarray) and np.issubdtype(next_states.dtype, np.integer)
    if not integers or next_states.shape != states.shape:
        raise DAGError(
            f"step must return next states as integers {states.shape}, not "
            f"{_described(next_states)}"
        )
    if not isinstance(done, np.ndarray) or done.dtype != bool or done.shape != states.shape[:1]:
        raise DAGError(
            f"step must return which actions ended the construction as bool {states.shape[:1]}, "
            f"not {_described(done)}"
        )


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return repr(value)


def check_reward_again(dag: DAG, states: States, before: Floats) -> None:
    """Ask for log R of some states (n, d) once more, by themselves, and compare with ``before``.

    Raises:
        DAGError: it is another value, so that R is not a function of the object, or the states
            were written into.
    """
    given = states.copy()
    again = check_log_reward(dag.log_reward(given), states, dag)
    if not (given == states).all():
        bad = int(np.argmin((given == states).all(axis=1)))
        raise DAGError(f"log_reward must not change the states it is given: it wrote into "
                       f"{states[bad].tolist()}")  # fmt: skip
    same = np.isclose(again, before, rtol=REWARD_TOLERANCE, atol=REWARD_TOLERANCE)
    if not same.all():
        bad = int(np.argmin(same))
        raise DAGError(
            f"log_reward of {dag!r} gave {before[bad]:.9g} and then {again[bad]:.9g} for state "
            f"{states[bad].tolist()}; it must be a function of the state alone, not of chance, "
            "the batch or the call"
        )


class FirstSteps:
    """Looks closely at the first steps of a DAG's constructions, and then no more.

    Args:
        dag: whose.
        steps: how many steps have shapes and dtypes checked.
        endings: in how many steps with an end log R is asked for again, of up to 4 objects.
    """

    def __init__(self, dag: DAG, steps: int = 16, endings: int = 4):
        self.dag, self._steps, self._endings = dag, steps, endings

    @property
    def over(self) -> bool:
        """Whether there is nothing left to look at."""
        return self._steps <= 0 and self._endings <= 0

    def look(self, states: States, next_states: States, done: Mask, log_reward: Floats) -> None:
        """Check a step from states (n, d).

        Raises:
            DAGError: it breaks the contract.
        """
        if self._steps > 0:
            self._steps -= 1
            check_step(states, next_states, done)
            shape = len(states), self.dag.n_actions
            check_mask("action_mask", self.dag.action_mask(next_states), shape)
        if self._endings > 0 and done.any():
            self._endings -= 1
            rows = np.flatnonzero(done)[:4]
            check_reward_again(self.dag, next_states[rows], log_reward[rows])
