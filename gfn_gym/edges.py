"""Edges of a DAG as values, and the edges around given ones.

Several actions may lead from a state to the same next state. Each is an edge of its own, and they
are *parallel* to each other.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from gfn_gym.ragged import Indices

if TYPE_CHECKING:
    from gfn_gym.dag import DAG, Actions, States

Method = TypeVar("Method", bound=Callable[..., Any])

ROWS_AT_ONCE = 256  # of a search among all legal actions, of which a row may have thousands


@dataclass(slots=True)
class Edges:
    """n construction edges: states, legal actions there (never the stop), and where they lead.

    Attributes:
        states: (n, d).
        actions: (n,).
        next_states: (n, d).
    """

    states: States
    actions: Actions
    next_states: States

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, rows: Any) -> Edges:
        """The edges at ``rows``: a slice, places or a bool array."""
        return Edges(self.states[rows], self.actions[rows], self.next_states[rows])

    @classmethod
    def of(cls, dag: DAG, states: States, actions: Actions) -> Edges:
        """The edges of a DAG that leave states (n, d) by actions (n,)."""
        return cls(states, actions, dag.step(states, actions)[0])


# ---- the edges around given ones --------------------------------------------------------------


def in_edges(dag: DAG, states: States) -> tuple[Indices, States, Indices]:
    """Return every construction edge into each of some states (n, d), parallel ones one by one.

    Where actions have no parallels this costs a backward step per parent; else those of the
    parents that have some are stepped by all their :meth:`DAG.parallel_candidates`.

    Returns:
        For each edge: the row of the state it leads to, int64 (E,), its parent (E, d), and its
        action, int64 (E,).
    """
    rows, undo = np.nonzero(dag.backward_mask(states))
    if not len(rows):  # s0 alone
        return rows, states[rows], rows
    parents = dag.backward_step(states[rows], undo)
    if not dag.one_backward_action_per_parent:
        # Several backward actions may lead to the same parent: it counts once.
        pairs = np.column_stack([rows, parents])  # (E, 1 + d)
        _, first = np.unique(pairs, axis=0, return_index=True)
        rows, undo, parents = rows[first], undo[first], parents[first]
    actions = np.asarray(dag.forward_action(states[rows], undo), dtype=np.int64)
    which, edges = parallel_edges(dag, Edges(parents, actions, states[rows]))
    return rows[which], edges.states, np.asarray(edges.actions, dtype=np.int64)


def parallel_edges(dag: DAG, edges: Edges) -> tuple[Indices, Edges]:
    """Return all edges that are parallel to given ones (n,), these included.

    Returns:
        For each edge found the row of the given one that it is parallel to, int64 (m,), and the
        edges, m of them. Rows without parallels come first.
    """
    many = np.flatnonzero(dag.n_parallel(edges) > 1)
    if not len(many):
        return np.arange(len(edges)), edges
    single = np.ones(len(edges), dtype=bool)
    single[many] = False
    alone = np.flatnonzero(single)
    rows, actions = _same_child(dag, edges[many])
    which = np.concatenate([alone, many[rows]])
    actions = np.concatenate([edges.actions[alone], actions])
    return which, Edges(edges.states[which], actions, edges.next_states[which])


def _same_child(dag: DAG, edges: Edges) -> tuple[Indices, Indices]:
    """By trying: the rows of the edges, and all actions there that lead to the same next state."""
    found: list[tuple[Indices, Indices]] = []
    for start in range(0, len(edges), ROWS_AT_ONCE):
        part = edges[start : start + ROWS_AT_ONCE]
        rows, actions = np.nonzero(dag.parallel_candidates(part.states, part.actions))
        next_states, _ = dag.step(part.states[rows], actions)
        same = (next_states == part.next_states[rows]).all(axis=1)  # never so of a stop
        found.append((start + rows[same], actions[same]))
    rows, actions = (np.concatenate(column) for column in zip(*found, strict=True))
    return rows, actions


# ---- methods that once took states and actions ------------------------------------------------

HOOKS = ("n_parallel", "backward_group", "log_uniform_backward")


def takes_edges(method: Method) -> Method:
    """Let a method of a DAG that takes :class:`Edges` be called with states and actions as well.

    That is how it was called before, with next states as a third argument of
    ``log_uniform_backward``; a DeprecationWarning says so. A method that was written to take
    states and actions is called with those.
    """
    n = _n_parameters(method)

    @functools.wraps(method)
    def adapted(dag: DAG, *args: Any, **named: Any) -> Any:
        given = args[0] if args else named.get("edges")
        edges = given if isinstance(given, Edges) else _edges_of(dag, method, *args, **named)
        if n < 2:
            return method(dag, edges)
        return method(dag, *(edges.states, edges.actions, edges.next_states)[:n])

    adapted._takes_edges = True  # type: ignore[attr-defined]
    return cast("Method", adapted)


def adapt_old_methods(cls: type) -> None:
    """Wrap the methods of a DAG's class that take, or once took, states and actions."""
    for name in HOOKS:
        method = inspect.getattr_static(cls, name)  # a mixin's that is not a DAG as well
        if not inspect.isfunction(method) or hasattr(method, "_takes_edges"):
            continue
        if _n_parameters(method) > 1:
            warnings.warn(
                f"{cls.__qualname__}.{name}{inspect.signature(method)} should take "
                "(self, edges), gfn_gym.edges.Edges: states, actions and next_states",
                DeprecationWarning,
                stacklevel=4,
            )
        setattr(cls, name, takes_edges(method))


def _n_parameters(method: Callable[..., Any]) -> int:
    """How many parameters a method must be given, by place, besides ``self``."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_place and p.default is p.empty for p in parameters)


def _edges_of(
    dag: DAG,
    method: Callable[..., Any],
    states: States,
    actions: Actions,
    next_states: States | None = None,
) -> Edges:
    """The edges of an old call."""
    warnings.warn(
        f"DAG.{method.__name__} takes Edges(states, actions, next_states), see gfn_gym.edges",
        DeprecationWarning,
        stacklevel=3,
    )
    if next_states is None:
        return Edges.of(dag, states, actions)
    return Edges(states, actions, next_states)
