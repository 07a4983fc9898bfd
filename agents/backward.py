"""P_B in training: given by the environment, learnt jointly with the loss, or learnt by TLM.

A component of every algorithm. P_B is a distribution over *edges*: see
:func:`targets.log_backward_of_edges`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule
from torch import nn

from gfn_gym.arguments import number
from gfn_gym.dag import DAG, Actions, Floats, States
from gfn_gym.edges import Edges
from gfn_gym.mdp import MDP, BackwardPolicy

from . import targets
from .networks import BackwardNetwork, frozen_copy, move_towards

if TYPE_CHECKING:
    from .replay.trajectory_buffer import TrajectoryBatch

BACKWARD_LEARNING_RATE = LinearSchedule(1e-3, 0.0, 0.5)
"""TLM's. While P_B moves, V follows; in the second half of the training it stands still."""


@dataclass(slots=True)
class BackwardEdges:
    """What P_B needs of n edges: of the k construction steps among them; a stop has no P_B.

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

    def tensor(array: NDArray[Any]) -> th.Tensor:
        return th.from_numpy(np.ascontiguousarray(array)).to(device)

    return BackwardEdges(
        n=n,
        rows=tensor(rows),
        next_states=tensor(edges.next_states.astype(np.int64)),
        mask=tensor(dag.backward_mask(edges.next_states)),
        group=tensor(dag.backward_group(edges)),
        n_parallel=tensor(dag.n_parallel(edges).astype(np.float32)),
    )


def log_backward(network: BackwardNetwork, edges: BackwardEdges) -> th.Tensor:
    """log P_B of the n edges by a backward network, float32 (n,), with gradients; 0 for stops."""
    log_p = targets.log_policy(network(edges.next_states, edges.mask))
    of_steps = targets.log_backward_of_edges(log_p, edges.group, edges.n_parallel)
    return of_steps.new_zeros(edges.n).index_put((edges.rows,), of_steps)


class GivenBackward:
    """P_B is the environment's, uniform unless it was given another; nothing is learnt.

    What the other two have as well, so that no algorithm asks which of them it has.

    Attributes:
        reward_network: the network by which rewards are computed; None: as they were stored.
    """

    reward_network: BackwardNetwork | None = None

    @property
    def is_learnt(self) -> bool:
        """Whether P_B is learnt along."""
        return self.reward_network is not None

    def policy(self, mdp: MDP) -> BackwardPolicy | None:
        """P_B of the rewards, for evaluation; None: uniform. It is read anew at each call."""
        if self.reward_network is None:
            return mdp.backward_policy
        return NetworkBackwardPolicy(self.reward_network, mdp.dag)

    def log_backward(self, batch: TrajectoryBatch) -> th.Tensor:
        """log P_B of the edges, (n,); with gradients where learnt jointly."""
        if self.reward_network is None:
            return batch.log_backward
        assert batch.backward is not None
        return log_backward(self.reward_network, batch.backward)

    def rewards(self, batch: TrajectoryBatch) -> th.Tensor:
        """The reward of Theorem 1, what a potential adds included, (n,); likewise."""
        return self.log_backward(batch) + batch.log_reward + batch.shaping

    def learn(self, edges: Iterable[BackwardEdges], progress_remaining: float) -> dict[str, float]:
        """Learn from what P_F has just drawn; return what is to be logged."""
        return {}

    def parameter_groups(self) -> list[Sequence[nn.Parameter]]:
        """What the algorithm's own optimizer trains."""
        return []

    def saved(self) -> list[str]:
        """Names of the attributes whose state is saved beside the policy's."""
        return []


class JointBackward(GivenBackward):
    """P_B learnt jointly: the gradient of the algorithm's loss goes into it.

    Args:
        network: the backward network.
    """

    def __init__(self, network: BackwardNetwork):
        self.reward_network = network

    def parameter_groups(self) -> list[Sequence[nn.Parameter]]:
        assert self.reward_network is not None
        return [list(self.reward_network.parameters())]


