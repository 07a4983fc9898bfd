"""What reads a state: the contract of an architecture, and the values that its heads give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch as th
from torch import nn

from gfn_gym.dag import DAG

from .. import targets


class Architecture(nn.Module, ABC):
    """Encodes states, and has heads for forward actions, backward actions and a value.

    A subclass takes the DAG and settings of its own, each with a default, and writes the four
    methods below; then every algorithm trains with it, P_B included:
    ``SoftDQN(MyArchitecture, env, policy_kwargs={"width": 64})``. A network in the service of an
    algorithm has only the heads that it needs. Masks are not its concern: what an illegal action
    gets is overwritten.

    Args:
        dag: whose states it reads; do not keep it, for it would be copied with the network.

    Attributes:
        n_actions, n_backward_actions: the DAG's.
    """

    def __init__(self, dag: DAG):
        super().__init__()
        self.n_actions, self.n_backward_actions = dag.n_actions, dag.n_backward_actions

    @abstractmethod
    def encode(self, states: th.Tensor) -> Any:
        """Return what the heads read, of states int64 (n, d); (n, width), for example."""

    @abstractmethod
    def make_forward_head(self) -> nn.Module:
        """Return a module: what :meth:`encode` gave → one number per action, (n, n_actions)."""

    @abstractmethod
    def make_backward_head(self) -> nn.Module:
        """Return a module: the same → (n, n_backward_actions)."""

    @abstractmethod
    def make_value_head(self) -> nn.Module:
        """Return a module: the same → one number per state, (n, 1)."""

    def at_progress(self, progress: float) -> None:
        """Hear what share of the training is done, in [0, 1], before each round of updates."""

    # ---- for architectures that can do with less work -----------------------------------------

    def action_values(self, head: nn.Module, encoding: Any, mask: th.Tensor) -> ActionValues:
        """What the forward head says of the actions that are legal by the mask (n, n_actions)."""
        return DenseValues(numbers_of(head, encoding, mask.shape).masked_fill(~mask, -th.inf))

    def values_of_actions(
        self, head: nn.Module, states: th.Tensor, mask: th.Tensor, actions: th.Tensor
    ) -> th.Tensor:
        """What the forward head says of the legal actions int64 (n,) only, (n,)."""
        return self.action_values(head, self.encode(states), mask).of_actions(actions)


def numbers_of(head: nn.Module, encoding: Any, shape: Sequence[int]) -> th.Tensor:
    """What a head says of an encoding.

    Raises:
        ValueError: it is of another shape, which might be broadcast in silence.
    """
    numbers = cast(th.Tensor, head(encoding))
    if numbers.shape != tuple(shape):
        raise ValueError(
            f"the head {type(head).__name__} gave numbers of shape {tuple(numbers.shape)} where "
            f"{tuple(shape)} was due: see gfn_gym.agents.Architecture"
        )
    return numbers


class ActionValues(Protocol):
    """One number for each legal action of n states."""

    def dense(self) -> th.Tensor:
        """All of them, −inf where illegal, (n, n_actions)."""

    def of_actions(self, actions: th.Tensor) -> th.Tensor:
        """Those of legal actions int64 (n,), (n,)."""

    def soft_value(self, temperature: float) -> th.Tensor:
        """λ·logsumexp(·/λ), (n,); see :func:`targets.soft_value`."""

    def with_value(self, value: th.Tensor, temperature: float) -> ActionValues:
        """The same softmax, shifted so that the soft value is ``value`` (n,)."""


class DenseValues:
    """The values as a matrix (n, n_actions), −inf where illegal."""

    def __init__(self, values: th.Tensor):
        self.values = values

    def dense(self) -> th.Tensor:
        return self.values

    def of_actions(self, actions: th.Tensor) -> th.Tensor:
        return self.values.gather(1, actions[:, None]).squeeze(1)

    def soft_value(self, temperature: float) -> th.Tensor:
        return targets.soft_value(self.values, temperature)

    def with_value(self, value: th.Tensor, temperature: float) -> DenseValues:
        return DenseValues(targets.dueling(value, self.values, temperature))
