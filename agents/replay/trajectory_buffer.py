"""Complete trajectories, put together from the transitions of several environments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from gfn_gym.dag import DAG, Actions, States
from gfn_gym.mdp import Transition

from ..backward import BackwardEdges, backward_edges
from .trajectory import Trajectory
from .trajectory_ring import TrajectoryRing
from .transition_buffer import compact_dtype


@dataclass(slots=True)
class TrajectoryBatch:
    """m complete trajectories as tensors, their n edges one after another.

    Attributes:
        states: int64 (n, d).
        masks: bool (n, n_actions), True where legal.
        actions: int64 (n,).
        log_backward: float32 (n,), by the environment's backward policy; 0 for a stop.
        shaping: float32 (n,), what a potential adds to the reward; 0 over each trajectory.
        log_reward: float32 (n,), log R on the last edge of each trajectory, else 0.
        dones: bool (n,), the last edges.
        lengths: int64 (m,), edges of each trajectory.
        trajectories: int64 (n,), which trajectory each edge is of.
        backward: what a learnt P_B needs of the edges, where it was asked for.
    """

    states: th.Tensor
    masks: th.Tensor
    actions: th.Tensor
    log_backward: th.Tensor
    shaping: th.Tensor
    log_reward: th.Tensor
    dones: th.Tensor
    lengths: th.Tensor
    trajectories: th.Tensor
    backward: BackwardEdges | None

    @property
    def rewards(self) -> th.Tensor:
        """The reward of Theorem 1 by the environment's backward policy, float32 (n,)."""
        return self.log_backward + self.log_reward + self.shaping

    def padded(self, values: th.Tensor) -> th.Tensor:
        """Values of the edges (n,) trajectory by trajectory, (m, T), 0 after their ends."""
        place = th.arange(int(self.lengths.max()), device=values.device)
        real = place < self.lengths[:, None]
        return values.new_zeros(real.shape).masked_scatter(real, values)


