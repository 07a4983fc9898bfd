"""The roles that algorithms need, each made of an architecture and its heads.

All take states int64 (n, d) and the mask of their legal actions, bool (n, n_actions).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch as th
from torch import nn

from . import targets
from .architectures.base import ActionValues, Architecture, numbers_of

Module = TypeVar("Module", bound=nn.Module)
MakeArchitecture = Callable[[], Architecture]


class ActingNetwork(nn.Module, ABC):
    """What a policy acts by and evaluation reads: logits of π = softmax(·/λ), and log F.

    Attributes:
        temperature: λ.
    """

    temperature: float

    @abstractmethod
    def logits(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """What π is the softmax(·/λ) of, float32 (n, n_actions), −inf where illegal."""

    @abstractmethod
    def log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """V(s), the learnt log F(s), float64 (n,)."""

    @abstractmethod
    def edge_log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """V(s) + log π(·|s), the learnt log F of the edges out of states, (n, n_actions)."""

    @abstractmethod
    def log_policy_of(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """log π(a|s) of legal actions int64 (n,), (n,)."""

    @property
    def critic(self) -> QNetwork | TwinQNetwork:
        """The part that gives Q, for a target network to follow."""
        raise TypeError(f"{type(self).__name__} has no Q for a target network to follow")

    def parameter_groups(self) -> list[Sequence[nn.Parameter]]:
        """What an optimizer may give rates of their own."""
        return [list(self.parameters())]


class QNetwork(ActingNetwork):
    """Q(s,·), by one architecture; π = softmax(Q/λ).

    For losses that balance flows, Q is log F(s) + log P_F(a|s), of which the dueling head makes
    the two parts; or, without one and up to a constant, log P_F alone.

    Args:
        architecture: gets a forward head and, where dueling, a value head.
        dueling: see :func:`targets.dueling`.
        temperature: λ.
    """

    def __init__(self, architecture: Architecture, dueling: bool = False, temperature: float = 1.0):
        super().__init__()
        self.architecture, self.temperature = architecture, temperature
        self.head = architecture.make_forward_head()
        self.value_head = architecture.make_value_head() if dueling else None

    @property
    def critic(self) -> QNetwork:
        return self

    def forward(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """Q(s,·), float32 (n, n_actions), −inf where illegal."""
        return self.values(states, mask).dense()

    def values(self, states: th.Tensor, mask: th.Tensor) -> ActionValues:
        """The same in the form in which the architecture has it."""
        encoding = self.architecture.encode(states)
        values = self.architecture.action_values(self.head, encoding, mask)
        if self.value_head is None:
            return values
        return values.with_value(
            numbers_of(self.value_head, encoding, (len(states), 1)).squeeze(1), self.temperature
        )

    def of_actions(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Q(s, a) of legal actions int64 (n,), (n,); less work where the rest is not needed."""
        if self.value_head is not None:
            return self.values(states, mask).of_actions(actions)
        return self.architecture.values_of_actions(self.head, states, mask, actions)

    def soft_value(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """V(s) = λ·logsumexp(Q(s,·)/λ), (n,); arbitrary where nothing is legal."""
        if self.value_head is not None:
            encoding = self.architecture.encode(states)
            return numbers_of(self.value_head, encoding, (len(states), 1)).squeeze(1)
        return self.values(states, mask).soft_value(self.temperature)

    def scaled_log_policy(
        self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor
    ) -> th.Tensor:
        """λ·log π(a|s) = Q(s, a) − V(s) of legal actions int64 (n,), (n,)."""
        values = self.values(states, mask)
        return values.of_actions(actions) - values.soft_value(self.temperature)

    def flow_and_forward(
        self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """log F(s) and log P_F(a|s) of legal actions int64 (n,), each (n,), where λ = 1."""
        values = self.values(states, mask)
        log_flow = values.soft_value(1.0)
        return log_flow, values.of_actions(actions) - log_flow

    def logits(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return self(states, mask)

    def log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return targets.soft_value(self(states, mask).double(), self.temperature)

    def edge_log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return targets.edge_log_flow(self(states, mask), self.temperature)

    def log_policy_of(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.scaled_log_policy(states, mask, actions) / self.temperature


class TwinQNetwork(nn.Module):
    """Two networks that learn the same; their minimum stands for both (arXiv:1802.09477)."""

    def __init__(self, first: QNetwork, second: QNetwork):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """The smaller of the two Q(s,·), (n, n_actions)."""
        return th.minimum(self.first(states, mask), self.second(states, mask))

    def each_of_actions(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Both networks' Q(s, a) of legal actions int64 (n,), (2, n)."""
        pair = (self.first, self.second)
        return th.stack([network.of_actions(states, mask, actions) for network in pair])

    def of_actions(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """The smaller of the two, (n,)."""
        return self.each_of_actions(states, mask, actions).amin(dim=0)


class ActorCritics(ActingNetwork):
    """An actor, whose logits are π's, beside twin critics; λ = 1. For soft actor-critic.

    Args:
        make: makes an architecture; called three times.
        dueling: of the critics.
    """

    temperature = 1.0

    def __init__(self, make: MakeArchitecture, dueling: bool = False):
        super().__init__()
        self.actor = QNetwork(make())
        self.critics = TwinQNetwork(QNetwork(make(), dueling), QNetwork(make(), dueling))

    @property
    def critic(self) -> TwinQNetwork:
        return self.critics

    def parameter_groups(self) -> list[Sequence[nn.Parameter]]:
        """The actor's, then the critics'."""
        return [list(self.actor.parameters()), list(self.critics.parameters())]

    def logits(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return cast(th.Tensor, self.actor(states, mask))

    def log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """V(s) = E_{a~π}[min Q(s,a) − log π(a|s)], float64 (n,)."""
        logits, q = self.actor(states, mask).double(), self.critics(states, mask).double()
        return targets.double_soft_value(logits, q)

    def edge_log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        logits, q = self.actor(states, mask), self.critics(states, mask)
        value = targets.double_soft_value(logits, q)
        return value[:, None] + targets.log_policy(logits)

    def log_policy_of(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.actor.log_policy_of(states, mask, actions)


class ActorValue(ActingNetwork):
    """An actor, whose logits are π's, beside a network for V; λ = 1. For policy gradients.

    Args:
        make: makes an architecture; called twice.
    """

    temperature = 1.0

    def __init__(self, make: MakeArchitecture):
        super().__init__()
        self.actor, self.value = QNetwork(make()), ValueNetwork(make())

    def parameter_groups(self) -> list[Sequence[nn.Parameter]]:
        """The actor's, then the value's."""
        return [list(self.actor.parameters()), list(self.value.parameters())]

    def logits(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return cast(th.Tensor, self.actor(states, mask))

    def log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return cast(th.Tensor, self.value(states).double())

    def edge_log_flow(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        return targets.dueling(self.value(states), self.actor(states, mask))

    def log_policy_of(self, states: th.Tensor, mask: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.actor.log_policy_of(states, mask, actions)


class ValueNetwork(nn.Module):
    """V(s), by an architecture that gets a value head."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture, self.head = architecture, architecture.make_value_head()

    def forward(self, states: th.Tensor) -> th.Tensor:
        """States int64 (n, d) → (n,)."""
        encoding = self.architecture.encode(states)
        return numbers_of(self.head, encoding, (len(states), 1)).squeeze(1)


class BackwardNetwork(nn.Module):
    """Logits of a backward policy, by an architecture that gets a backward head."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture, self.head = architecture, architecture.make_backward_head()

    def forward(self, states: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """Float32 (n, n_backward_actions), −inf where illegal by the backward mask."""
        logits = numbers_of(self.head, self.architecture.encode(states), mask.shape)
        return logits.masked_fill(~mask, -th.inf)

    def start_uniform(self) -> None:
        """Give all actions the same logit: the last linear layer of the head says 0.

        A head without one, as a user's own may be, starts as it is.
        """
        layers = [module for module in self.head.modules() if isinstance(module, nn.Linear)]
        for parameter in layers[-1].parameters() if layers else ():
            nn.init.zeros_(parameter)


def frozen_copy(network: Module) -> Module:
    """A copy that is not trained and always evaluates."""
    return copy.deepcopy(network).requires_grad_(False).train(False)


def move_towards(follower: Any, leader: Any, share: float) -> None:
    """Move a network's parameters a share of the way to another's; call it without gradients.

    Buffers, such as the running statistics of a batch normalization, are copied.
    """
    th._foreach_lerp_(list(follower.parameters()), list(leader.parameters()), share)
    buffers = list(leader.buffers())
    if buffers:
        th._foreach_copy_(list(follower.buffers()), buffers)
