"""Learning from complete trajectories, written once: an algorithm is its loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from gfn_gym.arguments import whole

from .architectures import Architecture
from .backward import GivenBackward, JointBackward
from .base import GFNAlgorithm, passed_up
from .networks import QNetwork
from .replay.trajectory_buffer import TrajectoryBatch, TrajectoryBuffer
from .training.loop import EPISODE


class TrajectoryAlgorithm(GFNAlgorithm):
    """What agents share that learn from complete trajectories.

    A subclass writes :meth:`_loss` and the roles that it needs; several epochs over the same
    trajectories are ``gradient_steps``. P_B is learnt jointly with the loss, if at all. Networks
    see the states of a batch once, one after another without padding. Arguments are explained in
    :class:`gfn_gym.agents.TrajectoryBalance`.

    With several environments a trajectory may have begun before the last update, or the last
    few where there are many more environments than trajectories in an update: data are then
    slightly off-policy, which balance losses do not mind, and policy gradients do.
    """

    replay_buffer: TrajectoryBuffer  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        *,
        preset: str | None = None,
        n_envs: int | None = None,
        learning_rate: float | Schedule = 1e-3,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int = 1,
        replay_trajectories: int = 0,
        replay_batch: int = 16,
        learnt_backward: bool = False,
        exploration_initial_eps: float = 0.0,
        exploration_final_eps: float = 0.0,
        exploration_fraction: float = 1.0,
        exploration_ladder: tuple[float, float] | None = None,
        replay_pool: int = 0,
        local_search: float = 0.0,
        pool_fraction: float = 1.0,
        reward_annealing: tuple[float, float] | None = None,
        max_grad_norm: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        self.replay_trajectories, self.replay_batch = replay_trajectories, replay_batch
        self.learnt_backward = learnt_backward
        super().__init__(**passed_up(GFNAlgorithm, locals()), learning_starts=0, gamma=1.0)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        whole("gradient_steps", self.gradient_steps, least=1)
        whole("replay_trajectories", self.replay_trajectories, least=0)
        whole("replay_batch", self.replay_batch, least=1)

    def _make_buffer(self, generator: np.random.Generator) -> TrajectoryBuffer:
        return TrajectoryBuffer(
            self.dag, self.replay_trajectories, self.n_envs, self.device, generator
        )

    def _make_backward(self) -> GivenBackward:
        network = self.policy.backward_net
        return GivenBackward() if network is None else JointBackward(network)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As in GFNAlgorithm; what is under way is forgotten too: the environments start anew."""
        super().set_env(env, force_reset)
        self.replay_buffer.forget_new()
        self._credit = 0

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if reset_num_timesteps or self.env is None or self._last_obs is None:
            self.replay_buffer.forget_new()  # the environments start anew
            self._credit = 0
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    # ---- the learning rule --------------------------------------------------------------------

    @abstractmethod
    def _loss(self, batch: TrajectoryBatch) -> th.Tensor:
        """Return the loss of complete trajectories, a scalar."""

    def _flow_and_forward(self, batch: TrajectoryBatch) -> tuple[th.Tensor, th.Tensor]:
        """log F(s) and log P_F(a|s) of the edges, each (n,), with gradients."""
        network = self.policy.online
        assert isinstance(network, QNetwork)
        return network.flow_and_forward(batch.states, batch.masks, batch.actions)

    def _begin_round(self, batch: TrajectoryBatch) -> None:
        """Do what is done once a round, before the gradient steps on its new trajectories."""

    def train(self, gradient_steps: int, batch_size: int = 0) -> None:
        """Take gradient steps on the new trajectories, and each on ``replay_batch`` replayed ones.

        ``batch_size`` plays no part.
        """
        train_freq: Any = self.train_freq
        limit = train_freq.frequency if train_freq.unit == EPISODE else None
        buffer, learnt = self.replay_buffer, self.backward.is_learnt
        new = buffer.take_new(limit)
        own = buffer.batch(new, learnt) if new else None
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        if own is not None:
            if own.backward is not None:
                self._learn_backward([own.backward])
            self._begin_round(own)
        pooled = self._replayed_from_pool()
        for _ in range(gradient_steps):
            replayed = [*pooled, *buffer.sample(self.replay_batch)]
            batch = buffer.batch([*new, *replayed], learnt) if replayed else own
            if batch is None:  # possible where train_freq is in steps
                return
            loss = self._loss(batch)
            self._step_optimizer(loss)
            self._n_updates += 1
            self._metrics["train/loss"].append(loss.item())
