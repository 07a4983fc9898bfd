"""A mixture of product distributions over positions that are filled with words in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch as th
from torch import nn
from torch.nn import functional as F

from gfn_gym.arguments import number, unit, whole
from gfn_gym.dag import DAG

from .. import targets
from .base import Architecture
from .transformer import positions_and_words


class Mixture(Architecture):
    """ "MixturePolicy": K experts, each a distribution of its own over the words of each position.

    P_F fills a uniformly drawn empty position p with word w with probability Σ_j γ_j(s)·θ_j[p, w],
    where γ_j(s) ∝ w_j·Π θ_j[i, s_i] over the positions i that are filled: the conditional
    distribution of the mixture Σ_j w_j·Π_i θ_j[i, x_i], whatever the order of filling. A target
    that is such a mixture, as R/Z of bit sequences nearly is with an expert for each mode, is
    represented exactly, and what is learnt of a word at a position holds in every state. Words
    have a common embedding: θ_j[p] = softmax(C_jp·E) with E of a small rank. The experts' weights
    w are equal until ``prior_after`` of the training: learnt from the start, they give everything
    to the expert that was right first.

    The value is one of :class:`FlowHead`; forward values are log P_F up to a constant plus such a
    number. A backward action's is one number a position, so that a learnt P_B is one order of
    preference.

    Args:
        dag: its states are d positions with W words or empty, as :class:`Transformer` has them.
        experts: K; more than the modes that are to be told apart.
        rank: of the words' embedding.
        prior_after: share of the training after which the experts' weights are learnt.
        step_value: what a step is worth at first: how much larger log F is with one position fewer
            filled, besides the number of ways; under a potential, if there is one.

    Raises:
        TypeError: the DAG is of another kind, or forbids some word of an empty position, as one
            that is filled from left to right does.
        ValueError: a size below 1, a share outside [0, 1].
    """

    progress: th.Tensor

    def __init__(
        self,
        dag: DAG,
        *,
        experts: int = 128,
        rank: int = 16,
        prior_after: float = 0.5,
        step_value: float = 0.0,
    ):
        super().__init__(dag)
        self.prior_after = unit("prior_after", prior_after)
        self.step_value = number("step_value", step_value)
        self.register_buffer("progress", th.zeros(()))
        self.n_positions, self.n_words = positions_and_words(dag, "MixturePolicy")
        if not dag.action_mask(dag.initial_states(1)).all():
            raise TypeError(
                f"MixturePolicy fills positions in any order with any word, but {dag!r} forbids "
                'some at first: "TransformerPolicy" and "MlpPolicy" take it'
            )
        self.experts, rank = whole("experts", experts, least=1), whole("rank", rank, least=1)
        self.words = nn.Parameter(th.randn(rank, self.n_words))
        self.coordinates = nn.Parameter(
            th.randn(self.experts * self.n_positions, rank) * rank**-0.5
        )
        self.prior = nn.Parameter(th.zeros(self.experts))
        self._made: tuple[Any, Any] | None = None  # what was made last, and from what

    def encode(self, states: th.Tensor) -> EncodedPositions:
        """States int64 (n, d) → what the heads read."""
        log_words, theta = self._distributions()
        filled = states < self.n_words
        # The sum over the filled positions; an empty one has some row with weight 0.
        firsts = th.arange(self.n_positions, device=states.device) * self.n_words
        rows = th.where(filled, states, 0) + firsts
        weights = filled.to(log_words.dtype)
        joint = F.embedding_bag(rows, log_words, mode="sum", per_sample_weights=weights)  # [n, K]
        if self.progress >= self.prior_after:
            joint = joint + self.prior
        return EncodedPositions(F.log_softmax(joint, dim=1), log_words, theta, filled.sum(dim=1))

    def at_progress(self, progress: float) -> None:
        self.progress.clamp_min_(progress)  # weights once learnt stay, should training begin anew

    def _distributions(self) -> tuple[th.Tensor, th.Tensor]:
        """log θ and θ, each (d·W, K). Acting and evaluation, which change nothing, make them once.

        What they were made from is compared by value: fused optimizers do not count as changes.
        """
        made_from = self.coordinates.detach(), self.words.detach()
        kept = None if th.is_grad_enabled() else self._made
        if kept is not None and all(map(th.equal, kept[0], made_from)):
            return kept[1]
        log_words = F.log_softmax(self.coordinates @ self.words, dim=1)
        log_words = log_words.view(self.experts, -1).T.contiguous()
        made = log_words, log_words.exp()
        if not th.is_grad_enabled():
            self._made = [tensor.clone() for tensor in made_from], made
        return made

    def make_forward_head(self) -> nn.Module:
        return FlowHead(self.n_positions, self.step_value)  # P_F has no parameters of its own

    def make_backward_head(self) -> nn.Module:
        if self.n_backward_actions != self.n_positions:
            raise TypeError(
                "MixturePolicy's backward policy needs one backward action per position; the DAG "
                f"has {self.n_backward_actions} for {self.n_positions} positions"
            )
        return PreferenceHead(self.n_positions)

    def make_value_head(self) -> nn.Module:
        return FlowHead(self.n_positions, self.step_value)

    def action_values(
        self, head: nn.Module, encoding: EncodedPositions, mask: th.Tensor
    ) -> MixtureValues:
        n_empty = self.n_positions - encoding.n_filled
        log_n_empty = n_empty.clamp_min(1).to(encoding.log_gamma.dtype).log()
        return MixtureValues(encoding, head(encoding).squeeze(1), log_n_empty, mask)


class EncodedPositions(NamedTuple):
    """n states, as a mixture sees them.

    Attributes:
        log_gamma: (n, K), how much each expert has to say.
        log_words, theta: (d·W, K), log θ and θ.
        n_filled: int64 (n,), positions that are filled.
    """

    log_gamma: th.Tensor
    log_words: th.Tensor
    theta: th.Tensor
    n_filled: th.Tensor


@dataclass(slots=True)
class MixtureValues:
    """log Σ_j γ_j·θ_j[p, w] of the words of empty positions, plus a shift of each state.

    Attributes:
        encoding: of n states.
        shift: (n,).
        log_n_empty: (n,), the logarithm of how many positions are empty: each has probability 1.
        mask: bool (n, n_actions).
    """

    encoding: EncodedPositions
    shift: th.Tensor
    log_n_empty: th.Tensor
    mask: th.Tensor

    def dense(self) -> th.Tensor:
        log_p = (self.encoding.log_gamma.exp() @ self.encoding.theta.T).clamp_min(1e-30).log()
        return (log_p + self.shift[:, None]).masked_fill(~self.mask, -th.inf)

    def of_actions(self, actions: th.Tensor) -> th.Tensor:
        """As :meth:`dense` has them, (n,), from one row of θ each."""
        log_theta = self.encoding.log_words.index_select(0, actions)  # [n, K]
        return (self.encoding.log_gamma + log_theta).logsumexp(dim=1) + self.shift

    def soft_value(self, temperature: float) -> th.Tensor:
        if temperature != 1:
            return targets.soft_value(self.dense(), temperature)
        return self.shift + self.log_n_empty

    def with_value(self, value: th.Tensor, temperature: float) -> MixtureValues:
        return replace(self, shift=self.shift + value - self.soft_value(temperature))


class FlowHead(nn.Module):
    """log F by how many positions are filled, and by how sure the experts are.

    With k of d positions filled, log F is about −log C(d, k), since that many sets of positions
    lead on to the same objects, plus a sum over the d − k steps to come, plus what doubt between
    experts adds. It is the steps that are learnt: a sum that is learnt as such moves as fast as
    the longest construction needs.

    Args:
        n_positions: d.
        step_value: what a step is worth at first.
    """

    RATE = 5.0  # of the steps, compared with other parameters
    log_sets: th.Tensor

    def __init__(self, n_positions: int, step_value: float):
        super().__init__()
        self.steps = nn.Parameter(th.full((n_positions,), step_value / self.RATE))
        self.doubt = nn.Parameter(th.zeros(()))
        sets = [-math.log(math.comb(n_positions, count)) for count in range(n_positions + 1)]
        self.register_buffer("log_sets", th.tensor(sets), persistent=False)

    def forward(self, encoding: EncodedPositions) -> th.Tensor:
        """(n, 1)."""
        to_come = F.pad(self.steps.flip(0).cumsum(0).flip(0), (0, 1))  # [d + 1], 0 when complete
        of_count = (self.RATE * to_come + self.log_sets)[encoding.n_filled]
        doubt = -encoding.log_gamma.amax(dim=1)  # 0 where one expert knows
        return (of_count + self.doubt * doubt)[:, None]


class PreferenceHead(nn.Module):
    """A number for each position, whatever the state, (n, d)."""

    def __init__(self, n_positions: int):
        super().__init__()
        self.preference = nn.Linear(1, n_positions)

    def forward(self, encoding: EncodedPositions) -> th.Tensor:
        ones = encoding.log_gamma.new_ones(len(encoding.n_filled), 1)
        return cast(th.Tensor, self.preference(ones))
