"""A multi-layer perceptron for Bayesian networks, which knows what each edge adds to the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch as th
from torch import nn

from gfn_gym.dag import DAG
from gfn_gym.envs.bayesian_network import BayesianNetwork

from .mlp import MLP


class ScoredEdges(MLP):
    """ "ScoredEdgesPolicy": an MLP over the graph, beside the score that each edge would add.

    Before any training the edge i → j has the value that it adds to the score, and stopping 0:
    each step is drawn as if it were the last one. The layers read these gains beside the graph,
    and what they add starts at 0. So train with ``potential="dag"``: without it values would have
    to learn the score as well.

    Args:
        dag: a Bayesian network whose local scores are all computed up front: 16 columns or fewer,
            or up to 22 with ``max_parents`` or ``workers``. A ``log_prior`` is left to the layers.
        net_arch, activation_fn: as in :class:`MLP`.

    Raises:
        TypeError: the DAG is of another kind.
        ValueError: its local scores are not all known; ``net_arch`` is empty, or holds a width
            below 1.
    """

    table: th.Tensor
    bits: th.Tensor

    def __init__(
        self,
        dag: DAG,
        net_arch: Sequence[int] = (256, 256),
        activation_fn: Callable[[], nn.Module] = nn.ReLU,
    ):
        if not isinstance(dag, BayesianNetwork):
            raise TypeError(
                f"ScoredEdgesPolicy reads Bayesian networks, but {dag!r} is something else: choose "
                "a policy made for it"
            )
        if not dag.local_scores.complete:
            raise ValueError(
                f"ScoredEdgesPolicy reads every local score of {dag!r}, which are too many to be "
                "computed up front: set max_parents, or choose MlpPolicy"
            )
        super().__init__(dag, net_arch, activation_fn)
        self.d = dag.d
        scores = th.as_tensor(dag.local_scores.table())
        self.register_buffer("table", scores, persistent=False)
        self.register_buffer("bits", 1 << th.arange(dag.d), persistent=False)
        self.of_gains = nn.Linear(dag.d**2, net_arch[0], bias=False)

    def encode(self, states: th.Tensor) -> EncodedGraphs:  # type: ignore[override]
        """States int64 (n, d²) → what the heads read."""
        gains = self.gains(states)
        squashed = gains.sign() * gains.abs().log1p() / 4  # gains of hundreds are common
        first, rest = self.layers[0], self.layers[1:]
        return EncodedGraphs(rest(first(states) + self.of_gains(squashed)), gains)

    def gains(self, states: th.Tensor) -> th.Tensor:
        """What each edge would add to the score, float32 (n, d²); 0 where that was not computed."""
        graphs = states.view(-1, self.d, self.d)
        child, parent = self.bits, self.bits[:, None]
        before = (graphs * parent).sum(dim=1, keepdim=True)  # parents of each node: (n, 1, d)
        after = before | parent  # (n, d, d)
        gains = self._local(child, after) - self._local(child, before)
        return gains.nan_to_num(0.0).float().flatten(1)

    def _local(self, child: th.Tensor, parents: th.Tensor) -> th.Tensor:
        return self.table[parents | child] - self.table[parents]

    def make_forward_head(self) -> nn.Module:
        return GainHead(self.width, self.n_actions)

    def make_backward_head(self) -> nn.Module:
        return HiddenHead(self.width, self.n_backward_actions)

    def make_value_head(self) -> nn.Module:
        return HiddenHead(self.width, 1)


class EncodedGraphs(NamedTuple):
    """n graphs over d nodes.

    Attributes:
        hidden: (n, width), what the layers make of them.
        gains: (n, d²), what each edge would add to the score.
    """

    hidden: th.Tensor
    gains: th.Tensor


class HiddenHead(nn.Module):
    """Numbers for each graph, 0 at first.

    Args:
        width: of what the layers make of it.
        n: how many numbers.
    """

    def __init__(self, width: int, n: int):
        super().__init__()
        self.linear = nn.Linear(width, n)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)

    def forward(self, encoding: EncodedGraphs) -> th.Tensor:
        """(n graphs, n)."""
        return cast(th.Tensor, self.linear(encoding.hidden))


class GainHead(nn.Module):
    """A number for each edge and for stopping: what the edge gains, and what follows it.

    Args:
        width: of what the layers make of a graph.
        n_actions: d² + 1.
    """

    def __init__(self, width: int, n_actions: int):
        super().__init__()
        self.own, self.value = HiddenHead(width, n_actions), HiddenHead(width, 1)
        self.scale = nn.Parameter(th.ones(()))  # where rewards are annealed, gains are smaller

    def forward(self, encoding: EncodedGraphs) -> th.Tensor:
        """(n, d² + 1); the last one stops."""
        own = cast(th.Tensor, self.own(encoding))
        edges = own[:, :-1] + self.scale * encoding.gains + self.value(encoding)
        return th.cat((edges, own[:, -1:]), dim=1)
