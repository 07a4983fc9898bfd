"""GFNPolicy: an architecture in the roles that an algorithm needs, as an SB3 policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from gfn_gym.dag import DAG, Actions, Floats, Mask, States
from gfn_gym.mdp import MDP, sample_from_log_probs
from gfn_gym.observation import Observer

from . import targets
from .architectures import Architecture
from .networks import (
    ActingNetwork,
    ActorCritics,
    ActorValue,
    BackwardNetwork,
    MakeArchitecture,
    QNetwork,
    frozen_copy,
)
from .training.saving import read_policy, write_policy

Self = TypeVar("Self", bound="GFNPolicy")


@dataclass(frozen=True)
class Roles:
    """What an algorithm needs of a policy.

    Attributes:
        online: what acts and is trained: "q", "actor_critics" or "actor_value", see
            :mod:`gfn_gym.agents.networks`.
        dueling, temperature: of Q.
        target: keep a slowly moving copy of what gives Q.
        average: keep an average of the online network's weights, and predict with that.
        log_z: log Z is a number of its own, and Q tells no flow.
        backward: there is a network of P_B.
    """

    online: str = "q"
    dueling: bool = False
    temperature: float = 1.0
    target: bool = False
    average: bool = False
    log_z: bool = False
    backward: bool = False

    def make_online(self, make: MakeArchitecture) -> ActingNetwork:
        """Return the online network."""
        if self.online == "actor_critics":
            return ActorCritics(make, self.dueling)
        if self.online == "actor_value":
            return ActorValue(make)
        return QNetwork(make(), self.dueling, self.temperature)


class GFNPolicy(BasePolicy):
    """Acts by softmax(logits/λ) over the legal actions.

    Masks are derived from states, so no call needs one: an illegal action has probability zero.

    Args:
        observation_space, action_space: the environment's.
        lr_schedule: the learning rate as a function of the progress that remains.
        dag: the DAG, which is saved with the policy.
        architecture: what reads the states; each network has one of its own.
        roles: which networks there are.
        shaped: a decision process with a potential, which values are shifted by; None: none.
        observation: the form of the observations, see :class:`gfn_gym.observation.Observer`.
        optimizer_class, optimizer_kwargs: torch's; Adam with the fused kernel by default.
        architecture_kwargs: settings of the architecture, by name.

    Attributes:
        online: what acts while training, and is trained.
        target: the slowly moving copy of the part of it that gives Q, or None.
        average: the averaged copy of it, or None.
        backward_net: the network of P_B, or None; it is the algorithm that trains it.
        log_z: log Z as a parameter of its own, (1,), or None.
        reward_exponent: e, where what is learnt is R^e for the moment.
        generator: draws the actions.
    """

    target: Any
    optimizer: th.optim.Optimizer

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        *,
        dag: DAG,
        architecture: Callable[..., Architecture],
        roles: Roles,
        shaped: MDP | None = None,
        reward_exponent: float = 1.0,
        observation: str = "onehot",
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        architecture_kwargs: dict[str, Any] | None = None,
    ):
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is th.optim.Adam else {}
        super().__init__(
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.dag, self.roles, self.shaped = dag, roles, shaped
        self.reward_exponent = reward_exponent
        self.observer = Observer(dag, observation)
        self.architecture, self.architecture_kwargs = architecture, architecture_kwargs or {}
        _check_settings(architecture, self.architecture_kwargs)
        self.generator = np.random.default_rng()
        self.online = roles.make_online(self._make_architecture)
        self.target = frozen_copy(self.online.critic) if roles.target else None
        self.average = frozen_copy(self.online) if roles.average else None
        self.log_z = nn.Parameter(th.zeros(1)) if roles.log_z else None
        self.backward_net = BackwardNetwork(self._make_architecture()) if roles.backward else None
        groups = [{"params": group} for group in self.online.parameter_groups()]
        self.optimizer = optimizer_class(groups, lr=lr_schedule(1), **optimizer_kwargs)  # type: ignore[call-arg]

    def _make_architecture(self) -> Architecture:
        return self.architecture(self.dag, **self.architecture_kwargs)

    @property
    def predicting(self) -> ActingNetwork:
        """The network to predict and evaluate with: the average if there is one, else online."""
        return self.online if self.average is None else self.average

    # ---- acting -------------------------------------------------------------------------------

    def act(self, logits: NDArray[Any], deterministic: bool = False) -> Actions:
        """Choose an action a row of logits (n, n_actions): drawn from softmax(·/λ), or its mode."""
        if deterministic:
            return np.argmax(logits, axis=1)
        return sample_from_log_probs(logits / self.roles.temperature, self.generator)

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        states = self._states_of(observation.cpu().numpy())
        logits = self.predicting.logits(*self.tensors(states))
        return th.as_tensor(self.act(logits.cpu().numpy(), deterministic), device=self.device)

    def _states_of(self, observations: NDArray[Any]) -> States:
        """The states (n, d) of observations (n, …), which must be what those states show."""
        states = self.observer.states_of(observations)
        same = self.observer.observe(states) == observations
        shown = same.reshape(len(states), -1).all(axis=1)
        if not shown.all():
            row = int(np.argmin(shown))
            raise ValueError(
                f"observation {row} of {len(states)} is not one of {self.dag!r} as "
                f"{self.observer.name!r}: {observations[row].tolist()}"
            )
        return states

    # ---- evaluation ---------------------------------------------------------------------------

    def log_probs(self, states: States) -> Floats:
        """log π(·|s), float64 (n, n_actions): the policy as :mod:`gfn_gym.evaluation` takes it."""
        self.set_training_mode(False)
        self._check_states(states)
        with th.no_grad():
            logits = self.predicting.logits(*self.tensors(states)).double()
            return targets.log_policy(logits, self.roles.temperature).cpu().numpy()

    def log_probs_of_actions(self, states: States, actions: Actions) -> Floats:
        """log π(a|s) of the actions (n,) only, float64 (n,)."""
        self.set_training_mode(False)
        with th.no_grad():
            network, actions_tensor = self.predicting, self.to_tensor(actions)
            log_probs = network.log_policy_of(*self.tensors(states), actions_tensor)
            return log_probs.double().cpu().numpy()

    def log_flow(self, states: States) -> Floats:
        """The learnt log F(s), float64 (n,): V(s), shifted back under a potential. s0's is log Z.

        Raises:
            ValueError: log Z is a number of its own, and a state is not s0.
        """
        self.set_training_mode(False)
        self._check_states(states)
        if self.log_z is not None:
            if (states != self.dag.initial_states(1)).any():
                raise ValueError("only the flow of s0 is learnt, log Z; not those of other states")
            return np.full(len(states), self.log_z.item())
        with th.no_grad():
            value = self.predicting.log_flow(*self.tensors(states)).cpu().numpy()
        return value + self.shift(states)

    def edge_log_flow(self, states: States, mask: Mask | None = None) -> th.Tensor:
        """The learnt log F of the edges out of states, (n, n_actions): log F(s) + log π(·|s)."""
        return self.edge_log_flow_by(self.predicting, states, mask)

    def edge_log_flow_by(
        self, network: ActingNetwork, states: States, mask: Mask | None = None
    ) -> th.Tensor:
        """The same by another network of these values, such as the target network."""
        flow = network.edge_log_flow(*self.tensors(states, mask))
        if self.shaped is None:
            return flow
        return flow + self.to_tensor(self.shift(states)).to(flow.dtype)[:, None]

    def shift(self, states: States) -> Floats:
        """What learnt values lack of log F under a potential: e·Φ(s), float64 (n,)."""
        if self.shaped is None:
            return np.zeros(len(states))
        return self.reward_exponent * self.shaped.potential_of(states)

    def _check_states(self, states: States) -> None:
        space = self.dag.state_space
        if isinstance(space, spaces.MultiDiscrete) and len(states):
            width, largest = len(space.nvec), states.max(axis=0)
            if states.shape[1] != width or (largest >= space.nvec).any():
                raise ValueError(
                    f"the model was made for {self.dag!r}, but is asked about states of width "
                    f"{states.shape[1]} with values up to {largest.tolist()}: another DAG's"
                )

    # ---- housekeeping -------------------------------------------------------------------------

    def tensors(self, states: States, mask: Mask | None = None) -> tuple[th.Tensor, th.Tensor]:
        """States (n, d) and their mask, which is derived unless given, as networks take them."""
        mask = self.dag.action_mask(states) if mask is None else mask
        return self.to_tensor(states), self.to_tensor(mask)

    def to_tensor(self, array: NDArray[Any]) -> th.Tensor:
        """An array as a tensor on the policy's device; integers become int64, to index with."""
        if np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.int64)
        return th.from_numpy(array).to(self.device)

    def at_progress(self, progress: float) -> None:
        """Tell every architecture what share of the training is done."""
        for module in self.modules():
            if isinstance(module, Architecture):
                module.at_progress(progress)

    def set_training_mode(self, mode: bool) -> None:
        if self.training != mode:
            self.online.train(mode)  # its copies always evaluate
            if self.backward_net is not None:
                self.backward_net.train(mode)
            self.training = mode

    def save(self, path: Any) -> None:
        """As in SB3, as data; see :meth:`gfn_gym.agents.GFNAlgorithm.save`."""
        write_policy(self, path)

    @classmethod
    def load(
        cls: type[Self], path: Any, device: th.device | str = "auto", *, trusted: bool = False
    ) -> Self:
        """As in SB3; nothing in the file is run, unless it is trusted.

        Raises:
            ValueError: the file is damaged, or holds code and is not trusted.
        """
        return read_policy(cls, path, device, trusted)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,  # a saved policy only acts
            "dag": self.dag,
            "architecture": self.architecture,
            "roles": self.roles,
            "shaped": self.shaped,
            "reward_exponent": self.reward_exponent,
            "observation": self.observer.name,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            "architecture_kwargs": self.architecture_kwargs,
        }


def _check_settings(architecture: Callable[..., Architecture], settings: dict[str, Any]) -> None:
    """Raise a TypeError that names settings which an architecture does not take."""
    taken = inspect.signature(architecture).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    unknown = sorted(settings.keys() - taken.keys())
    if unknown:
        known = [name for name in taken if name != "dag"]
        name = getattr(architecture, "__name__", repr(architecture))
        raise TypeError(
            f"policy_kwargs has {unknown}, which {name} does not take; it takes {known}, "
            "optimizer_class and optimizer_kwargs"
        )
