"""The learner's side of collecting: tasks go out, trajectories are counted and learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn

from gfn_gym.rewards import slow_reward_of

from ..exploration import ladder_of
from ..replay.trajectory import Trajectory
from .built import Built
from .config import Collectors
from .inbox import Inbox
from .policy_copy import Task

if TYPE_CHECKING:
    from ..base import GFNAlgorithm


class Collection:
    """Collects for a model, as :class:`Collectors` say, in place of its environment.

    Args:
        model: it learns.
        config: how trajectories are collected.

    Attributes:
        tasks: how many were given out so far; a task's number decides its seed.
        repeated: how many were done again since their process or node was lost.
        inbox: what has come back and is not learnt from yet.
    """

    def __init__(self, model: GFNAlgorithm, config: Collectors):
        config.check(model)
        self.model, self.config = model, config
        self.tasks, self._repeated_before = 0, 0
        self._entropy = int(np.random.SeedSequence(model.seed).entropy)  # type: ignore[arg-type]
        reward = slow_reward_of(model.dag) if config.asynchronous_rewards else None
        self.inbox = Inbox(model.dag, reward)
        self._source = config.source(model)
        self._under_way: dict[int, Task] = {}
        self._early: dict[int, Built] = {}  # of a synchronous round, until it is complete
        self._published: int | None = None
        self._odd_edges = 0  # that do not make a step of all environments yet

    # ---- a rollout ----------------------------------------------------------------------------

    def collect_rollout(self, callback: BaseCallback, log_interval: int | None) -> RolloutReturn:
        """Collect until one update is due; what is over stays as credit, as ever."""
        model = self.model
        frequency = model.train_freq.frequency  # type: ignore[union-attr]
        model.policy.set_training_mode(False)
        callback.on_rollout_start()
        steps, episodes = 0, 0
        while model._credit < frequency and model._progress() < 1:
            self._wait_for_ready()
            built = self._take()
            trajectories = built.trajectories(model.mdp)
            infos = self._learn_from(built, trajectories)
            finished, dones = len(built), np.ones(len(built), dtype=bool)
            rewards = np.array([info["episode"]["r"] for info in infos])
            steps, episodes = steps + int(built.lengths.sum()), episodes + finished
            self._credit(built)
            model._log_if_due(finished, log_interval)
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps, episodes, continue_training=False)
        due = model._credit >= frequency
        if due:
            model._credit -= frequency
        callback.on_rollout_end()
        return RolloutReturn(steps, episodes, continue_training=due)

    def _take(self) -> Built:
        """What is learnt from at once: up to the next update, and not beyond the total."""
        model = self.model
        freq, total = model.train_freq, model._total_trajectories
        lacking = freq.frequency - model._credit  # type: ignore[union-attr]
        trajectories, edges = 2**31, None
        if self._in_trajectories:
            trajectories = lacking
        else:
            edges = lacking * model.n_envs - self._odd_edges
        if total is not None:
            trajectories = min(trajectories, total - model._episode_num)
        else:
            left = model._total_timesteps - model.num_timesteps
            edges = left if edges is None else min(edges, left)
        return self.inbox.take(trajectories, edges)

    @property
    def _in_trajectories(self) -> bool:
        unit: Any = self.model.train_freq.unit  # type: ignore[union-attr]
        return unit.value == "episode"

    def _credit(self, built: Built) -> None:
        """Count what an update is due for: trajectories, or steps of all environments."""
        if self._in_trajectories:
            self.model._credit += len(built)
        else:
            edges = self._odd_edges + int(built.lengths.sum())
            steps, self._odd_edges = divmod(edges, self.model.n_envs)
            self.model._credit += steps

    def _learn_from(self, built: Built, trajectories: list[Trajectory]) -> list[dict[str, Any]]:
        """Store and count trajectories; return their infos."""
        model = self.model
        model.replay_buffer.add_trajectories(trajectories)
        if model.exploration is not None:
            model.exploration.finished += len(built)
            objects = built.objects.astype(model.dag.state_space.dtype)
            model.exploration.pool.add(objects, built.log_reward)
        infos = [{"episode": _episode(t), "TimeLimit.truncated": False} for t in trajectories]
        model.num_timesteps += len(built.states)
        model._fresh += len(built.states)
        model._episode_num += len(built)
        assert model.ep_info_buffer is not None
        model.ep_info_buffer.extend(info["episode"] for info in infos)
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        lag = model._n_updates - built.versions
        model._metrics["collect/lag"].append(float(lag.mean()))
        model._metrics["collect/pending"].append(float(self.inbox.n_pending))
        return infos

    # ---- tasks --------------------------------------------------------------------------------

    def _wait_for_ready(self) -> None:
        """Give out tasks, and wait until something can be learnt from."""
        self.inbox.receive()
        self._receive(0.0)
        self._forget_what_is_too_old()
        self._give_out()
        while not self.inbox.n_ready or self._would_be_too_old():
            if self._under_way and self.inbox.n_pending:
                self._receive(0.05)
                self.inbox.receive(0.05)
            elif self._under_way:
                self._receive(None)
            else:
                self.inbox.receive(None)
            self._give_out()

    def _forget_what_is_too_old(self) -> None:
        """Give up what is older than allowed: left by a training with another bound, or in between.

        It was not counted, and its rewards stay known. What waits for them is seldom among it:
        how many updates come until then is a guess where their number varies.
        """
        if not self.config.synchronous:
            self.inbox.forget(self._version() - self.config.max_lag)

    def _would_be_too_old(self) -> bool:
        """Whether what is under way would be older than allowed after the next update."""
        if self.config.synchronous:
            return False
        tasks, pending = self._under_way.values(), self.inbox.pending
        versions = [*(task.version for task in tasks), *(int(b.versions.min()) for b in pending)]
        if not versions:
            return False
        # Once they are in, it takes some updates until the last of them is learnt from.
        n = sum(len(task.epsilon) for task in tasks) + self.inbox.n_pending
        updates = self._updates_per_round() + n / self._trajectories_per_update()
        return self._version() + updates - min(versions) > self.config.max_lag

    def _give_out(self) -> None:
        config = self.config
        if config.synchronous:
            if not (self._under_way or self.inbox.n_ready or self.inbox.n_pending):
                for _ in range(config.n):
                    self._start(config.n_envs)
            return
        while len(self._under_way) < config.n and self.inbox.n_pending < config.max_pending:
            m = min(config.n_envs, self._room())
            if m < 1:
                return
            self._start(m)

    def _room(self) -> int:
        """How many trajectories more may be on their way: by the lag, and by the total."""
        model, config = self.model, self.config
        on_their_way = self.inbox.n_ready + self.inbox.n_pending
        on_their_way += sum(len(task.epsilon) for task in self._under_way.values())
        updates = config.max_lag + 2 - config.publish_every
        room = int(updates * self._trajectories_per_update())
        if self._in_trajectories:  # those of one round are learnt from before any update of it
            room = max(room, model.train_freq.frequency)  # type: ignore[union-attr]
        room -= on_their_way + model._credit
        if model._total_trajectories is not None:
            room = min(room, model._total_trajectories - model._episode_num - on_their_way)
        return room if on_their_way else max(room, 1)

    def _trajectories_per_update(self) -> float:
        model = self.model
        frequency = model.train_freq.frequency  # type: ignore[union-attr]
        if not self._in_trajectories:
            frequency = frequency * model.n_envs / self._length()
        return float(frequency / self._updates_per_round())

    def _updates_per_round(self) -> float:
        """How many updates follow one another when they are due."""
        model = self.model
        if model.gradient_steps >= 0:
            return max(1, model.gradient_steps)
        frequency = model.train_freq.frequency  # type: ignore[union-attr]
        per_one = self._length() if self._in_trajectories else model.n_envs
        return float(frequency * per_one)  # as many as there are new transitions

    def _length(self) -> float:
        """Edges of a trajectory, on average, as far as is known."""
        model = self.model
        return model.num_timesteps / model._episode_num if model._episode_num else 1.0

    def _start(self, m: int) -> None:
        model, config = self.model, self.config
        version = self._version()
        if self._published is None or version - self._published >= config.publish_every:
            self._source.publish(version)
            self._published = version
        epsilon = np.full(m, float(model.exploration_schedule(model._current_progress_remaining)))
        if model.exploration_ladder is not None:  # each task has a share of every height
            rungs = ladder_of(model.exploration_ladder, config.n * m)[
                self.tasks % config.n :: config.n
            ]
            epsilon = np.maximum(epsilon, rungs)
        task = Task(self.tasks, self._entropy, self._published, epsilon)
        self._under_way[task.number] = task
        self._source.start(task)
        self.tasks += 1

    @property
    def repeated(self) -> int:
        return self._repeated_before + self._source.repeated

    def _version(self) -> int:
        return self.model._n_updates

    def _receive(self, wait: float | None) -> None:
        for task, built in self._source.done(wait):
            if self.config.synchronous:
                self._early[task.number] = built
            else:
                del self._under_way[task.number]
                self.inbox.put(built)
        if self._early and len(self._early) == len(self._under_way):
            for number in sorted(self._early):
                self.inbox.put(self._early[number])
            self._early.clear()
            self._under_way.clear()

    def close(self) -> None:
        """Give up what is under way; it was not counted."""
        self._source.close()
        self._under_way.clear()
        self._early.clear()

    # ---- checkpoints --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "tasks": self.tasks,
            "repeated": self.repeated,
            "entropy": self._entropy,
            "odd_edges": self._odd_edges,
            "inbox": self.inbox.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave, with collectors of any number."""
        self.tasks, self._entropy = state["tasks"], state["entropy"]
        self._odd_edges, self._repeated_before = state["odd_edges"], state["repeated"]
        self.inbox.load_state_dict(state["inbox"])


def _episode(trajectory: Trajectory) -> dict[str, float]:
    parts: tuple[NDArray[np.float32], ...] = (trajectory.log_backward, trajectory.shaping)
    total = float(sum(part.sum(dtype=np.float64) for part in parts)) + trajectory.log_reward
    return {"r": total, "l": len(trajectory.actions), "t": 0.0}
