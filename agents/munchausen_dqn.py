"""Munchausen DQN: SoftDQN with a bonus for actions that the policy already likes."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from gfn_gym.arguments import number

from . import targets
from .architectures import Architecture
from .backward import BACKWARD_LEARNING_RATE
from .base import passed_up
from .replay.transition_buffer import TransitionBatch
from .soft_dqn import SoftDQN


class MunchausenDQN(SoftDQN):
    """M-DQN (Vieillard et al. 2020, https://arxiv.org/abs/2007.14430) on a GFlowNet.

    The reward gains α·clip(λ·log π_target(a|s), l0, 0), and the policy is softmax(Q/λ) with
    λ = 1/(1 − α), so that the optimal policy and V = log F stay those of SoftDQN
    (arXiv:2310.12934, section 3.3; Q = log F(edge) + αλ·log π). That is exact only while the
    clip is inactive: ``train/clip_fraction`` logs how often it bites.

    With ``n_step`` above 1 every transition of the segment has its bonus. At the optimum
    Q(s,a) = r + α·λ·log π(a|s) + V(s') and Q(s,a) = V(s) + λ·log π(a|s), so along any path

        V(s) = r + αλ·log π(a|s) − λ·log π(a|s) + V(s') = r − log π(a|s) + V(s'),

    since (1 − α)·λ = 1: SoftDQN's path consistency, which put n times in a row gives the target

        r_t + α·λ·log π(a_t|s_t) + Σ_{0<i<n} (r_{t+i} − log π(a_{t+i}|s_{t+i})) + V(s_{t+n}).

    A clipped bonus is clipped there too, so that the fixed point does not depend on n.

    Args:
        policy: "auto" for the domain's own, "MlpPolicy", "TransformerPolicy" or "MixturePolicy" for
            positions that are filled with words, "BlockTreePolicy" or "SmallBlockTreePolicy" for
            molecules, "ScoredEdgesPolicy" for Bayesian networks, "SpinsPolicy" for Ising models, or
            a subclass of :class:`gfn_gym.agents.Architecture`.
        env: an environment id, a GFN environment, or a VecEnv of them.
        preset: the name of settings that were registered for this environment, such as "paper" or
            "fast" (see :mod:`gfn_gym.agents.presets`); explicit arguments win. None: the defaults
            here.
        munchausen_alpha: α in [0, 1); 0 is SoftDQN.
        munchausen_l0: l0 < 0, well below every λ·log π of the optimum.
        n_envs: constructions stepped together; None: 16, or those of a VecEnv.
        learning_rate: a number, or a function of the progress that remains, from 1 to 0.
        buffer_size: transitions kept for replay.
        learning_starts: environment steps before the first update, or (n, "episode").
        batch_size: transitions of a gradient step.
        tau: how far the target network moves towards the online one; 1 is a hard update.
        gamma: must be 1.
        train_freq: (n, "episode"): one round of updates per n finished trajectories, whatever the
            number of environments; n or (n, "step"): per n calls of ``env.step``, as in SB3.
        gradient_steps: gradient steps of a round; −1: as many as transitions were collected.
        target_update_interval: gradient steps between two moves of the target network.
        average_share: keep an average of the online weights over about this last share of the
            gradient steps so far, and let ``predict`` and evaluation use it; 0: none, they use the
            online network.
        dueling: Q = V + log softmax A, with an output of its own for V.
        double: V(s') takes its policy from the online network and its values from the target.
        n_step: the target runs over this many transitions of the stored trajectory, as above; fewer
            where the episode ends, or no more is stored. The TD error, and so the priority, is that
            of the whole; ``leaf_weight`` stays with the transition that ends the episode.
        td_lambda: what lies i transitions ahead enters that target with weight ``td_lambda``^i.
        planning_simulations: act, and make targets' V(s'), by a tree search of this many
            simulations from each state (MENTS, arXiv:2406.13655; with the online and with the
            target network), each one more call of the network; 0: none. ``double`` is then ignored.
            A trained model plans by :class:`gfn_gym.agents.MENTS`.
        planning_epsilon: ε of that search's exploration.
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
        munchausen_alpha: float = 0.15,
        munchausen_l0: float = -100.0,
        n_envs: int | None = None,
        learning_rate: float | Schedule = 1e-3,
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
        double: bool = False,
        n_step: int = 1,
        td_lambda: float = 1.0,
        planning_simulations: int = 0,
        planning_epsilon: float = 0.01,
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
        self.munchausen_alpha = number("munchausen_alpha", munchausen_alpha, least=0, below=1)
        self.munchausen_l0 = number("munchausen_l0", munchausen_l0, below=0)
        super().__init__(**passed_up(SoftDQN, locals()))

    @property
    def temperature(self) -> float:  # type: ignore[override]
        """λ = 1/(1 − α)."""
        return 1.0 / (1.0 - self.munchausen_alpha)

    def _td_target(self, batch: TransitionBatch) -> th.Tensor:
        log_pi = self.q_net_target.scaled_log_policy(batch.states, batch.masks, batch.actions)
        clipped = (log_pi < self.munchausen_l0).double().mean().item()
        self._metrics["train/clip_fraction"].append(clipped)
        bonus = targets.munchausen_bonus(log_pi, self.munchausen_alpha, self.munchausen_l0)
        return targets.soft_td_target(batch.rewards + bonus, batch.dones, self._next_value(batch))
