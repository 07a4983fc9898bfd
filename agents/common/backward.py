"""Backward policies as networks: log P_B of edges, learning it, and as evaluation takes it.

A backward network maps states and their backward mask to logits over the backward actions, as a
policy's network does over the forward ones. ``SoftQPolicy.make_backward_net`` makes the one that
suits the states. P_B is a distribution over *edges*: see :func:`targets.log_backward_of_edges`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.edges import Edges

from . import targets
from .networks import QNetwork, move_towards


@dataclass(slots=True)
class BackwardEdges:
    """What P_B needs of n edges: of the k construction steps among them, for a stop is no edge.

    Attributes:
        n: how many edges, stops included.
        rows: int64 (k,), which of the n are construction steps.
        next_states: int64 (k, d), where these lead.
        mask: bool (k, n_backward_actions), what is legal there.
        group: bool (k, n_backward_actions), which of it leads back.
        n_parallel: float32 (k,), how many actions lead from the state to the next.
    """

    n: int
    rows: th.Tensor
    next_states: th.Tensor
    mask: th.Tensor
    group: th.Tensor
    n_parallel: th.Tensor


def backward_edges(
    dag: DAG,
    states: States,
    actions: Actions,
    next_states: States,
    device: th.device | str = "cpu",
) -> BackwardEdges:
    """Derive what P_B needs of the edges from states (n, d) by actions (n,) to states (n, d)."""
    n, stop = len(actions), dag.stop_action
    rows = np.flatnonzero(actions != stop) if stop is not None else np.arange(n)
    edges = Edges(states, actions, next_states)[rows]
    next_states = edges.next_states

    def tensor(array: NDArray[Any]) -> th.Tensor:
        return th.from_numpy(np.ascontiguousarray(array)).to(device)

    return BackwardEdges(
        n=n,
        rows=tensor(rows),
        next_states=tensor(next_states.astype(np.int64)),
        mask=tensor(dag.backward_mask(next_states)),
        group=tensor(dag.backward_group(edges)),
        n_parallel=tensor(dag.n_parallel(edges).astype(np.float32)),
    )


def log_backward(network: QNetwork, edges: BackwardEdges) -> th.Tensor:
    """log P_B of the n edges by a backward network, float32 (n,), with gradients; 0 for stops."""
    log_p = targets.log_policy(network(edges.next_states, edges.mask))
    of_steps = targets.log_backward_of_edges(log_p, edges.group, edges.n_parallel)
    return of_steps.new_zeros(edges.n).index_put((edges.rows,), of_steps)


class BackwardLearner:
    """Trajectory likelihood maximisation: P_B learns what the forward policy does, backwards.

    Paper: Gritsaev, Morozov, Samsonov and Tiapkin, "Optimizing Backward Policies in GFlowNets via
    Trajectory Likelihood Maximization", ICLR 2025, https://arxiv.org/abs/2410.15474. On edges of
    trajectories that P_F has just drawn, P_B takes a gradient step that raises log P_B(edge). The
    rewards of the forward update are those of a slowly moving copy. P_B starts uniform.

    Args:
        network: the backward network; the weights of its last linear layer are set to 0, so that
            all its logits are equal.
        optimizer_class, optimizer_kwargs: torch's.
        tau: how far the copy moves towards the network after a step, in [0, 1].

    Attributes:
        copy: the slowly moving copy, whose P_B is that of the rewards; without gradients.
        optimizer: the network's.
    """

    def __init__(
        self,
        network: QNetwork,
        optimizer_class: type[th.optim.Optimizer],
        optimizer_kwargs: dict[str, Any],
        tau: float,
    ):
        self.network, self.tau = network, tau
        _start_uniform(network)
        self.copy = copy.deepcopy(network).requires_grad_(False).train(False)
        self.optimizer = optimizer_class(network.parameters(), lr=0.0, **optimizer_kwargs)  # type: ignore[call-arg]

    def learn(self, edges: BackwardEdges, learning_rate: float) -> float:
        """Take a step on fresh edges, at least one of them no stop, and move the copy.

        Returns:
            The loss before the step: the mean of −log P_B over the edges that are no stops. It is
            not finite where learning has diverged; then nothing is changed.
        """
        self.network.train(True)
        # Of a sum, the first step after a warm-up would be much larger than those that follow.
        loss = -log_backward(self.network, edges).sum() / len(edges.rows)
        if loss.isfinite():
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            with th.no_grad():
                move_towards(self.copy, self.network, self.tau)
        self.network.train(False)
        return loss.item()


def _start_uniform(network: QNetwork) -> None:
    """Let a network's last linear layer, which makes its logits, say 0 to everything."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for parameter in layers[-1].parameters() if layers else ():
        nn.init.zeros_(parameter)


@dataclass(frozen=True)
class NetworkBackwardPolicy:
    """A backward network as a :data:`gfn_gym.mdp.BackwardPolicy`: numpy in, numpy out.

    So that an MDP, exact evaluation and likelihoods take it. It reads the network as it stands at
    each call; for a P_B that stays, give it a copy.
    """

    network: QNetwork
    dag: DAG

    def __call__(self, states: States) -> Floats:
        """log p_B, float64 (n, n_backward_actions); −inf where illegal, all of it in s0."""
        mask = self.dag.backward_mask(states)
        log_p = np.full(mask.shape, -np.inf)
        rows = np.flatnonzero(mask.any(axis=1))  # a softmax of nothing is NaN
        training, device = self.network.training, _device_of(self.network)
        self.network.train(False)
        with th.no_grad():
            logits = self.network(
                th.from_numpy(states[rows].astype(np.int64)).to(device),
                th.from_numpy(np.ascontiguousarray(mask[rows])).to(device),
            )
            log_p[rows] = targets.log_policy(logits.double()).cpu().numpy()
        self.network.train(training)
        return log_p


def _device_of(network: QNetwork) -> th.device:
    return next((p.device for p in network.parameters()), th.device("cpu"))
