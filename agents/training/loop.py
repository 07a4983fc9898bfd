"""SB3's off-policy loop on the native batch, measured in steps or in trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import (
    MaybeCallback,
    RolloutReturn,
    TrainFreq,
    TrainFrequencyUnit,
)

from gfn_gym.mdp import MDP, Transition

from ..collectors import Collectors
from ..collectors.collection import Collection
from ..horizon import check_learn, check_totals, warn_of_no_update
from ..vec_env import GFNVecEnv
from .callback_states import CallbackStates
from .frequency import parse_frequency
from .progress_bar import TrainingProgressBar

if TYPE_CHECKING:
    from ..base import GFNAlgorithm

Self = TypeVar("Self", bound="TrainingLoop")
EPISODE = TrainFrequencyUnit.EPISODE


class TrainingLoop(OffPolicyAlgorithm):
    """Collects and learns in turn until a number of steps or of trajectories is reached.

    A subclass acts (``_sample_action``) and learns (``train``) from what its replay buffer is
    given at every step: ``add(states, actions, transition)``.
    """

    env: GFNVecEnv
    mdp: MDP
    observation: str
    replay_buffer: Any
    _callback_states: CallbackStates
    _resumed = False  # learn() is to go on to the original total
    _credit = 0  # steps or trajectories collected that no update has used yet
    _fresh = 0  # transitions collected since the last round of updates was due
    _total_trajectories: int | None = None
    _round_progress: float | None = None  # the share of the training before this round
    _collection: Collection | None = None  # while others collect
    _collected: dict[str, Any] | None = None  # what they left: its state

    def learn(
        self: Self,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        log_interval: int = 1000,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        total_trajectories: int | None = None,
        collectors: Collectors | None = None,
    ) -> Self:
        """Train for a number of environment steps or of trajectories; schedules run on it.

        Args:
            total_timesteps: transitions to collect, a lower bound as in SB3.
            callback: as in SB3.
            log_interval: episodes between two writings of the log.
            tb_log_name: name of the run; the class's name by default.
            reset_num_timesteps: start counting, and the episodes, anew.
            progress_bar: show one (needs tqdm and rich).
            total_trajectories: finished trajectories to collect, instead of ``total_timesteps``.
            collectors: who collects instead of this process, such as :class:`RayCollectors`.

        A model from :meth:`resume` takes neither and goes on to its original total; collectors are
        given again, as callbacks are, and may be others.

        Raises:
            ValueError: not exactly one total is given, or the algorithm cannot learn from what
                these collectors give.
        """
        check_learn(log_interval, reset_num_timesteps, progress_bar)
        reset_num_timesteps = self._set_horizon(
            total_timesteps, total_trajectories, reset_num_timesteps
        )
        name = tb_log_name or type(self).__name__
        _, callback = self._setup_learn(0, callback, reset_num_timesteps, name, progress_bar)
        total_timesteps = self._total_timesteps  # SB3's progress bar reads it from the locals
        self._callback_states.attach(callback, restore=self._resumed)
        self._resumed = False
        try:
            self._open_collection(collectors, reset_num_timesteps)
            callback.on_training_start(locals(), globals())
            self._collect_and_train(callback, log_interval)
            callback.on_training_end()
        finally:
            self._close_collection()
            self._callback_states.release()
        return self

    def _open_collection(self, collectors: Collectors | None, reset: bool) -> None:
        if reset:
            self._collected = None
        if collectors is None:
            if self._collected is not None:  # what waits there grows too old meanwhile
                self._collected = {**self._collected, "inbox": {"ready": [], "pending": []}}
            return
        if not isinstance(collectors, Collectors):
            raise TypeError(f"collectors={collectors!r} must be RayCollectors or a LocalCollector")
        model = cast("GFNAlgorithm", self)
        self._collection = Collection(model, collectors)
        if self._collected is not None:
            self._collection.load_state_dict(self._collected)

    def _close_collection(self) -> None:
        if self._collection is not None:
            self._collected = self._collection.state_dict()
            self._collection.close()
            self._collection = None

    def _collect_and_train(self, callback: BaseCallback, log_interval: int | None) -> None:
        train_freq = cast(TrainFreq, self.train_freq)
        while self._progress() < 1:
            if self._round_progress is None:  # else this goes on with a round that was stopped
                self._round_progress = self._progress()
            self._before_collecting(self._round_progress)
            if self._collection is not None:
                rollout = self._collection.collect_rollout(callback, log_interval)
            else:
                rollout = self.collect_rollouts(
                    self.env, callback, train_freq, self.replay_buffer, log_interval=log_interval
                )
            if not rollout.continue_training:
                break
            if self._warmed_up():
                steps = self.gradient_steps
                self.train(steps if steps >= 0 else self._fresh, self.batch_size)
            self._fresh, self._round_progress = 0, None

    def _set_horizon(self, timesteps: int | None, trajectories: int | None, reset: bool) -> bool:
        """Fix the totals before SB3's set-up; return whether to start counting anew."""
        if self._resumed:
            if timesteps is not None or trajectories is not None:
                raise ValueError(
                    "a resumed model goes on to its original total: call learn() without totals "
                    "(after that, learn(…, reset_num_timesteps=False) adds to it)"
                )
            return False
        if (timesteps is None) == (trajectories is None):
            raise ValueError(
                "give exactly one of total_timesteps and total_trajectories, not "
                f"{timesteps!r} and {trajectories!r}"
            )
        check_totals(timesteps, trajectories)
        if reset or not self.num_timesteps:  # a new model begins, whatever it is told
            self.num_timesteps = self._episode_num = self._credit = self._fresh = 0
            self._begin_anew()
        self._round_progress = None
        self._total_timesteps = self.num_timesteps + (timesteps or 0)
        self._total_trajectories = (
            None if trajectories is None else self._episode_num + trajectories
        )
        warn_of_no_update(self)
        return reset

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self.env is None:
            self.env = GFNVecEnv(self.mdp, self.n_envs, self.observation)
        horizon = self._total_timesteps
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._total_timesteps = horizon
        self._update_current_progress_remaining(self.num_timesteps, horizon)
        return result

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        given = super()._init_callback(callback)
        if not progress_bar:
            return given
        both = CallbackList([given, TrainingProgressBar()])
        both.init_callback(self)
        return both

    def _progress(self) -> float:
        """The share of the training that is done."""
        if self._total_trajectories is not None:
            return self._episode_num / self._total_trajectories
        return self.num_timesteps / self._total_timesteps

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = max(0.0, 1.0 - self._progress())

    def _warmed_up(self) -> bool:
        amount, unit = parse_frequency(self.learning_starts, "learning_starts", least=0)
        return (self._episode_num if unit == "episode" else self.num_timesteps) >= amount

    # ---- collecting ---------------------------------------------------------------------------

    def collect_rollouts(  # type: ignore[override]
        self,
        env: GFNVecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: Any,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Step until one update is due; what is over stays as credit for the next.

        With ``train_freq=(16, "episode")`` an update is due per 16 finished trajectories of any
        of the environments.
        """
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        steps, episodes = 0, 0
        while self._credit < train_freq.frequency and self._progress() < 1:
            states = env.simulator.states
            actions, _ = self._sample_action(learning_starts, n_envs=env.num_envs)
            transition, infos = env.step_states(actions)
            rewards, dones = transition.rewards, transition.done
            replay_buffer.add(states, actions, transition)
            self._after_step(transition)
            finished = self._count(dones, infos)
            steps, episodes = steps + 1, episodes + finished
            self._credit += finished if train_freq.unit == EPISODE else 1
            self._log_if_due(finished, log_interval)
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps * env.num_envs, episodes, continue_training=False)
        due = self._credit >= train_freq.frequency  # else the training is over
        if due:
            self._credit -= train_freq.frequency
        callback.on_rollout_end()
        return RolloutReturn(steps * env.num_envs, episodes, continue_training=due)

    def _begin_anew(self) -> None:
        """Do what is to be done where a training begins, and does not go on."""

    def _before_collecting(self, progress: float) -> None:
        """Do what is to be done before collecting for a round, after that share of the training."""

    def _after_step(self, transition: Transition) -> None:
        """Do what is to be done with a step that is stored, its environments reset."""

    def _count(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> int:
        """Count steps and finished trajectories, and keep the latter's statistics."""
        self.num_timesteps += len(dones)
        self._fresh += len(dones)
        rows = np.flatnonzero(dones)
        self._episode_num += len(rows)
        assert self.ep_info_buffer is not None
        self.ep_info_buffer.extend(infos[row]["episode"] for row in rows)
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        return len(rows)

    def _log_if_due(self, finished: int, log_interval: int | None) -> None:
        if log_interval and self._episode_num // log_interval > (
            (self._episode_num - finished) // log_interval
        ):
            self.dump_logs()
