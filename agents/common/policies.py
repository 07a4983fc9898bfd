"""Policies that act by softmax(Q/λ) over the legal actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.mdp import sample_from_log_probs
from gfn_gym.observation import Observer

from . import targets
from .networks import MlpQNetwork, QNetwork


class SoftQPolicy(BasePolicy):
    """An action-value network, its slowly moving copy, and the policy softmax(Q/λ).

    Agents that balance flows use the same: there Q is log F(s) + log P_F(a|s), of which the
    dueling head makes the two parts, or up to a constant log P_F alone.

    A subclass gives the network (:meth:`make_q_net`), and that of a learnt P_B where an MLP will
    not do (:meth:`make_backward_net`). Masks are derived from states, so no call needs one: an
    illegal action has probability zero.

    Args:
        observation_space, action_space: the environment's.
        lr_schedule: the learning rate as a function of the progress that remains.
        dag: the DAG, which is saved with the policy.
        observation: the form of the observations, see :class:`gfn_gym.observation.Observer`.
        dueling: see :func:`targets.dueling`.
        temperature: λ.
        target: keep the slowly moving copy, ``q_net_target``.
        averaged: keep an average of the online network's weights, and predict with that.
        learnt_log_z: log Z is a number of its own, ``log_z``, and Q tells no flow.
        learnt_backward: make a network of P_B too, ``backward_net``; it is the algorithm that
            trains it.
        optimizer_class, optimizer_kwargs: torch's; Adam with the fused kernel by default.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        *,
        dag: DAG,
        observation: str = "onehot",
        dueling: bool = False,
        temperature: float = 1.0,
        target: bool = True,
        averaged: bool = False,
        learnt_log_z: bool = False,
        learnt_backward: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **network_kwargs: Any,
    ):
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is th.optim.Adam else {}
        super().__init__(
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.dag = dag
        self.observer = Observer(dag, observation)
        self.dueling, self.temperature = dueling, temperature
        self.network_kwargs = network_kwargs
        self.generator = np.random.default_rng()
        self.q_net = self.make_q_net(**network_kwargs)
        if target:
            self.q_net_target = self._frozen_copy()
        self.q_net_average = self._frozen_copy() if averaged else None
        self.log_z = nn.Parameter(th.zeros(1)) if learnt_log_z else None
        self.backward_net = self.make_backward_net(**network_kwargs) if learnt_backward else None
        self.optimizer = optimizer_class(
            self.q_net.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **optimizer_kwargs,
        )

    def make_q_net(self, **network_kwargs: Any) -> QNetwork:
        """Return a network: states int64 (n, d), mask bool (n, n_actions) → Q (n, n_actions)."""
        raise NotImplementedError(f"{type(self).__name__} must define make_q_net")

    def make_backward_net(self, **network_kwargs: Any) -> QNetwork:
        """Return a network of P_B: states int64 (n, d) and their backward mask, bool
        (n, n_backward_actions) → logits (n, n_backward_actions), −inf where illegal.

        An MLP of two layers unless a subclass says otherwise.
        """
        return MlpQNetwork(self.dag, (256, 256), n_actions=self.dag.n_backward_actions)

    def _frozen_copy(self) -> QNetwork:
        network = self.make_q_net(**self.network_kwargs)
        network.load_state_dict(self.q_net.state_dict())
        network.requires_grad_(False)
        return network.train(False)

    # ---- acting -------------------------------------------------------------------------------

    def logits(self, states: States, mask: Mask | None = None, learnt: bool = True) -> th.Tensor:
        """What π = softmax(logits/λ) is of, as :meth:`q_values` gives it: here Q itself."""
        return self.q_values(states, mask, learnt)

    def q_values(self, states: States, mask: Mask | None = None, learnt: bool = True) -> th.Tensor:
        """Q(s,·), float32 (n, n_actions), −inf where illegal.

        ``learnt``: by the network to predict with, the averaged one if there is one; else by the
        online network, which acts while training.
        """
        return self._outputs(self._learnt_net if learnt else self.q_net, states, mask)

    def _outputs(self, network: QNetwork, states: States, mask: Mask | None) -> th.Tensor:
        """What a network makes of states (n, d); None: the mask is derived."""
        if mask is None:
            mask = self.dag.action_mask(states)
        return cast(th.Tensor, network(self.to_tensor(states), self.to_tensor(mask)))

    @property
    def _learnt_net(self) -> QNetwork:
        return self.q_net if self.q_net_average is None else self.q_net_average

    @property
    def _acting_net(self) -> QNetwork:
        """The network whose outputs are the logits of the policy to predict with."""
        return self._learnt_net

    def edge_log_flow(
        self, states: States, mask: Mask | None = None, learnt: bool = True
    ) -> th.Tensor:
        """V(s) + log π(·|s), the learnt log F of the edges out of states, (n, n_actions)."""
        return targets.edge_log_flow(self.q_values(states, mask, learnt), self.temperature)

    def act(self, logits: NDArray[Any], deterministic: bool = False) -> Actions:
        """Choose an action a row of logits (n, n_actions): drawn from softmax(·/λ), or its mode."""
        if deterministic:
            return np.argmax(logits, axis=1)
        return sample_from_log_probs(logits / self.temperature, self.generator)

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        states = self.observer.states_of(observation.cpu().numpy())
        actions = self.act(self.logits(states).cpu().numpy(), deterministic)
        return th.as_tensor(actions, device=self.device)

    # ---- evaluation ---------------------------------------------------------------------------

    def log_probs(self, states: States) -> Floats:
        """log π(·|s), float64 (n, n_actions): the policy as :mod:`gfn_gym.evaluation` takes it."""
        self.set_training_mode(False)
        self._check_states(states)
        with th.no_grad():
            logits = self.logits(states).double()
            return targets.log_policy(logits, self.temperature).cpu().numpy()

    def log_probs_of_actions(self, states: States, actions: Actions) -> Floats:
        """log π(a|s) of the actions (n,) only, float64 (n,)."""
        self.set_training_mode(False)
        with th.no_grad():
            network, mask = self._acting_net, self.to_tensor(self.dag.action_mask(states))
            tensors = self.to_tensor(states), mask, self.to_tensor(actions)
            log_probs = network.scaled_log_policy(*tensors, self.temperature) / self.temperature
            return log_probs.double().cpu().numpy()

    def log_flow(self, states: States) -> Floats:
        """V(s), the learnt log F(s), float64 (n,); V(s0) is the learnt log Z.

        Raises:
            ValueError: log Z is a number of its own, and a state is not s0.
        """
        self.set_training_mode(False)
        self._check_states(states)
        if self.log_z is not None:
            if (states != self.dag.initial_states(1)).any():
                raise ValueError("no flows are learnt but that of s0, log Z")
            return np.full(len(states), self.log_z.item())
        with th.no_grad():
            return (
                targets.soft_value(self.q_values(states).double(), self.temperature).cpu().numpy()
            )

    def _check_states(self, states: States) -> None:
        space = self.dag.state_space
        if isinstance(space, spaces.MultiDiscrete) and len(states):
            width, largest = len(space.nvec), states.max(axis=0)
            if states.shape[1] != width or (largest >= space.nvec).any():
                raise ValueError(
                    f"the model was trained on {self.dag!r}, but is asked about states of width "
                    f"{states.shape[1]} with values up to {largest.tolist()}: another DAG's"
                )

    # ---- housekeeping -------------------------------------------------------------------------

    def to_tensor(self, array: NDArray[Any]) -> th.Tensor:
        """An array as a tensor on the policy's device; integers become int64, to index with."""
        if np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.int64)
        return th.from_numpy(array).to(self.device)

    def set_training_mode(self, mode: bool) -> None:
        if self.training != mode:
            self.q_net.train(mode)  # its copies always evaluate
            if self.backward_net is not None:
                self.backward_net.train(mode)
            self.training = mode

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,  # a saved policy only acts
            "dag": self.dag,
            "observation": self.observer.name,
            "dueling": self.dueling,
            "temperature": self.temperature,
            "target": hasattr(self, "q_net_target"),
            "averaged": self.q_net_average is not None,
            "learnt_log_z": self.log_z is not None,
            "learnt_backward": self.backward_net is not None,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            **self.network_kwargs,
        }


class MlpPolicy(SoftQPolicy):
    """An MLP over the one-hot state; ``policy_kwargs`` takes ``net_arch`` and ``activation_fn``."""

    def make_q_net(
        self,
        net_arch: Sequence[int] = (256, 256),
        activation_fn: Callable[[], nn.Module] = nn.ReLU,
        **network_kwargs: Any,
    ) -> QNetwork:
        if network_kwargs:
            raise TypeError(f"MlpPolicy has no policy_kwargs named {sorted(network_kwargs)}")
        return MlpQNetwork(self.dag, net_arch, activation_fn, self.dueling, self.temperature)

    def make_backward_net(
        self,
        net_arch: Sequence[int] = (256, 256),
        activation_fn: Callable[[], nn.Module] = nn.ReLU,
        **network_kwargs: Any,
    ) -> QNetwork:
        n_actions = self.dag.n_backward_actions
        return MlpQNetwork(self.dag, net_arch, activation_fn, n_actions=n_actions)
