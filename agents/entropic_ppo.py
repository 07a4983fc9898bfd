"""Entropic PPO: policy gradients on the soft return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule

from gfn_gym.arguments import number, unit

from . import targets
from .architectures import Architecture
from .backward import BACKWARD_LEARNING_RATE, GivenBackward, tlm_backward
from .base import check_rate, passed_up
from .networks import ActorValue
from .policy import Roles
from .replay.trajectory_buffer import TrajectoryBatch
from .trajectories import TrajectoryAlgorithm


@dataclass(slots=True)
class RoundStart:
    """What the epochs of a round start from, without gradients.

    Attributes:
        logits: float32 (n, n_actions), of π' before the first epoch.
        advantages: float32 (n,), soft advantages A of the actions taken.
        returns: float32 (n,), what V is regressed on, A + V.
    """

    logits: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor


class EntropicPPO(TrajectoryAlgorithm):
    """PPO with entropy-regularized returns, on a GFlowNet's decision process.

    Paper: https://arxiv.org/abs/2606.15793. The reward is r − log π(a|s), so V is the soft value,
    log F at the optimum, and the advantage is the λ-weighted sum of the TD errors
    r − log π + V(s') − V(s), which all are 0 there. A round takes some epochs on its trajectories,
    with the policy π' from before the first of them, and minimizes

        −E_π'[min(ρ·A, clip(ρ, 1 ± ε)·A)] + KL(π(·|s) ‖ π'(·|s)),   ρ = π(a|s)/π'(a|s),

    and half the square of V − (A + V'). As A has −log π' in it, the unclipped surrogate with that
    KL, in this direction and with weight 1, is E_π[Q_soft − log π] − V, exactly what is to be
    raised; A is not normalized, since it is to become 0. There is no replay: the data must be the
    policy's own, so use no more environments than trajectories a round.

    Args:
        policy: "auto" for the domain's own, "MlpPolicy", "TransformerPolicy" or "MixturePolicy" for
            positions that are filled with words, "BlockTreePolicy" or "SmallBlockTreePolicy" for
            molecules, "ScoredEdgesPolicy" for Bayesian networks, "SpinsPolicy" for Ising models, or
            a subclass of :class:`gfn_gym.agents.Architecture`; the policy and V have one each.
        env: an environment id, a GFN environment, or a VecEnv of them.
        preset: the name of settings that were registered for this environment, such as "paper" or
            "fast" (see :mod:`gfn_gym.agents.presets`); explicit arguments win. None: the defaults
            here.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        learning_rate: of the policy; a number, or a function of the progress that remains, from 1
            to 0.
        value_learning_rate: of V, likewise; None: a third of ``learning_rate``.
        train_freq: (n, "episode"): one round of updates per n finished trajectories, on these n; n
            or (n, "step"): per n calls of ``env.step``, on what finished.
        gradient_steps: epochs of a round, each a gradient step on all of its trajectories.
        gae_lambda: λ of the advantage.
        clip_range: ε.
        kl_coefficient: weight of the KL.
        learnt_backward: learn P_B along by TLM, with a network of its own, see
            :class:`gfn_gym.agents.backward.TLMBackward`: a step per round of updates, at its
            beginning, on its trajectories. Otherwise P_B is the environment's, uniform unless that
            was given another. The returns that are logged, and those in the infos, are the
            environment's either way.
        backward_learning_rate: of the learnt P_B; a number, or a function of the progress that
            remains. By default it falls linearly from 1e-3 to 0 half-way through the training.
        backward_tau: how far the P_B of the rewards moves towards the one that is learnt, a step.
        exploration_initial_eps: ε at the start: the chance of a uniform legal action.
        exploration_final_eps: ε after ``exploration_fraction``.
        exploration_fraction: share of the training over which ε changes, linearly.
        reward_annealing: (first, share): learn from R^e, and a potential times e, with an exponent
            that rises linearly from ``first`` to 1 over that share of the training, replayed
            rewards rescaled; until then ``log_flow`` and ``train/log_z`` are those of R^e. None: R.
        max_grad_norm: clip the gradient's norm; None: don't.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device: as in SB3, like
            the rest: ``policy_kwargs`` takes the settings of the architecture, ``optimizer_class``
            and ``optimizer_kwargs``.
    """

    refused_arguments: ClassVar[dict[str, str]] = dict.fromkeys(
        (
            "replay_trajectories",
            "replay_batch",
            "replay_pool",
            "local_search",
            "exploration_ladder",
            "pool_fraction",
        ),
        "a policy gradient learns from its own policy's trajectories only",
    )
    on_policy = True
    _start: RoundStart

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        *,
        preset: str | None = None,
        n_envs: int | None = None,
        learning_rate: float | Schedule = 1e-3,
        value_learning_rate: float | Schedule | None = None,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int = 4,
        gae_lambda: float = 0.7,
        clip_range: float = 0.2,
        kl_coefficient: float = 1.0,
        learnt_backward: bool = False,
        backward_learning_rate: float | Schedule = BACKWARD_LEARNING_RATE,
        backward_tau: float = 0.25,
        exploration_initial_eps: float = 0.0,
        exploration_final_eps: float = 0.0,
        exploration_fraction: float = 1.0,
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
        self.value_learning_rate = value_learning_rate
        self.gae_lambda, self.clip_range = gae_lambda, clip_range
        self.kl_coefficient = kl_coefficient
        self.learnt_backward = learnt_backward
        self.backward_learning_rate, self.backward_tau = backward_learning_rate, backward_tau
        super().__init__(**passed_up(TrajectoryAlgorithm, locals()))

    def _check_arguments(self) -> None:
        super()._check_arguments()
        unit("gae_lambda", self.gae_lambda)
        number("clip_range", self.clip_range, above=0)
        number("kl_coefficient", self.kl_coefficient, least=0)
        if self.value_learning_rate is not None:
            check_rate("value_learning_rate", self.value_learning_rate)

    def _roles(self) -> Roles:
        return Roles("actor_value", backward=self.learnt_backward)

    def _make_backward(self) -> GivenBackward:
        return tlm_backward(self)

    def _setup_model(self) -> None:
        super()._setup_model()
        rate = self.value_learning_rate
        self.value_lr_schedule = None if rate is None else FloatSchedule(rate)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        group = self.policy.optimizer.param_groups[1]
        if self.value_lr_schedule is None:
            group["lr"] /= 3
        else:
            group["lr"] = self.value_lr_schedule(self._current_progress_remaining)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_start"]

    # ---- the learning rule --------------------------------------------------------------------

    @property
    def networks(self) -> ActorValue:
        """The policy's network and V's."""
        assert isinstance(self.policy.online, ActorValue)
        return self.policy.online

    @th.no_grad()
    def _begin_round(self, batch: TrajectoryBatch) -> None:
        """Advantages and returns by the networks as they stand before the first epoch."""
        self.policy.set_training_mode(False)  # dropout would make a ratio of π to itself
        logits = self.networks.actor(batch.states, batch.masks)
        value = self.networks.value(batch.states)
        log_pi = targets.log_policy_of(logits, batch.actions)
        # A TD error r − log π + V(s') − V(s) is detailed balance's residual, up to its sign.
        rewards = self.backward.rewards(batch)
        errors = -targets.detailed_balance(value, log_pi, rewards, batch.dones)
        padded = targets.generalised_advantage(batch.padded(errors), self.gae_lambda)
        place = th.arange(padded.shape[1], device=padded.device)
        advantages = padded[place < batch.lengths[:, None]]  # [m, T] → [n]
        self._start = RoundStart(logits, advantages, advantages + value)

    def _loss(self, batch: TrajectoryBatch) -> th.Tensor:
        start = self._start
        logits = self.networks.actor(batch.states, batch.masks)
        log_ratio = targets.log_policy_of(logits, batch.actions)
        log_ratio = log_ratio - targets.log_policy_of(start.logits, batch.actions)
        surrogate = targets.clipped_surrogate(log_ratio, start.advantages, self.clip_range)
        divergence = targets.policy_divergence(logits, start.logits)
        value_loss = 0.5 * (self.networks.value(batch.states) - start.returns).square()
        clipped = (log_ratio.exp() - 1).abs() > self.clip_range
        self._metrics["train/clip_fraction"].append(clipped.double().mean().item())
        self._metrics["train/approx_kl"].append(divergence.mean().item())
        self._metrics["train/value_loss"].append(value_loss.mean().item())
        return (value_loss - surrogate + self.kl_coefficient * divergence).mean()
