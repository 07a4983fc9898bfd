"""Trajectory balance: one learnt number, log Z, and one equation a trajectory."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule

from . import targets
from .architectures import Architecture
from .base import check_rate, passed_up
from .policy import Roles
from .replay.trajectory_buffer import TrajectoryBatch
from .trajectories import TrajectoryAlgorithm


class TrajectoryBalance(TrajectoryAlgorithm):
    """TB: (log Z + Σ log P_F − log R − Σ log P_B)² of complete trajectories, averaged.

    Paper: Malkin, Jain, Bengio, Sun and Bengio, "Trajectory balance: improved credit assignment
    in GFlowNets", NeurIPS 2022, https://arxiv.org/abs/2201.13259. P_F is the softmax of the
    network's outputs. Defaults are those of arXiv:2310.12934 for the hypergrid; ``preset`` has
    those of the other domains.

    Args:
        policy: "auto" for the domain's own, "MlpPolicy", "TransformerPolicy" or "MixturePolicy" for
            positions that are filled with words, "BlockTreePolicy" or "SmallBlockTreePolicy" for
            molecules, "ScoredEdgesPolicy" for Bayesian networks, "SpinsPolicy" for Ising models, or
            a subclass of :class:`gfn_gym.agents.Architecture`.
        env: an environment id, a GFN environment, or a VecEnv of them.
        preset: the name of settings that were registered for this environment, such as "paper" or
            "fast" (see :mod:`gfn_gym.agents.presets`); explicit arguments win. None: the defaults
            here.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        learning_rate: of P_F, and of P_B where learnt; a number, or a function of the progress that
            remains, from 1 to 0.
        log_z_learning_rate: of log Z, which begins at 0 and has no weight decay; a number, or a
            function of the progress that remains.
        train_freq: (n, "episode"): one round of updates per n finished trajectories, on these n; n
            or (n, "step"): per n calls of ``env.step``, on what finished.
        gradient_steps: gradient steps of a round, all on the same new trajectories.
        replay_trajectories: how many of the latest trajectories are kept for replay; 0: none.
        replay_batch: how many of these join the new ones in every gradient step, drawn uniformly.
        learnt_backward: learn P_B jointly, by a network of its own beside P_F's; otherwise it is
            the environment's, uniform unless that was given another. The returns that are logged
            are the environment's either way.
        exploration_initial_eps: ε at the start: the chance of a uniform legal action.
        exploration_final_eps: ε after ``exploration_fraction``.
        exploration_fraction: share of the training over which ε changes, linearly.
        exploration_ladder: (low, high): each environment has an ε of its own besides, from low to
            high in equal ratios, so that some follow the policy and some wander off; None: none.
        replay_pool: size of a pool of the best objects found that are unlike each other (by
            :meth:`gfn_gym.DAG.distances`); as many trajectories as were finished are drawn to them
            backwards by P_B and replayed in each round of updates. 0: none.
        local_search: the share of trajectories that begin at a pooled object which P_B has taken
            apart by up to a tenth of its steps, at least one; they count like any other.
        pool_fraction: share of the training after which the pool is neither replayed nor searched,
            so that the policy learns from its own trajectories alone; 1: until the end.
        reward_annealing: (first, share): learn from R^e, and a potential times e, with an exponent
            that rises linearly from ``first`` to 1 over that share of the training, replayed
            rewards rescaled; until then ``log_flow`` and ``train/log_z`` are those of R^e. None: R.
        max_grad_norm: clip the gradient's norm; None: don't.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device: as in SB3, like
            the rest: ``policy_kwargs`` takes the settings of the architecture, ``optimizer_class``
            and ``optimizer_kwargs``.
    """

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        *,
        preset: str | None = None,
        n_envs: int | None = None,
        learning_rate: float | Schedule = 1e-3,
        log_z_learning_rate: float | Schedule = 0.1,
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
        self.log_z_learning_rate = log_z_learning_rate
        super().__init__(**passed_up(TrajectoryAlgorithm, locals()))

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_rate("log_z_learning_rate", self.log_z_learning_rate)

    def _roles(self) -> Roles:
        return Roles(log_z=True, backward=self.learnt_backward)

    def _setup_model(self) -> None:
        super()._setup_model()
        self.log_z_schedule = FloatSchedule(self.log_z_learning_rate)
        rate = self.log_z_schedule(1.0)
        group = {"params": [self.policy.log_z], "lr": rate, "weight_decay": 0.0}
        self.policy.optimizer.add_param_group(group)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        rate = self.log_z_schedule(self._current_progress_remaining)
        self.policy.optimizer.param_groups[-1]["lr"] = rate

    def residuals(self, batch: TrajectoryBatch) -> th.Tensor:
        """log Z + Σ log P_F − log R − Σ log P_B of m trajectories, (m,), with gradients."""
        log_z = self.policy.log_z
        assert log_z is not None
        edges = batch.states, batch.masks, batch.actions
        log_forward = self.policy.online.log_policy_of(*edges)
        # What a potential adds is 0 over a trajectory.
        rewards = self.backward.log_backward(batch) + batch.log_reward
        return targets.trajectory_balance(log_z, log_forward, rewards, batch.trajectories)

    def _loss(self, batch: TrajectoryBatch) -> th.Tensor:
        return self.residuals(batch).square().mean()
