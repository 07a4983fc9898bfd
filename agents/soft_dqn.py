"""SoftDQN: the paper's main agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from gfn_gym.dag import Floats, Mask, States
from gfn_gym.mdp import MDP

from . import targets
from .architectures import Architecture
from .backward import BACKWARD_LEARNING_RATE, GivenBackward, tlm_backward
from .base import passed_up
from .multi_step import check_target_network, multi_step_target
from .networks import QNetwork, move_towards
from .policy import Roles
from .replay.transition_buffer import TransitionBatch
from .transitions import TransitionAlgorithm
from .tree_search import check_planning, search


class SoftDQN(TransitionAlgorithm):
    """Soft deep Q-learning on a GFlowNet's decision process.

    Paper: Tiapkin, Morozov, Naumov and Vetrov, "Generative Flow Networks as Entropy-Regularized
    RL", AISTATS 2024, https://arxiv.org/abs/2310.12934. Q(s, a) is regressed on r + V(s') with
    V(s) = logsumexp Q(s, ·); at its optimum Q = log F(edge), V(s0) = log Z, and softmax Q samples
    objects with probability R(x)/Z. Defaults are the paper's for the hypergrid; ``preset`` has
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
        n_step: the target runs over this many transitions of the stored trajectory, whatever policy
            made it: r_t + Σ_{0<i<n} (r_{t+i} − log π(a_{t+i}|s_{t+i})) + V(s_{t+n}), π and V of the
            target network; fewer where the episode ends, or no more is stored. The TD error, and so
            the priority, is that of the whole; ``leaf_weight`` stays with the transition that ends
            the episode.
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

    temperature: float = 1.0
    """λ: a variant's, where it is not 1."""

    def __init__(
        self,
        policy: str | type[Architecture],
        env: GymEnv | str | None,
        *,
        preset: str | None = None,
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
        self.tau, self.target_update_interval = tau, target_update_interval
        self.double, self.n_step, self.td_lambda = double, n_step, td_lambda
        self.planning_simulations, self.planning_epsilon = planning_simulations, planning_epsilon
        self.learnt_backward = learnt_backward
        self.backward_learning_rate, self.backward_tau = backward_learning_rate, backward_tau
        super().__init__(**passed_up(TransitionAlgorithm, locals()))

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_target_network(self)
        check_planning(self.planning_simulations, self.planning_epsilon, "planning_")

    def _roles(self) -> Roles:
        return Roles(
            dueling=self.dueling,
            temperature=self.temperature,
            target=True,
            average=self.average_share > 0,
            backward=self.learnt_backward,
        )

    def _make_backward(self) -> GivenBackward:
        return tlm_backward(self)

    @property
    def q_net(self) -> QNetwork:
        """The online network: (states, mask) → Q."""
        assert isinstance(self.policy.online, QNetwork)
        return self.policy.online

    @property
    def q_net_target(self) -> QNetwork:
        """The target network."""
        assert isinstance(self.policy.target, QNetwork)
        return self.policy.target

    # ---- the learning rule --------------------------------------------------------------------

    def _td_target(self, batch: TransitionBatch) -> th.Tensor:
        """What Q(s, a) of each transition is regressed on, (n,); without gradients."""
        return targets.soft_td_target(batch.rewards, batch.dones, self._next_value(batch))

    def _td_error(self, batch: TransitionBatch) -> th.Tensor:
        """Q(s, a) minus its target, (n,), with gradients into Q only."""
        target = multi_step_target(
            self._td_target,
            self.q_net_target,
            self.replay_buffer,
            batch,
            self.n_step,
            self.td_lambda,
        )
        return self.q_net.of_actions(batch.states, batch.masks, batch.actions) - target

    def _next_value(self, batch: TransitionBatch) -> th.Tensor:
        """V(s') by the target network, (n,); 0 where the episode is over."""
        if self.planning_simulations:
            return self._planned_value(batch)
        goes_on = (~batch.dones).nonzero().squeeze(1)
        if not len(goes_on):
            return th.zeros_like(batch.rewards)
        next_states = batch.next_states.index_select(0, goes_on)
        next_masks = batch.next_masks.index_select(0, goes_on)
        if not self.double:
            found = self.q_net_target.soft_value(next_states, next_masks)
        else:
            q_next = self.q_net_target(next_states, next_masks)
            q_online = self.q_net(next_states, next_masks)
            found = targets.double_soft_value(q_online, q_next, self.temperature)
        return found.new_zeros(len(batch.dones)).index_copy(0, goes_on, found)

    @th.no_grad()
    def _update_copies(self) -> None:
        super()._update_copies()
        if self._n_updates % self.target_update_interval == 0:
            move_towards(self.policy.target, self.policy.online, self.tau)

    # ---- planning -----------------------------------------------------------------------------

    def _planned_value(self, batch: TransitionBatch) -> th.Tensor:
        """V(s') after a tree search with the target network, (n,); 0 where the episode is over."""
        value, goes_on = th.zeros_like(batch.rewards), ~batch.dones
        states = batch.next_states[goes_on].cpu().numpy().astype(self.dag.state_space.dtype)
        planned = np.logaddexp.reduce(self._plan(states, self.q_net_target), axis=1)
        value[goes_on] = self.policy.to_tensor(planned - self.policy.shift(states)).to(value.dtype)
        return value

    def _plan(self, states: States, network: QNetwork) -> Floats:
        """log F of the edges out of states after a tree search with a network, (n, n_actions)."""

        def estimate(states: States, mask: Mask) -> NDArray[Any]:
            return self.policy.edge_log_flow_by(network, states, mask).cpu().numpy()

        mdp = MDP(self.dag, self.backward_policy)
        simulations, epsilon = self.planning_simulations, self.planning_epsilon
        return search(mdp, estimate, states, simulations, epsilon, self.policy.generator)

    def _acting_logits(self, states: States, mask: Mask) -> NDArray[Any]:
        if not self.planning_simulations:
            return super()._acting_logits(states, mask)
        return self.temperature * self._plan(states, self.q_net)