class TrajectoryBuffer:
    """Puts trajectories together; hands out each once, and the latest again if wanted.

    Args:
        dag: whose states are stored, in the smallest integer type that holds them.
        capacity: finished trajectories that are kept to be drawn again; may be 0.
        n_envs: how many environments give a transition at a time.
        device: where batches go.
        generator: draws the samples.

    Attributes:
        new: finished trajectories that :meth:`take_new` has not returned yet, oldest first.
        kept: the latest finished ones, at most ``capacity``, oldest first.
        reward_exponent: what log R and what a potential adds are multiplied by in batches.
    """

    reward_exponent = 1.0

    identity = ("state_space", "n_actions", "n_envs", "capacity")

    def __init__(
        self,
        dag: DAG,
        capacity: int,
        n_envs: int,
        device: th.device | str,
        generator: np.random.Generator,
    ):
        self.dag, self.capacity, self.n_envs = dag, capacity, n_envs
        self.state_space, self.n_actions = dag.state_space, dag.n_actions
        self.device, self.generator = device, generator
        self.reset()

    def reset(self) -> None:
        """Drop everything."""
        self.forget_new()
        d, longest = self._start.shape[1], self.dag.max_trajectory_length()
        self.kept = TrajectoryRing(self.capacity, d, compact_dtype(self.state_space), longest)

    def forget_new(self) -> None:
        """Drop what is under way, and what is finished but not taken yet."""
        self.new: deque[Trajectory] = deque()
        self._start = self.dag.initial_states(self.n_envs)
        self._reached = self._start.copy()  # what the next transitions leave
        d = self._start.shape[1]
        self._lengths = np.zeros(self.n_envs, dtype=np.int64)  # of the trajectories under way
        self._states = np.zeros((self.n_envs, 16, d), compact_dtype(self.state_space))
        self._actions = np.zeros((self.n_envs, 16), np.int32)
        self._log_backward = np.zeros((self.n_envs, 16), np.float32)
        self._shaping = np.zeros((self.n_envs, 16), np.float32)

    # ---- collecting ---------------------------------------------------------------------------

    def add(self, states: States, actions: Actions, transition: Transition) -> None:
        """Store one transition of each environment.

        A trajectory that another one follows before its end, since its environment was reset from
        outside, is dropped; one whose beginning was not seen is left out to its end.

        Args:
            states: (n_envs, d).
            actions: (n_envs,).
            transition: what they led to, before any reset.
        """
        done = transition.done
        goes_on = (states == self._reached).all(axis=1)
        self._lengths[~goes_on] = 0
        whole = goes_on | (states == self._start).all(axis=1)
        self._reached = np.where((whole & ~done)[:, None], transition.next_states, self._start)
        if self._lengths.max() == self._states.shape[1]:
            self._grow()
        place = (np.arange(self.n_envs), self._lengths)
        self._states[place] = states
        self._actions[place] = actions
        self._log_backward[place] = transition.log_backward
        self._shaping[place] = transition.shaping
        self._lengths += whole
        for row in np.flatnonzero(done & whole).tolist():
            final = transition.next_states[row].astype(self._states.dtype)
            trajectory = self._trajectory(row, float(transition.log_reward[row]), final)
            self.new.append(trajectory)
            self.kept.append(trajectory)
            self._lengths[row] = 0

    def add_trajectories(self, trajectories: Sequence[Trajectory]) -> None:
        """Store finished trajectories that others have built."""
        self.new.extend(trajectories)
        self.kept.extend(trajectories)

    def _trajectory(self, row: int, log_reward: float, final: NDArray[Any]) -> Trajectory:
        steps = slice(self._lengths[row])
        return Trajectory(
            self._states[row, steps].copy(),
            self._actions[row, steps].copy(),
            self._log_backward[row, steps].copy(),
            self._shaping[row, steps].copy(),
            log_reward,
            final,
        )

    def _grow(self) -> None:
        """Make room for trajectories twice as long."""
        for name in ("_states", "_actions", "_log_backward", "_shaping"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)], axis=1))

    def begin_with(self, rows: NDArray[np.int64], starts: Sequence[tuple[Trajectory, int]]) -> None:
        """Let the trajectories at ``rows`` (k,) begin with the first steps of given ones."""
        for row, (trajectory, steps) in zip(rows.tolist(), starts, strict=True):
            while self._states.shape[1] < steps:
                self._grow()
            self._states[row, :steps] = trajectory.states[:steps]
            self._actions[row, :steps] = trajectory.actions[:steps]
            self._log_backward[row, :steps] = trajectory.log_backward[:steps]
            self._shaping[row, :steps] = trajectory.shaping[:steps]
            self._lengths[row] = steps
            self._reached[row] = trajectory.states[steps]

    # ---- handing out --------------------------------------------------------------------------

    def take_new(self, limit: int | None = None) -> list[Trajectory]:
        """Return the finished trajectories not returned yet, oldest first; at most ``limit``."""
        n = len(self.new) if limit is None else min(limit, len(self.new))
        return [self.new.popleft() for _ in range(n)]

    def sample(self, n: int) -> list[Trajectory]:
        """Draw ``n`` of the kept trajectories uniformly, with repetition; none if there is none.

        They are views, good until the next :meth:`add`.
        """
        if not len(self.kept):
            return []
        return [self.kept[i] for i in self.generator.integers(len(self.kept), size=n)]

    def batch(
        self, trajectories: Sequence[Trajectory], learnt_backward: bool = False
    ) -> TrajectoryBatch:
        """Return at least one trajectory as tensors; masks are derived here.

        Args:
            trajectories: finished ones.
            learnt_backward: derive what a learnt P_B needs, too.
        """
        states, actions, log_backward, shaping = (
            np.concatenate(arrays) for arrays in list(zip(*trajectories, strict=True))[:4]
        )
        states = states.astype(self.state_space.dtype)
        lengths = np.array([len(trajectory.actions) for trajectory in trajectories])
        ends = lengths.cumsum() - 1
        dones, log_reward = np.zeros(len(states), bool), np.zeros(len(states), np.float32)
        dones[ends], log_reward[ends] = True, [t.log_reward for t in trajectories]
        backward = None
        if learnt_backward:
            next_states = np.roll(states, -1, axis=0)
            next_states[ends] = [trajectory.final for trajectory in trajectories]
            backward = backward_edges(self.dag, states, actions, next_states, self.device)
        exponent = np.float32(self.reward_exponent)
        return TrajectoryBatch(
            states=self._tensor(states.astype(np.int64)),
            masks=self._tensor(self.dag.action_mask(states)),
            actions=self._tensor(actions.astype(np.int64)),
            log_backward=self._tensor(log_backward),
            shaping=self._tensor(shaping * exponent),
            log_reward=self._tensor(log_reward * exponent),
            dones=self._tensor(dones),
            lengths=self._tensor(lengths),
            trajectories=self._tensor(np.repeat(np.arange(len(lengths)), lengths)),
            backward=backward,
        )

    def _tensor(self, array: NDArray[Any]) -> th.Tensor:
        return th.from_numpy(array).to(self.device)

    # ---- saving -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # The DAG may hold a user's lambda; the model saves it, and gives it back to the buffer.
        return {name: value for name, value in vars(self).items() if name != "dag"}

    def attach(self, other: TrajectoryBuffer) -> None:
        """Take from another buffer what is not saved: its DAG and its device."""
        self.dag, self.device = other.dag, other.device

    def settings(self) -> dict[str, Any]:
        """What :meth:`empty` needs to make one of the same size."""
        return {"capacity": self.capacity}

    def empty(self, capacity: int) -> TrajectoryBuffer:
        """Return an empty one of another size; all else is as here."""
        generator = np.random.Generator(type(self.generator.bit_generator)(0))
        return TrajectoryBuffer(self.dag, capacity, self.n_envs, self.device, generator)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: finished trajectories, and those under way."""
        nothing = np.zeros(self._states.shape[2], dtype=self._states.dtype)
        under_way = [self._trajectory(row, 0.0, nothing) for row in range(self.n_envs)]
        parts: dict[str, Iterable[Trajectory]] = {
            "new": self.new,
            "kept": self.kept,
            "under way": under_way,
        }
        return {name: self._packed(part) for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.reset()
        self.new.extend(_unpacked(state["new"]))
        self.kept.extend(_unpacked(state["kept"]))
        under_way = _unpacked(state["under way"])
        while self._states.shape[1] < max(len(part.actions) for part in under_way):
            self._grow()
        for row, part in enumerate(under_way):
            steps = slice(len(part.actions))
            self._states[row, steps] = part.states
            self._actions[row, steps] = part.actions
            self._log_backward[row, steps] = part.log_backward
            self._shaping[row, steps] = part.shaping
            self._lengths[row] = len(part.actions)
            if len(part.actions):
                last = part.states[-1:].astype(self._reached.dtype), part.actions[-1:]
                self._reached[row] = self.dag.step(*last)[0][0]

    def _packed(self, trajectories: Iterable[Trajectory]) -> dict[str, Any]:
        """m trajectories as a handful of arrays, whose n edges lie one after another."""
        parts = list(zip(*trajectories, strict=True)) or [[]] * 6
        states, actions, log_backward, shaping = (
            np.concatenate([array[0, :0], *arrays])
            for array, arrays in zip(
                (self._states, self._actions, self._log_backward, self._shaping),
                parts[:4],
                strict=True,
            )
        )
        final = np.array(parts[5], self._states.dtype).reshape(-1, self._states.shape[2])
        return {
            "lengths": np.array([len(each) for each in parts[1]], np.int64),  # (m,)
            "states": states,  # (n, d)
            "actions": actions,  # (n,)
            "log_backward": log_backward,  # (n,)
            "shaping": shaping,  # (n,)
            "log_reward": np.array(parts[4], np.float64),  # (m,)
            "final": final,  # (m, d)
        }


def _unpacked(packed: dict[str, Any] | list[Trajectory]) -> list[Trajectory]:
    """The trajectories again, as views."""
    if isinstance(packed, list):  # as earlier checkpoints have them
        return packed
    ends = np.cumsum(packed["lengths"])[:-1]
    columns = [
        np.split(packed[name], ends) if len(packed["lengths"]) else []
        for name in ("states", "actions", "log_backward", "shaping")
    ]
    rows = zip(*columns, packed["log_reward"].tolist(), packed["final"], strict=True)
    return [Trajectory(*row) for row in rows]
