"""The contract that every domain keeps: a DAG as batched, stateless array code.

States are rows of an integer array, shape (n, d). A row is canonical: equal objects give equal
rows. Everything else in the project (environments, agents, evaluation) is written against this
class, so a new domain is one subclass.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gfn_gym.edges import Edges, adapt_old_methods, takes_edges

States = NDArray[np.integer[Any]]
"""(n, d) integers, one canonical state a row."""
Actions = NDArray[np.integer[Any]]
"""(n,) integers, forward or backward actions."""
Mask = NDArray[np.bool_]
"""(n, n_actions) or (n, n_backward_actions); True = legal."""
Floats = NDArray[np.float64]
Self = TypeVar("Self", bound="DAG")


@dataclass(frozen=True)
class Observation:
    """A form in which states are shown.

    Attributes:
        space: the Gymnasium space of one observation.
        observe: states (n, d) → observations (n, …), in a fresh array.
    """

    space: spaces.Space[Any]
    observe: Callable[[States], NDArray[Any]]


class DAG(ABC):
    """A directed acyclic graph of states with a reward on its finished objects.

    A subclass sets the attributes below in its ``__init__`` and writes the abstract methods;
    the others have defaults that hold wherever one action leads from a state to each of its
    children. :func:`gfn_gym.check_dag` verifies the whole contract.

    Attributes:
        state_space: the Gymnasium space of one state; a ``MultiDiscrete`` unless the subclass
            writes ``observation_space``, ``observe`` and ``states_of`` itself.
        n_actions: number of forward actions, the stop action included.
        n_backward_actions: number of backward actions.
        stop_action: the action that ends the construction and leaves the object as it is, or
            None where the last construction step completes the object and ends the episode.
        similar_distance: objects less than this apart (:meth:`distances`) are alike; by default
            only equal ones are.
        render_modes: what :meth:`render` can draw.
    """

    state_space: spaces.Space[Any]
    n_actions: int
    n_backward_actions: int
    stop_action: int | None
    similar_distance: float = 1.0
    render_modes: ClassVar[Sequence[str]] = ("ansi",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        adapt_old_methods(cls)

    def __new__(cls: type[Self], *args: Any, **kwargs: Any) -> Self:
        if cls.__init__ is object.__init__ and (args or kwargs):
            raise TypeError(f"{cls.__name__}() takes no arguments")
        dag = super().__new__(cls)
        # By object's own __setattr__: the DAG may be a frozen dataclass.
        object.__setattr__(dag, "_arguments", _bound(cls, args, kwargs))
        return dag

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.state_space})"

    def arguments(self) -> dict[str, Any] | None:
        """Return what the DAG was made with, so that ``type(dag)(**dag.arguments())`` is its equal.

        Saved models hold these. A subclass whose argument is the path of a file returns what was
        read from it instead; one that is changed after it was made returns None, as do those whose
        arguments cannot be given by name: such a DAG is saved as it is, as code.
        """
        arguments: dict[str, Any] | None = getattr(self, "_arguments", None)
        return None if arguments is None else dict(arguments)

    def structure(self) -> tuple[Any, ...]:
        """Return what two DAGs must share for a model of one to fit the other.

        The class, the states and the actions; a domain adds what their numbers stand for, where
        its arguments decide that: numbers, strings, arrays, and lists of these, which saved models
        hold.
        """
        return type(self), self.state_space, self.n_actions, self.stop_action

    # ---- construction -----------------------------------------------------------------------

    @abstractmethod
    def initial_states(self, n: int) -> States:
        """Return ``n`` copies of the initial state s0, shape (n, d)."""

    @abstractmethod
    def action_mask(self, states: States) -> Mask:
        """Return the legal actions, bool (n, n_actions). A completed object has none."""

    @abstractmethod
    def step(self, states: States, actions: Actions) -> tuple[States, Mask]:
        """Apply legal actions: next states (n, d), and bool (n,): this action ended it."""

    # ---- deconstruction ---------------------------------------------------------------------

    @abstractmethod
    def backward_mask(self, states: States) -> Mask:
        """Return the legal backward actions, bool (n, n_backward_actions); s0 has none."""

    @abstractmethod
    def backward_step(self, states: States, backward_actions: Actions) -> States:
        """Apply legal backward actions: the parents, (n, d)."""

    @abstractmethod
    def backward_action(self, states: States, actions: Actions) -> Actions:
        """Return a backward action that undoes each edge (state, action), (n,).

        The actions are construction steps, never ``stop_action``.
        """

    @abstractmethod
    def forward_action(self, states: States, backward_actions: Actions) -> Actions:
        """Return a forward action that leads from each parent back to the state, (n,)."""

    @takes_edges
    def n_parallel(self, edges: Edges) -> NDArray[np.integer[Any]]:
        """Return how many actions of each state give the same next state, int (n,)."""
        return np.ones(len(edges), dtype=np.int64)

    def parallel_candidates(self, states: States, actions: Actions) -> Mask:
        """Return legal actions, bool (n, n_actions), among them all that lead where (n,) lead.

        By default all legal ones. Where they are many, a domain that rules most of them out at a
        glance makes exact likelihoods cheap.
        """
        return self.action_mask(states)

    @takes_edges
    def backward_group(self, edges: Edges) -> Mask:
        """Return all backward actions of the next state that lead to this state.

        Shape (n, n_backward_actions). By default the one of :meth:`backward_action`.
        """
        undo = self.backward_action(edges.states, edges.actions)
        return np.asarray(undo[:, None] == np.arange(self.n_backward_actions))

    @property
    def one_backward_action_per_parent(self) -> bool:
        """Whether different backward actions lead to different parents; so by default."""
        return type(self).backward_group is DAG.backward_group

    @property
    def one_action_per_edge(self) -> bool:
        """Whether no two edges are parallel and no two backward actions lead to one parent."""
        return type(self).n_parallel is DAG.n_parallel and self.one_backward_action_per_parent

    @takes_edges
    def log_uniform_backward(self, edges: Edges) -> Floats:
        """Return log P_B of edges under the uniform backward policy, float64 (n,).

        log(backward actions that lead to this state) − log(legal ones) − log(parallel actions).
        A domain that knows this without looking for them says so here.
        """
        group = self.backward_group(edges).sum(axis=1)
        legal = self.backward_mask(edges.next_states).sum(axis=1)
        return np.asarray(np.log(group / (legal * self.n_parallel(edges))))

    # ---- reward -----------------------------------------------------------------------------

    @abstractmethod
    def log_reward(self, states: States) -> Floats:
        """Return log R of finished objects, float64 (n,)."""

    def potential(self, states: States) -> Floats:
        """Return what any state, finished or not, seems to be worth, float64 (n,), finite.

        Optional. With ``potential="dag"`` an environment pays its differences along the way, see
        :class:`gfn_gym.mdp.MDP`: log R of an unfinished object is a good one where it has one.
        """
        raise NotImplementedError(f"{self!r} has no potential")

    def distances(self, states: States, others: States) -> NDArray[Any]:
        """Return how far finished objects (n, d) are from others (m, d), (n, m).

        By default the number of coordinates that differ. A pool of objects keeps them apart by it.
        """
        return np.asarray((states[:, None] != others[None]).sum(axis=2))

    @property
    def has_potential(self) -> bool:
        """Whether the subclass has written :meth:`potential`."""
        return type(self).potential is not DAG.potential

    def log_partition(self) -> float | None:
        """Return log Z = log Σ_x R(x) where a closed form is known, else None."""
        return None

    def n_states(self) -> int | None:
        """Return how many states there are, s0 and unfinished ones included; None: not known.

        By it a DAG is refused that is too large to enumerate, before a state of it is made. Where
        only a bound is known, it must be one from below, or DAGs are refused that would do.
        """
        return None

    def default_invalid_reward(self) -> float:
        """Return what an illegal action earns that ends the episode, unless told otherwise.

        It must lie below every log R, or illegal actions are rewarded.
        """
        return -100.0

    def max_trajectory_length(self) -> int | None:
        """Return how many actions a trajectory has at most, the stop included; None: unknown.

        An upper bound will do: only time limits are compared with it.
        """
        return None

    # ---- what other libraries see -----------------------------------------------------------

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """The float32 Box of the one-hot state: the one form that every RL library takes."""
        width = int(self._nvec().sum())
        return spaces.Box(0.0, 1.0, shape=(width,), dtype=np.float32)

    def observe(self, states: States) -> NDArray[np.float32]:
        """Return the one-hot observation of states: (n, d) → float32 (n, sum of sizes)."""
        sizes = tuple(self._nvec().tolist())
        observations = np.zeros((len(states), sum(sizes)), dtype=np.float32)
        hot = states + _one_hot_offsets(sizes, len(states))
        observations.reshape(-1)[hot.ravel(order="K")] = 1.0
        return observations

    def states_of(self, observations: NDArray[Any]) -> States:
        """Return the states of one-hot observations: (n, sum of sizes) → (n, d); exact."""
        nvec = self._nvec()
        ends = np.cumsum(nvec)
        columns = [
            np.argmax(observations[:, end - size : end], axis=1)
            for size, end in zip(nvec, ends, strict=True)
        ]
        return np.stack(columns, axis=1).astype(self.state_space.dtype)

    def other_observations(self) -> Mapping[str, Observation]:
        """Return further forms of observations, by the names that ``observation=`` takes.

        They may lose information, so nothing turns them back into states: other libraries and
        evaluation can use them, our agents refuse them.
        """
        return {}

    def _nvec(self) -> NDArray[np.integer[Any]]:
        if not isinstance(self.state_space, spaces.MultiDiscrete):
            raise TypeError(
                f"{type(self).__name__}.state_space is {self.state_space}, not a MultiDiscrete: "
                "write observation_space, observe and states_of for it"
            )
        if self.state_space.start.any():
            raise TypeError(
                f"{type(self).__name__}.state_space is {self.state_space}: it must start at 0"
            )
        return self.state_space.nvec

    # ---- drawing ----------------------------------------------------------------------------

    def render(self, trajectory: States, mode: str) -> Any:
        """Draw a trajectory, states (t, d) from s0 on.

        For "ansi" that is a string, for "rgb_array" uint8 (h, w, 3).

        The default writes the states one below the other; a domain draws something better.
        """
        if mode != "ansi":
            raise ValueError(f"render mode {mode!r} is not one of {list(self.render_modes)}")
        return "\n".join(str(state.tolist()) for state in trajectory)


def _bound(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """A constructor's arguments by name; None where they have none."""
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:  # __init__ itself says what is wrong with them
        return None
    parameters = list(signature.parameters.values())[1:]  # without self
    arguments: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in bound.arguments:
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            return None
        value = bound.arguments[parameter.name]
        arguments |= value if parameter.kind is parameter.VAR_KEYWORD else {parameter.name: value}
    return arguments


