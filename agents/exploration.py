"""Exploration that keeps what was found: a pool of objects, local search, a ladder of ε.

Off-policy agents may learn from any trajectory, so all of this composes with every one of them. The
optimum stays as it is; what a limited network comes to depends on what it is shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import number, whole
from gfn_gym.dag import Floats, States
from gfn_gym.mdp import MDP, Transition

from .replay.object_pool import ObjectPool, trajectories_to
from .replay.trajectory import Trajectory
from .vec_env import GFNVecEnv

TAKEN_APART = 0.1  # the largest share of an object's steps that local search undoes


def check_exploration(replay_pool: Any, local_search: Any, pool_fraction: Any, ladder: Any) -> None:
    """Raise an error that names a bad one of the four arguments."""
    number("pool_fraction", pool_fraction, above=0, most=1)
    whole("replay_pool", replay_pool, least=0)
    number("local_search", local_search, least=0, below=1)
    if local_search and not replay_pool:
        raise ValueError(
            f"local_search={local_search!r} takes objects from a pool: give its size, "
            "replay_pool=100, for example, or local_search=0"
        )
    if pool_fraction < 1 and not replay_pool:
        raise ValueError(
            f"pool_fraction={pool_fraction!r} is the share of the training that has a pool: give "
            "its size, replay_pool=100, for example, or leave pool_fraction at 1"
        )
    if ladder is None:
        return
    if not isinstance(ladder, (tuple, list)) or len(ladder) != 2:
        raise ValueError(f"exploration_ladder={ladder!r} must be None or two ε, (0.001, 0.3)")
    low = number("exploration_ladder[0]", ladder[0], above=0, most=1)
    number("exploration_ladder[1]", ladder[1], least=low, most=1)


def ladder_of(ladder: tuple[float, float] | None, n_envs: int) -> NDArray[np.float64]:
    """Each environment's own ε, (n_envs,), from the first to the second in equal ratios.

    As distributed agents have it (arXiv:1803.00933): some follow the policy, some wander off.
    """
    if ladder is None:
        return np.zeros(n_envs)
    return np.geomspace(*ladder, n_envs) if n_envs > 1 else np.array([ladder[1]])


class PoolExploration:
    """Feeds a pool with what is found, replays it, and searches around it.

    A pooled object is replayed along a trajectory that is drawn backwards by P_B
    (arXiv:2305.07170); its reward is not asked for again. Local search (arXiv:2310.02710) takes a
    pooled object apart some steps by P_B and lets an environment begin there: what the policy
    builds counts as any trajectory does, and is pooled if it is better. Agents that learn from
    transitions replay it along a trajectory that P_B draws, since on the one by which it was built
    what is new always comes last.

    Args:
        pool: the objects.
        local_search: the share of the trajectories that begin so.
        generator: draws.

    Attributes:
        is_over: the pool is neither replayed nor searched any more.
    """

    def __init__(self, pool: ObjectPool, local_search: float, generator: np.random.Generator):
        self.pool, self.local_search, self.generator = pool, local_search, generator
        self.is_over = False
        self.reset()

    def reset(self) -> None:
        """Forget everything, the pool too."""
        self.pool.reset()
        self.finished = 0  # trajectories since the last replay
        self.searching = np.zeros(0, dtype=bool)  # (n_envs,), which of them began at a part
        self._rebuilt: list[tuple[States, Floats]] = []  # by them, since the last replay

    def forget_searches(self) -> None:
        """The environments start anew: none of them goes on with a part of an object."""
        self.searching = np.zeros(0, dtype=bool)

    def after_step(
        self, env: GFNVecEnv, transition: Transition, backward: MDP, buffer: Any
    ) -> None:
        """Pool what a step has finished; let some of these environments begin at a part of it.

        Args:
            env: after the step and its resets.
            transition: what the step led to.
            backward: the decision process with the P_B that takes objects apart.
            buffer: learns what was built already where a search begins.
        """
        done = np.flatnonzero(transition.done)
        if not len(done):
            return
        self.finished += len(done)
        self.pool.add(transition.next_states[done], transition.log_reward[done])
        if len(self.searching) != env.num_envs:
            self.searching = np.zeros(env.num_envs, dtype=bool)
        rebuilt = done[self.searching[done]]
        self._rebuilt.append((transition.next_states[rebuilt], transition.log_reward[rebuilt]))
        share = 0.0 if self.is_over else self.local_search
        rows = done[self.generator.random(len(done)) < share]
        self.searching[done] = False
        self.searching[rows] = True
        if len(rows):
            starts = [self._start(t) for t in self._to_pooled(len(rows), env.mdp, backward)]
            env.begin_at(rows, starts)
            buffer.begin_with(rows, starts)

    def replay(self, mdp: MDP, backward: MDP, rebuilt: bool) -> list[Trajectory]:
        """As many trajectories to pooled objects as were finished since the last call.

        If wanted, also one to each object that a search has ``rebuilt`` since.
        """
        if not self.finished:
            return []
        n_pooled = 0 if self.is_over else self.finished
        drawn = [self.pool.draw(n_pooled), *(self._rebuilt if rebuilt else [])]
        states, log_reward = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        self.finished, self._rebuilt = 0, []
        return trajectories_to(mdp, backward, states, log_reward, self.generator)

    def _to_pooled(self, n: int, mdp: MDP, backward: MDP) -> list[Trajectory]:
        return trajectories_to(mdp, backward, *self.pool.draw(n), self.generator)

    def _start(self, trajectory: Trajectory) -> tuple[Trajectory, int]:
        """The trajectory to a pooled object, and after how many of its steps a search begins."""
        length = len(trajectory.actions)
        most = max(1, int(TAKEN_APART * length))
        return trajectory, length - int(self.generator.integers(1, most + 1))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "pool": self.pool.state_dict(),
            "generator": self.generator.bit_generator.state,
            "finished": self.finished,
            "searching": self.searching,
            "rebuilt": self._rebuilt,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.pool.load_state_dict(state["pool"])
        self.generator.bit_generator.state = state["generator"]
        self.finished = state["finished"]
        self.searching = state.get("searching", self.searching)  # not in earlier checkpoints
        self._rebuilt = [(states, log_r) for states, log_r in state.get("rebuilt", ())]
