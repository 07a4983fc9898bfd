"""Soft actor-critic for discrete actions, with masks."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule

from . import targets
from .architectures import Architecture
from .backward import BACKWARD_LEARNING_RATE, GivenBackward, tlm_backward
from .base import check_rate, passed_up
from .multi_step import check_target_network, multi_step_target
from .networks import ActorCritics, move_towards
from .policy import Roles
from .replay.transition_buffer import TransitionBatch
from .transitions import TransitionAlgorithm


class SoftActorCritic(TransitionAlgorithm):
    """SAC (Haarnoja et al. 2018, https://arxiv.org/abs/1801.01290) on a GFlowNet.

    For discrete actions as in https://arxiv.org/abs/1910.07207 and in the appendix of
    arXiv:2310.12934, at a fixed entropy coefficient of 1, at which the optimal policy is P_F.
    With an actor π, two critics Q_1, Q_2 and their slowly moving copies Q̄, each critic is
    regressed on

        r + Σ_a π(a|s')·(min_i Q̄_i(s', a) − log π(a|s')),

    and the actor minimizes Σ_a π(a|s)·(log π(a|s) − min_i Q_i(s, a)) over the same transitions;
    sums are over legal actions. Both losses are added up for one step of one optimizer, as in the
    paper's code, Adam with ε = 1e-4. There the critics are output layers on the actor's hidden
    layers; here they are networks of their own. A transition's TD error is the mean over the
    critics of its size.

    Args:
        policy: "auto" for the domain's own, "MlpPolicy", "TransformerPolicy" or "MixturePolicy" for
            positions that are filled with words, "BlockTreePolicy" or "SmallBlockTreePolicy" for
            molecules, "ScoredEdgesPolicy" for Bayesian networks, "SpinsPolicy" for Ising models, or
            a subclass of :class:`gfn_gym.agents.Architecture`; the actor and each critic has one of
            its own.
        env: an environment id, a GFN environment, or a VecEnv of them.
        preset: the name of settings that were registered for this environment, such as "paper" or
            "fast" (see :mod:`gfn_gym.agents.presets`); explicit arguments win. None: the defaults
            here.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        learning_rate: the actor's: a number, or a function of the progress that remains.
        q_learning_rate: the critics', likewise.
        buffer_size: transitions kept for replay.
        learning_starts: environment steps before the first update, or (n, "episode").
        batch_size: transitions of a gradient step.
        tau: how far the critics' copies move towards them; 1 is a hard update.
        gamma: must be 1.
        train_freq: (n, "episode"): one round of updates per n finished trajectories, whatever the
            number of environments; n or (n, "step"): per n calls of ``env.step``, as in SB3.
        gradient_steps: gradient steps of a round; −1: as many as transitions were collected.
        target_update_interval: gradient steps between two moves of the copies.
        average_share: keep an average of the weights over about this last share of the gradient
            steps so far, and let ``predict`` and evaluation use it; 0: none.
        dueling: of the critics: Q = V + log softmax A, with an output of its own for V.
        n_step: targets over several transitions, as in :class:`SoftDQN`.
        td_lambda: what lies i transitions ahead enters that target with weight ``td_lambda``^i.
        huber: Huber loss with threshold 1; False: half the square.
        leaf_weight: factor of the loss, and of the priority, of transitions that end an episode.
        replay_alpha: exponent of prioritized replay, by |TD error|; 0 is uniform replay.
        replay_beta: exponent of the importance weights at the start of training.
        replay_beta_final: the same at its end; linear in between.
        importance_weights: whether the loss has these weights at all.
        new_priority: a new transition's priority: its own "td_error", or the "max" so far.
        learnt_backward: learn P_B along by TLM, with a network of its own, see
            :class:`gfn_gym.agents.backward.TLMBackward`: a step per round of updates, on the new
            transitions. Replayed rewards are always by the P_B of the moment. Otherwise P_B is the
            environment's, uniform unless that was given another. The returns that are logged, and
            those in the infos, are the environment's either way.
        backward_learning_rate: of the learnt P_B; a number, or a function of the progress that
            remains. By default it falls linearly from 1e-3 to 0 half-way through the training.
        backward_tau: how far the P_B of the rewards moves towards the one that is learnt, a step.
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
        max_grad_norm: clip the gradient's norm, except that of P_B's own step; None: don't.
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
        q_learning_rate: float | Schedule = 1e-2,
        buffer_size: int = 100_000,
        learning_starts: int | tuple[int, str] = (256, "episode"),
        batch_size: int = 256,
        tau: float = 0.25,
        gamma: float = 1.0,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int = 1,
        target_update_interval: int = 1,
        average_share: float = 0.0,
        dueling: bool = False,
        n_step: int = 1,
        td_lambda: float = 1.0,
        huber: bool = True,
        leaf_weight: float = 1.0,
        replay_alpha: float = 0.5,
        replay_beta: float = 0.0,
        replay_beta_final: float = 1.0,
        importance_weights: bool = False,
        new_priority: str = "td_error",
        learnt_backward: bool = False,
        backward_learning_rate: float | Schedule = BACKWARD_LEARNING_RATE,
        backward_tau: float = 0.25,
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
        self.q_learning_rate = q_learning_rate
        self.tau, self.target_update_interval = tau, target_update_interval
        self.n_step, self.td_lambda = n_step, td_lambda
        self.learnt_backward = learnt_backward
        self.backward_learning_rate, self.backward_tau = backward_learning_rate, backward_tau
        super().__init__(**passed_up(TransitionAlgorithm, locals()))

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_target_network(self)

    def _roles(self) -> Roles:
        return Roles(
            "actor_critics",
            dueling=self.dueling,
            target=True,
            average=self.average_share > 0,
            backward=self.learnt_backward,
        )

    def _make_backward(self) -> GivenBackward:
        return tlm_backward(self)

    def _setup_model(self) -> None:
        check_rate("q_learning_rate", self.q_learning_rate)
        self.q_lr_schedule = FloatSchedule(self.q_learning_rate)
        adam = self.policy_kwargs.get("optimizer_class", th.optim.Adam) is th.optim.Adam
        if adam and self.policy_kwargs.get("optimizer_kwargs") is None:
            adam_of_paper = {"optimizer_kwargs": {"fused": True, "eps": 1e-4}}
            self.policy_kwargs = {**self.policy_kwargs, **adam_of_paper}
        super()._setup_model()

    @property
    def networks(self) -> ActorCritics:
        """The actor and the critics."""
        assert isinstance(self.policy.online, ActorCritics)
        return self.policy.online

    # ---- the learning rule --------------------------------------------------------------------

    def _td_target(self, batch: TransitionBatch) -> th.Tensor:
        """What both critics' Q(s, a) are regressed on, (n,); without gradients."""
        logits = self.networks.actor(batch.next_states, batch.next_masks)
        q_next = self.policy.target(batch.next_states, batch.next_masks)
        next_value = targets.double_soft_value(logits, q_next)
        return targets.soft_td_target(batch.rewards, batch.dones, next_value)

    def _td_errors(self, batch: TransitionBatch) -> th.Tensor:
        """Each critic's TD error, (2, n), with gradients into the critics only."""
        target = multi_step_target(
            self._td_target,
            self.policy.target,
            self.replay_buffer,
            batch,
            self.n_step,
            self.td_lambda,
        )
        return (
            self.networks.critics.each_of_actions(batch.states, batch.masks, batch.actions) - target
        )

    def _td_error(self, batch: TransitionBatch) -> th.Tensor:
        """The mean over the critics of the size of their TD errors, (n,)."""
        return self._td_errors(batch).abs().mean(dim=0)

    def _loss(self, batch: TransitionBatch) -> tuple[th.Tensor, th.Tensor]:
        errors = self._td_errors(batch)
        critics = self._weighted_mean(batch, targets.td_loss(errors, self.huber).sum(dim=0))
        logits = self.networks.actor(batch.states, batch.masks)
        with th.no_grad():
            q = self.networks.critics(batch.states, batch.masks)
        actor = (batch.weights * -targets.double_soft_value(logits, q)).mean()
        self._metrics["train/actor_loss"].append(actor.item())
        return critics + actor, errors.detach().abs().mean(dim=0)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        rate = self.q_lr_schedule(self._current_progress_remaining)
        self.policy.optimizer.param_groups[1]["lr"] = rate
        self.logger.record("train/q_learning_rate", rate)

    @th.no_grad()
    def _update_copies(self) -> None:
        super()._update_copies()
        if self._n_updates % self.target_update_interval == 0:
            move_towards(self.policy.target, self.networks.critics, self.tau)
