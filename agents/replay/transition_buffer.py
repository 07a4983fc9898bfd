"""Replay of transitions: compact states, masks derived when sampled, priorities if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import DTypeLike, NDArray
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer

from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.mdp import Transition

from ..backward import BackwardEdges, backward_edges, log_backward
from ..networks import BackwardNetwork
from .lanes import Lanes
from .sum_tree import SumTree
from .trajectory import Trajectory


@dataclass(slots=True)
class TransitionBatch:
    """n transitions as tensors; masks are True where legal.

    Attributes:
        states, next_states: int64 (n, d).
        masks, next_masks: bool (n, n_actions).
        actions: int64 (n,).
        log_backward, log_reward, shaping: float32 (n,), the parts of the reward, kept apart; the
            first by the P_B that holds now, the last what a potential adds.
        dones: bool (n,).
        weights: float32 (n,), importance weights, largest 1; all 1 without them.
        indices: int64 array (n,), where the transitions lie in the buffer.
    """

    states: th.Tensor
    masks: th.Tensor
    actions: th.Tensor
    log_backward: th.Tensor
    log_reward: th.Tensor
    shaping: th.Tensor
    next_states: th.Tensor
    next_masks: th.Tensor
    dones: th.Tensor
    weights: th.Tensor
    indices: NDArray[np.int64]

    @property
    def rewards(self) -> th.Tensor:
        """The reward of Theorem 1, float32 (n,)."""
        return self.log_backward + self.log_reward + self.shaping


class TransitionBuffer(ReplayBuffer):
    """A ring of transitions, drawn uniformly or in proportion to priorities.

    Prioritised replay as in arXiv:1511.05952, proportional variant: transition i is drawn with
    probability p_i^α / Σ p^α, from strata of equal mass; importance weights are
    (N·P(i))^−β / max. Its memory does not grow with the number of actions.

    Args:
        dag: whose states are stored, in the smallest integer type that holds them.
        buffer_size: number of transitions, rounded down to a multiple of ``n_envs``.
        n_envs: how many transitions are added at a time.
        device: where batches go.
        alpha: exponent of the priorities; 0 is uniform replay.
        generator: draws the samples.

    A new transition has the largest priority so far, until it is given its own; those that were
    added since :meth:`take_new` was last called are what it returns.

    Attributes:
        backward_net: where P_B is learnt, the network that batches derive log P_B from when they
            are made; None: P_B is the environment's, and log P_B is as it was stored.
        reward_exponent: what log R and what a potential adds are multiplied by in batches.
    """

    backward_net: BackwardNetwork | None = None
    reward_exponent = 1.0
    identity = ("observation_space", "action_space", "n_envs", "alpha")

    def __init__(
        self,
        dag: DAG,
        buffer_size: int,
        n_envs: int,
        device: th.device | str,
        alpha: float,
        generator: np.random.Generator,
    ):
        if buffer_size < n_envs:
            raise ValueError(f"buffer_size={buffer_size} must be at least n_envs={n_envs}")
        # ReplayBuffer would allocate observations and masks; only its interface is wanted.
        BaseBuffer.__init__(
            self,
            buffer_size // n_envs,
            dag.state_space,
            spaces.Discrete(dag.n_actions),
            device=device,
            n_envs=n_envs,
        )
        self.handle_timeout_termination = False
        self.optimize_memory_usage = False
        self.dag, self.alpha, self.generator = dag, alpha, generator
        capacity = self.buffer_size * n_envs
        dimension = dag.initial_states(1).shape[1]
        dtype = compact_dtype(dag.state_space)
        self._arrays: dict[str, NDArray[Any]] = {
            "states": np.zeros((capacity, dimension), dtype),
            "next_states": np.zeros((capacity, dimension), dtype),
            "actions": np.zeros(capacity, np.int32),
            "log_backward": np.zeros(capacity, np.float32),
            "log_reward": np.zeros(capacity, np.float32),
            "shaping": np.zeros(capacity, np.float32),
            "dones": np.zeros(capacity, bool),
        }
        self.tree = SumTree(capacity) if alpha > 0 else None
        self.max_priority = 1.0
        self._new: list[NDArray[np.int64]] = []
        self._waiting: list[tuple[Any, ...]] = []  # of what does not fill a row of the ring yet
        self._lanes = Lanes(n_envs)

    def reset(self) -> None:
        """Drop everything."""
        super().reset()
        self.max_priority, self._new, self._waiting = 1.0, [], []
        self._lanes = Lanes(self.n_envs)
        if self.tree is not None:
            self.tree.set(np.arange(len(self.tree.leaves)), np.zeros(len(self.tree.leaves)))

    def size(self) -> int:
        """Number of stored transitions."""
        return (self.buffer_size if self.full else self.pos) * self.n_envs

    def add(  # type: ignore[override]
        self, states: States, actions: Actions, transition: Transition
    ) -> None:
        """Store one transition of each environment, over the oldest.

        Args:
            states: (n_envs, d).
            actions: (n_envs,).
            transition: what they led to, before any reset.
        """
        rows = slice(self.pos * self.n_envs, (self.pos + 1) * self.n_envs)
        arrays = self._arrays
        arrays["states"][rows] = states
        arrays["next_states"][rows] = transition.next_states
        arrays["actions"][rows] = actions
        arrays["log_backward"][rows] = transition.log_backward
        arrays["log_reward"][rows] = transition.log_reward
        arrays["shaping"][rows] = transition.shaping
        arrays["dones"][rows] = transition.done
        indices = np.arange(rows.start, rows.stop)
        self._new = [*self._new, indices][-self.buffer_size :]  # older ones are gone
        if self.tree is not None:
            self.tree.set(indices, np.full(self.n_envs, self.max_priority**self.alpha))
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def extend(self, states: States, actions: Actions, transition: Transition) -> None:
        """Store any number of transitions (k,) that no environment has just made.

        They are written when there are ``n_envs`` of them; :meth:`take_new` leaves them out.
        """
        added = (states, transition.next_states, actions, transition.log_backward)
        rows = (*added, transition.log_reward, transition.shaping, transition.done)
        self._waiting.extend(zip(*rows, strict=True))
        while len(self._waiting) >= self.n_envs:
            columns = zip(*self._waiting[: self.n_envs], strict=True)
            froms, nexts, acts, *numbers, done = (np.array(column) for column in columns)
            del self._waiting[: self.n_envs]
            new = self._new
            self.add(froms, acts, Transition(nexts, done, *numbers))
            self._new = new

    def add_trajectories(self, trajectories: Sequence[Trajectory]) -> None:
        """Store finished trajectories that others have built, as if environments here had.

        They are laid into ``n_envs`` lanes, one after another, and written as far as all lanes are
        filled: so each transition's successor lies where an environment would have put it.
        """
        self._lanes.put(trajectories)
        for row in self._lanes.rows():
            self.add(*row)

    def begin_with(self, rows: Any, starts: Sequence[tuple[Trajectory, int]]) -> None:
        """Environments at ``rows`` go on with the first steps of trajectories: nothing to do here.

        Transitions stand for themselves; those steps are replayed with the object that is built.
        """

    def following(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the next transitions of the same episodes lie, (k,).

        −1 where there is none: at an episode's end, or where it is not stored yet. So a segment
        neither crosses two episodes nor the place at which the ring is written.
        """
        arrays, newest = self._arrays, (self.pos - 1) % self.buffer_size
        nexts = (indices + self.n_envs) % (self.buffer_size * self.n_envs)
        # An environment that was reset from outside has an episode without an end.
        unbroken = (arrays["states"][nexts] == arrays["next_states"][indices]).all(axis=1)
        goes_on = ~arrays["dones"][indices] & (indices // self.n_envs != newest) & unbroken
        return np.where(goes_on, nexts, -1)

    def take_new(self) -> NDArray[np.int64]:
        """Return where the transitions lie that were added since the last call, (k,)."""
        new, self._new = self._new, []
        return np.concatenate(new) if new else np.zeros(0, dtype=np.int64)

    def update_priorities(self, indices: NDArray[np.int64], priorities: Floats) -> None:
        """Set the priorities (k,) of stored transitions (k,); no effect on uniform replay."""
        if self.tree is not None:
            self.max_priority = max(self.max_priority, float(priorities.max()))
            # Never 0, so that every transition can be drawn again.
            self.tree.set(indices, (priorities + 1e-6) ** self.alpha)

    def sample(self, batch_size: int, env: Any = None, beta: float = 0.0) -> TransitionBatch:  # type: ignore[override]
        """Draw ``batch_size`` transitions, with importance weights of exponent ``beta``.

        Raises:
            ValueError: the buffer is empty.
        """
        if self.size() == 0:
            raise ValueError("the replay buffer is empty: collect transitions before sampling")
        weights = np.ones(batch_size, dtype=np.float32)
        if self.tree is None:
            indices = self.generator.integers(self.size(), size=batch_size)
        else:
            strata = np.arange(batch_size) + self.generator.random(batch_size)
            indices = self.tree.find(strata * (self.tree.total / batch_size))
            if beta > 0:
                inverse = self.tree.leaves[indices] ** -beta
                weights = (inverse / inverse.max()).astype(np.float32)
        return self.batch_at(indices, weights)

    def batch_at(
        self, indices: NDArray[np.int64], weights: NDArray[np.float32] | None = None
    ) -> TransitionBatch:
        """Return the transitions that lie at ``indices`` (n,); weights are 1 unless given."""
        if weights is None:
            weights = np.ones(len(indices), dtype=np.float32)
        arrays = {name: array[indices] for name, array in self._arrays.items()}
        dtype = self.dag.state_space.dtype
        states = arrays["states"].astype(dtype)
        next_states = arrays["next_states"].astype(dtype)
        exponent = np.float32(self.reward_exponent)
        return TransitionBatch(
            states=self._tensor(states.astype(np.int64)),
            masks=self._tensor(self.dag.action_mask(states)),
            actions=self._tensor(arrays["actions"].astype(np.int64)),
            log_backward=self._log_backward_at(indices),
            log_reward=self._tensor(arrays["log_reward"] * exponent),
            shaping=self._tensor(arrays["shaping"] * exponent),
            next_states=self._tensor(next_states.astype(np.int64)),
            next_masks=self._tensor(self.dag.action_mask(next_states)),
            dones=self._tensor(arrays["dones"]),
            weights=self._tensor(weights),
            indices=indices,
        )

    @th.no_grad()
    def _log_backward_at(self, indices: NDArray[np.int64]) -> th.Tensor:
        """log P_B of the transitions at ``indices`` (n,), never an earlier network's; (n,)."""
        if self.backward_net is None:
            return self._tensor(self._arrays["log_backward"][indices])
        return log_backward(self.backward_net, self.edges_at(indices))

    def edges_at(self, indices: NDArray[np.int64]) -> BackwardEdges:
        """Return what a learnt P_B needs of the transitions that lie at ``indices`` (n,)."""
        dtype = self.dag.state_space.dtype
        states, actions, next_states = (
            self._arrays[name][indices] for name in ("states", "actions", "next_states")
        )
        return backward_edges(
            self.dag, states.astype(dtype), actions, next_states.astype(dtype), self.device
        )

    def _tensor(self, array: NDArray[Any]) -> th.Tensor:
        return th.from_numpy(array).to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        # The DAG may hold a user's lambda; the model saves both, and gives them back to the buffer.
        left = ("dag", "backward_net")
        return {name: value for name, value in vars(self).items() if name not in left}

    def attach(self, other: TransitionBuffer) -> None:
        """Take from another buffer what is not saved: its DAG, its device, its network of P_B."""
        self.dag, self.device = other.dag, other.device
        self.backward_net = other.backward_net
        vars(self).setdefault("_lanes", Lanes(self.n_envs))  # earlier versions had none

    # ---- saving -------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What :meth:`empty` needs to make one of the same size."""
        return {"buffer_size": self.buffer_size * self.n_envs}

    def empty(self, buffer_size: int) -> TransitionBuffer:
        """Return an empty one of another size; all else is as here."""
        generator = np.random.Generator(type(self.generator.bit_generator)(0))
        arguments = self.dag, buffer_size, self.n_envs, self.device, self.alpha
        made = TransitionBuffer(*arguments, generator)
        made.backward_net = self.backward_net
        return made

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the filled part, the priorities and the position."""
        size = self.size()
        return {
            "arrays": {name: array[:size] for name, array in self._arrays.items()},
            "weights": None if self.tree is None else self.tree.leaves[:size],
            "max_priority": self.max_priority,
            "new": np.array(self._new, np.int64).reshape(-1, self.n_envs),
            "waiting": [np.array(column) for column in zip(*self._waiting, strict=True)],
            "lanes": self._lanes.state_dict(),
            "pos": self.pos,
            "full": self.full,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        for name, array in state["arrays"].items():
            self._arrays[name][: len(array)] = array
        if self.tree is not None and len(state["weights"]):
            self.tree.set(np.arange(len(state["weights"])), state["weights"])
        self.max_priority, self._new = state["max_priority"], list(state["new"])
        self._waiting = list(zip(*state["waiting"], strict=True))
        self._lanes.load_state_dict(state.get("lanes", []))  # earlier checkpoints have none
        self.pos, self.full = state["pos"], state["full"]


def compact_dtype(space: spaces.Space[Any]) -> DTypeLike:
    if isinstance(space, spaces.MultiDiscrete):
        return np.min_scalar_type(int(space.nvec.max()) - 1)
    return space.dtype or np.int64
