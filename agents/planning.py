"""Planning with a trained agent: a policy that looks ahead before it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from gfn_gym.dag import Floats, Mask, States
from gfn_gym.mdp import MDP

from .soft_actor_critic import SoftActorCritic
from .soft_dqn import SoftDQN
from .tree_search import check_planning, search


class MENTS:
    """The policy of a trained agent after a maximum-entropy tree search at every state.

    Morozov et al., "Improving GFlowNets with Monte Carlo Tree Search",
    https://arxiv.org/abs/2406.13655, after Xiao et al. 2019: π = softmax of the Q at the root that
    ``simulations`` descents have found, each of which looks at one edge more
    (:func:`gfn_gym.agents.tree_search.search`). It is a policy as
    :mod:`gfn_gym.evaluation` takes it, for ``sample``, ``evaluate_exact`` and the rest.

    Simulations are random, so that a state asked about twice gets two answers; P(x) is then that of
    the policy which plans anew at every visit. Rewards of objects that come in sight are asked for.

    Args:
        model: SoftDQN, MunchausenDQN or SoftActorCritic, trained or not.
        simulations: descents from each state; 0 is the agent's own policy.
        epsilon: ε ≥ 0 of the tree policy's exploration.
        seed: of a generator of its own, or a generator to draw from.

    Raises:
        TypeError: the model has no Q of the process with a P_B that it knows.
    """

    def __init__(
        self,
        model: SoftDQN | SoftActorCritic,
        simulations: int = 16,
        epsilon: float = 0.01,
        seed: int | np.random.Generator = 0,
    ):
        if not isinstance(model, (SoftDQN, SoftActorCritic)):
            raise TypeError(
                f"{type(model).__name__} has no soft Q-function under a P_B that it knows to "
                "plan with: take SoftDQN, MunchausenDQN or SoftActorCritic"
            )
        check_planning(simulations, epsilon)
        # Where P_B is learnt, Q is that of its slowly moving copy, not of the environment's.
        self.mdp, self.policy = MDP(model.dag, model.backward_policy), model.policy
        self.simulations, self.epsilon = simulations, epsilon
        self.generator = np.random.default_rng(seed)

    def __call__(self, states: States) -> Floats:
        """Return log π(·|s), float64 (n, n_actions), −inf where illegal."""
        q = self.plan(states)
        return q - np.logaddexp.reduce(q, axis=1, keepdims=True)

    def log_flow(self, states: States) -> Floats:
        """Return V(s) = logsumexp Q(s,·) after a search, float64 (n,)."""
        return np.logaddexp.reduce(self.plan(states), axis=1)

    def plan(self, states: States) -> Floats:
        """Return Q(s,·) after a search from each state (n, d), float64 (n, n_actions)."""
        self.policy.set_training_mode(False)
        return search(
            self.mdp, self._estimate, states, self.simulations, self.epsilon, self.generator
        )

    def _estimate(self, states: States, mask: Mask) -> np.ndarray[Any, Any]:
        with th.no_grad():
            return self.policy.edge_log_flow(states, mask).cpu().numpy()