class TLMBackward(GivenBackward):
    """Trajectory likelihood maximisation: P_B learns what the forward policy does, backwards.

    Paper: Gritsaev, Morozov, Samsonov and Tiapkin, "Optimizing Backward Policies in GFlowNets via
    Trajectory Likelihood Maximization", ICLR 2025, https://arxiv.org/abs/2410.15474. On edges of
    trajectories that P_F has just drawn, P_B takes a gradient step that raises log P_B(edge). The
    rewards of the forward update are those of a slowly moving copy. P_B starts uniform.

    Args:
        network: the backward network, which is made uniform.
        optimizer_class, optimizer_kwargs: torch's.
        learning_rate: a number, or a function of the progress that remains.
        tau: how far the copy moves towards the network after a step, in [0, 1].

    Attributes:
        network: what is trained.
        reward_network: the slowly moving copy, whose P_B is that of the rewards.
        optimizer: the network's.
    """

    def __init__(
        self,
        network: BackwardNetwork,
        optimizer_class: type[th.optim.Optimizer],
        optimizer_kwargs: dict[str, Any],
        learning_rate: float | Schedule,
        tau: float,
    ):
        network.start_uniform()
        self.network, self.tau = network, tau
        self.reward_network: BackwardNetwork = frozen_copy(network)
        self.schedule = FloatSchedule(learning_rate)
        self.optimizer = optimizer_class(network.parameters(), lr=0.0, **optimizer_kwargs)  # type: ignore[call-arg]

    def learn(self, edges: Iterable[BackwardEdges], progress_remaining: float) -> dict[str, float]:
        """Take a step on each part of what P_F has drawn, where it has an edge, and move the copy.

        One step a round, except for the many edges of a long warm-up. Every reward that is
        computed afterwards is by the P_B that has moved.

        Returns:
            ``train/backward_learning_rate``, and ``train/backward_loss``: the mean over the steps
            of −log P_B per edge, before each step. It is not finite where learning has diverged;
            the network is then left as it was.
        """
        rate = self.schedule(progress_remaining)
        losses = [self._step(part, rate) for part in edges if len(part.rows)]
        log = {"train/backward_learning_rate": rate}
        return log | {"train/backward_loss": float(np.mean(losses))} if losses else log

    def _step(self, edges: BackwardEdges, rate: float) -> float:
        self.network.train(True)
        # Of a sum, the first step after a warm-up would be much larger than those that follow.
        loss = -log_backward(self.network, edges).sum() / len(edges.rows)
        if loss.isfinite():
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            with th.no_grad():
                move_towards(self.reward_network, self.network, self.tau)
        self.network.train(False)
        return loss.item()

    def saved(self) -> list[str]:
        return ["backward.reward_network", "backward.optimizer"]


@dataclass(frozen=True)
class NetworkBackwardPolicy:
    """A backward network as a :data:`gfn_gym.mdp.BackwardPolicy`: numpy in, numpy out.

    So that an MDP, exact evaluation and likelihoods take it. It reads the network as it stands at
    each call; for a P_B that stays, give it a copy.
    """

    network: BackwardNetwork
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


def _device_of(network: BackwardNetwork) -> th.device:
    return next((p.device for p in network.parameters()), th.device("cpu"))


def tlm_backward(algorithm: Any) -> GivenBackward:
    """TLM by an algorithm's ``backward_learning_rate`` and ``backward_tau``.

    P_B is given where its policy has no backward network.

    Raises:
        TypeError, ValueError: a bad rate or tau.
    """
    rate = algorithm.backward_learning_rate
    tau = number("backward_tau", algorithm.backward_tau, above=0, most=1)
    if not callable(rate):
        number("backward_learning_rate", rate, least=0)
    policy = algorithm.policy
    if policy.backward_net is None:
        return GivenBackward()
    optimizer = policy.optimizer_class, policy.optimizer_kwargs
    return TLMBackward(policy.backward_net, *optimizer, rate, tau)