@lru_cache(maxsize=2)
def _one_hot_offsets(sizes: tuple[int, ...], n: int) -> NDArray[np.int64]:
    """Where, in n flattened rows of one-hot, each coordinate's block begins: (n, d)."""
    starts = np.cumsum((0, *sizes[:-1]))
    offsets = np.add.outer(starts, np.arange(n) * sum(sizes)).T
    offsets.flags.writeable = False  # shared by all calls
    return offsets


def check_log_reward(log_reward: Any, states: States, source: object) -> Floats:
    """Return log R as float64 (n,) after seeing that it is one finite number a state.

    Args:
        log_reward: what was returned for ``states``.
        states: (n, d).
        source: who returned it, for the message.

    Raises:
        ValueError: another shape, NaN or an infinity; the message names the first such state.
    """
    hint = " (where R = 0, choose a small floor)"
    return check_numbers(log_reward, states, source, "log R", hint)


def check_numbers(
    numbers: Any, states: States, source: object, what: str, hint: str = ""
) -> Floats:
    """Return numbers as float64 (n,) after seeing that there is one finite one a state.

    Args:
        numbers: what was returned for ``states``.
        states: (n, d).
        source: who returned it, for the message.
        what: the numbers are.
        hint: how to make them finite.

    Raises:
        ValueError: another shape, NaN or an infinity; the message names the first such state.
    """
    try:
        array = np.asarray(numbers)
        if array.dtype.kind == "c":
            raise TypeError("complex")
        values = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source} returned {numbers!r}, which are not real numbers") from error
    if values.shape != (len(states),):
        raise ValueError(
            f"{source} returned shape {values.shape} for states of shape {states.shape}; "
            f"it must return {what}, shape ({len(states)},)"
        )
    finite = np.isfinite(values)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(
            f"{source} returned {values[bad]} at state {states[bad].tolist()}; {what} must be "
            f"finite{hint}"
        )
    return values
