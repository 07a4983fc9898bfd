"""Flow matching: the first objective that GFlowNets were trained by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from gfn_gym.arguments import number
from gfn_gym.edges import in_edges

from . import targets
from .architectures import Architecture
from .base import passed_up
from .networks import QNetwork
from .policy import Roles
from .replay.transition_buffer import TransitionBatch
from .transitions import TransitionAlgorithm


class FlowMatching(TransitionAlgorithm):
    """Flow matching on replayed states.

    Paper: Bengio et al., "Flow Network based Generative Models for Non-Iterative Diverse Candidate
    Generation", NeurIPS 2021, https://arxiv.org/abs/2106.04399, eq. 12. The network's outputs are
    log F(edge), P_F is their softmax, and the loss of the state s' of a transition is

        (log(ε + Σ_{edges into s'} F) − log(ε + Σ_{edges out of s'} F))²,

    halved. The out-flow of a finished object is R: where the stop action ends the episode, its
    edge alone leads there; where the last construction step does, all edges into the object. Every
    parallel edge counts. There is no target network, and no P_B: the flow that is found has one of
    its own, and the environment's, fixed or not, plays no part.

    An update asks the network about all parents of each state in the batch: cheap where the
    in-edges are few, as on the hypergrid, but with parallel edges the parents are stepped by all
    their actions as well. A state's priority is the size of its error.

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
        gamma: must be 1.
        train_freq: (n, "episode"): one round of updates per n finished trajectories, whatever the
            number of environments; n or (n, "step"): per n calls of ``env.step``, as in SB3.
        gradient_steps: gradient steps of a round; −1: as many as transitions were collected.
        average_share: keep an average of the online weights over about this last share of the
            gradient steps so far, and let ``predict`` and evaluation use it; 0: none, they use the
            online network.
        dueling: log F(edge) = log F(s) + log P_F, with an output of its own for log F(s).
        flow_epsilon: ε ≥ 0, in units of R; flows well below it hardly count.
        huber: Huber loss with threshold 1, instead of half the square.
        leaf_weight: factor of the loss, and of the priority, of transitions that end an episode.
        replay_alpha: exponent of prioritized replay, by the size of a state's error; 0 is uniform
            replay.
        replay_beta: exponent of the importance weights at the start of training.
        replay_beta_final: the same at its end; linear in between.
        importance_weights: whether the loss has these weights at all.
        new_priority: a new transition's priority: its own "td_error", or the "max" so far.
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
        buffer_size: int = 100_000,
        learning_starts: int | tuple[int, str] = (256, "episode"),
        batch_size: int = 256,
        gamma: float = 1.0,
        train_freq: int | tuple[int, str] = (16, "episode"),
        gradient_steps: int = 1,
        average_share: float = 0.0,
        dueling: bool = False,
        flow_epsilon: float = 0.0,
        huber: bool = False,
        leaf_weight: float = 1.0,
        replay_alpha: float = 0.5,
        replay_beta: float = 0.0,
        replay_beta_final: float = 1.0,
        importance_weights: bool = False,
        new_priority: str = "td_error",
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
        self.flow_epsilon = number("flow_epsilon", flow_epsilon, least=0)
        super().__init__(**passed_up(TransitionAlgorithm, locals()))

    def _roles(self) -> Roles:
        return Roles(dueling=self.dueling, average=self.average_share > 0)

    @property
    def q_net(self) -> QNetwork:
        """The online network: (states, mask) → log F of the edges."""
        assert isinstance(self.policy.online, QNetwork)
        return self.policy.online

    # ---- the learning rule --------------------------------------------------------------------

    def _td_error(self, batch: TransitionBatch) -> th.Tensor:
        """The flow matching error of each transition's next state, (n,), with gradients."""
        return targets.flow_matching_error(
            self._log_in_flow(batch), self._log_out_flow(batch), self.flow_epsilon
        )

    def _log_out_flow(self, batch: TransitionBatch) -> th.Tensor:
        """The log out-flow of each transition's next state, (n,), with gradients."""
        goes_on = ~batch.dones  # a completed object has no edge: logsumexp of nothing
        next_states, next_masks = batch.next_states[goes_on], batch.next_masks[goes_on]
        log_out = batch.log_reward.clone()
        value = self.q_net.soft_value(next_states, next_masks) + self._potential(next_states)
        log_out[goes_on] = value.to(log_out.dtype)
        return log_out

    def _log_in_flow(self, batch: TransitionBatch) -> th.Tensor:
        """The log in-flow of each transition's next state, (n,), with gradients."""
        dag, to_tensor = self.dag, self.policy.to_tensor
        stopped = np.zeros(len(batch.indices), dtype=bool)
        if dag.stop_action is not None:
            stopped = (batch.actions == dag.stop_action).cpu().numpy()
        dtype = dag.state_space.dtype
        moved, stops = np.flatnonzero(~stopped), np.flatnonzero(stopped)
        children = batch.next_states.cpu().numpy()[moved].astype(dtype)
        rows, parents, actions = in_edges(dag, children)
        # A stop's only in-edge is itself.
        ended = batch.states.cpu().numpy()[stops].astype(dtype)
        parents = np.concatenate([parents, ended])
        actions = np.concatenate([actions, np.full(len(stops), dag.stop_action or 0)])
        edges = to_tensor(parents), to_tensor(dag.action_mask(parents)), to_tensor(actions)
        rows = np.concatenate([moved[rows], stops])
        log_flow = self.q_net.of_actions(*edges) + self._potential(edges[0])
        return targets.log_sum_by_row(log_flow, to_tensor(rows), len(batch.indices))

    def _potential(self, states: th.Tensor) -> th.Tensor | float:
        """What the network's log F(edge) lack under a potential, of states int64 (n, d), (n,)."""
        if not self.mdp.is_shaped:
            return 0.0
        rows = states.cpu().numpy().astype(self.dag.state_space.dtype)
        return self.policy.to_tensor(self.policy.shift(rows)).float()
