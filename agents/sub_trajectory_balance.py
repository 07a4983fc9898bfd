"""Sub-trajectory balance: learnt flows of states, and one equation a piece of a trajectory."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from gfn_gym.arguments import number

from . import targets
from .architectures import Architecture
from .base import passed_up
from .policy import Roles
from .replay.trajectory_buffer import TrajectoryBatch
from .trajectories import TrajectoryAlgorithm


class SubTrajectoryBalance(TrajectoryAlgorithm):
    """SubTB(λ): the squared residuals of all pieces of a trajectory, weighted by λ^length.

    Paper: Madan et al., "Learning GFlowNets from partial episodes for improved convergence and
    stability", ICML 2023, https://arxiv.org/abs/2209.12782. The weights sum to one within each
    trajectory. R stands for F where a trajectory ends. λ → 0 is the mean of detailed balance's
    over each trajectory, λ → ∞ trajectory balance with log Z = log F(s0). The network is SoftDQN's
    with dueling. Defaults are those of arXiv:2310.12934 for the hypergrid; ``preset`` has those of
    the other domains.

    Args:
        policy: "auto" for the domain's own, "MlpPolicy", "TransformerPolicy" or "MixturePolicy" for
            positions that are filled with words, "BlockTreePolicy" or "SmallBlockTreePolicy" for
            molecules, "ScoredEdgesPolicy" for Bayesian networks, "SpinsPolicy" for Ising models, or
            a subclass of :class:`gfn_gym.agents.Architecture`.
        env: an environment id, a GFN environment, or a VecEnv of them.
        preset: the name of settings that were registered for this environment, such as "paper" or
            "fast" (see :mod:`gfn_gym.agents.presets`); explicit arguments win. None: the defaults
            here.
        subtb_lambda: λ, above 0.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        learning_rate: of P_F, and of P_B where learnt; a number, or a function of the progress that
            remains, from 1 to 0.
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
        subtb_lambda: float = 0.9,
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
        self.subtb_lambda = number("subtb_lambda", subtb_lambda, above=0)
        super().__init__(**passed_up(TrajectoryAlgorithm, locals()))

    def _roles(self) -> Roles:
        return Roles(dueling=True, backward=self.learnt_backward)

    def residuals(self, batch: TrajectoryBatch) -> th.Tensor:
        """The residuals of all pieces, (m, T + 1, T + 1), with gradients.

        See :func:`targets.sub_trajectory_balance`.
        """
        edges = (*self._flow_and_forward(batch), self.backward.rewards(batch))
        return targets.sub_trajectory_balance(*map(batch.padded, edges))

    def _loss(self, batch: TrajectoryBatch) -> th.Tensor:
        weights = targets.geometric_weights(batch.lengths, self.subtb_lambda)
        return (weights * self.residuals(batch).square()).sum(dim=(1, 2)).mean()
