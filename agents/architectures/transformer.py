"""A transformer over states that are filled position by position."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from gfn_gym.arguments import number, whole
from gfn_gym.dag import DAG

from .. import targets
from .base import Architecture, DenseValues


def dropout(x: th.Tensor, p: float) -> th.Tensor:
    """Zero each element with probability p (to 2^-16) and scale the others by 1/(1 − p).

    What ``F.dropout`` does at a fifth of its cost on the CPU, which draws a float an element: here
    16 random bits are enough.
    """
    return x if p == 0 else (x * _kept(x, p)).mul_(1 / (1 - p))


def add_dropped(x: th.Tensor, y: th.Tensor, p: float) -> th.Tensor:
    """x + dropout(y, p)."""
    return x + y if p == 0 else th.addcmul(x, y, _kept(y, p), value=1 / (1 - p))


def _kept(x: th.Tensor, p: float) -> th.Tensor:
    """1 where dropout keeps an element of x and 0 where not, (…) like x.

    In x's own type: a product with a bool takes five times as long.
    """
    draws = th.empty(-(-x.numel() // 4), dtype=th.int64, device=x.device).random_(-(2**63), None)
    bits = draws.view(th.int16)[: x.numel()].view(x.shape)
    return th.ge(bits, round(p * 2**16) - 2**15, out=x.new_empty(x.shape))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with dropout, a residual and layer norm.

    The same function as torch's ``nn.TransformerEncoderLayer``, ``norm_first`` or not. Attention
    is written out: for heads as narrow as these torch's fused kernel takes half as long again.
    """

    def __init__(
        self, width: int, heads: int, feed_forward: int, dropout: float, norm_first: bool = False
    ):
        super().__init__()
        self.heads, self.dropout, self.norm_first = heads, dropout, norm_first
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.join = nn.Linear(width, width)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        bound = (6 / (4 * width)) ** 0.5  # Xavier's, of the three projections as one
        for projection in (self.query, self.key_value):
            nn.init.uniform_(projection.weight, -bound, bound)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.join.bias)

    def forward(self, tokens: th.Tensor, wanted: th.Tensor | None = None) -> th.Tensor:
        """Tokens (n, length, width) → the same; or only those of the places wanted (n, m)."""
        read = self.norm_attention(tokens) if self.norm_first else tokens
        x, asking = _at(tokens, wanted), _at(read, wanted)
        p = self.dropout if self.training else 0.0
        x = add_dropped(x, self._attend(asking, read, p), p)
        x = x if self.norm_first else self.norm_attention(x)
        fed = F.relu_(self.up(self.norm_feed_forward(x) if self.norm_first else x))
        x = add_dropped(x, self.down(dropout(fed, p)), p)
        return x if self.norm_first else cast(th.Tensor, self.norm_feed_forward(x))

    def _attend(self, x: th.Tensor, tokens: th.Tensor, p: float) -> th.Tensor:
        """What the tokens x (n, m, width) gather from all tokens (n, length, width)."""
        (n, m, width), length = x.shape, tokens.shape[1]
        depth = width // self.heads
        query = (self.query(x) * depth**-0.5).view(n, m, self.heads, depth).transpose(1, 2)
        key_value = self.key_value(tokens).view(n, length, 2, self.heads, depth)
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each [n, heads, length, depth]
        weights = dropout((query @ key.transpose(2, 3)).softmax(dim=3), p)
        joined = (weights @ value).transpose(1, 2).reshape(n, m, width)
        return cast(th.Tensor, self.join(joined))


def _at(tokens: th.Tensor, places: th.Tensor | None) -> th.Tensor:
    """The tokens (n, length, width) at places int64 (n, m), (n, m, width); None: all."""
    if places is None:
        return tokens
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


class Transformer(Architecture):
    """ "TransformerPolicy": a transformer over positions that are filled with words.

    The tokens are the positions, each with its word or the sign for empty, and one before them
    that stands for the whole. A forward action (position, word) has a logit of the position, read
    from the whole, plus one of the word, read from the position's own token; a backward action
    has one from its position's token; a value is read from the whole. As in arXiv:2310.12934.

    Args:
        dag: its states are d positions with W words or empty, a MultiDiscrete([W + 1] * d); its
            action position·W + word fills one.
        layers, heads, width, feed_forward: of the encoder; the paper's by default.
        dropout: the chance while training.
        learnt_positions: learn the encoding of positions, instead of the paper's sinusoids, which
            are much alike at neighboring positions.
        norm_first: layer norm before attention and feed-forward, not after as in the paper.

    Raises:
        TypeError: the DAG is of another kind.
        ValueError: a size or dropout out of range.
    """

    encoding: th.Tensor

    def __init__(
        self,
        dag: DAG,
        *,
        layers: int = 3,
        heads: int = 8,
        width: int = 64,
        feed_forward: int = 64,
        dropout: float = 0.1,
        learnt_positions: bool = False,
        norm_first: bool = False,
    ):
        super().__init__(dag)
        self.n_positions, self.n_words = positions_and_words(dag, "TransformerPolicy")
        sizes = {"layers": layers, "heads": heads, "width": width, "feed_forward": feed_forward}
        for name, size in sizes.items():
            whole(name, size, least=1)
        if width % heads or width % 2:
            raise ValueError(f"width={width!r} must be even and a multiple of heads={heads!r}")
        self.width, self.dropout = width, number("dropout", dropout, least=0, below=1)
        self.embedding = nn.Embedding(self.n_words + 1, width)
        self.summary = nn.Parameter(th.randn(width))
        if learnt_positions:
            self.encoding = nn.Parameter(th.randn(self.n_positions + 1, width))
        else:
            encoding = _sinusoids(self.n_positions + 1, width)
            self.register_buffer("encoding", encoding, persistent=False)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feed_forward, dropout, norm_first) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def encode(self, states: th.Tensor, wanted: th.Tensor | None = None) -> th.Tensor:
        """States int64 (n, d) → tokens (n, 1 + d, width), the summary first.

        Or only the tokens at the places ``wanted``, int64 (n, m): (n, m, width).
        """
        summary = self.summary.expand(len(states), 1, -1)
        tokens = th.cat([summary, self.embedding(states)], dim=1) + self.encoding
        tokens = dropout(tokens, self.dropout if self.training else 0.0)
        for layer in self.encoder[:-1]:
            tokens = layer(tokens)
        return cast(th.Tensor, self.norm(self.encoder[-1](tokens, wanted)))

    def make_forward_head(self) -> PositionAndWord:
        return PositionAndWord(self.width, self.n_positions, self.n_words)

    def make_backward_head(self) -> nn.Module:
        if self.n_backward_actions != self.n_positions:
            raise TypeError(
                "TransformerPolicy's backward policy needs one backward action per position; the "
                f"DAG has {self.n_backward_actions} for {self.n_positions} positions"
            )
        return OfPositions(self.width)

    def make_value_head(self) -> nn.Module:
        return OfWhole(self.width)

    def action_values(
        self, head: nn.Module, encoding: th.Tensor, mask: th.Tensor
    ) -> PositionAndWordValues:
        return PositionAndWordValues(cast(PositionAndWord, head), encoding, mask)

    def values_of_actions(
        self, head: nn.Module, states: th.Tensor, mask: th.Tensor, actions: th.Tensor
    ) -> th.Tensor:
        """The last layer gives only the tokens that are read: the whole and one position."""
        position, word = actions // self.n_words, actions % self.n_words
        wanted = th.stack([th.zeros_like(position), 1 + position], dim=1)
        summary, own = self.encode(states, wanted).unbind(1)  # each [n, width]
        return cast(PositionAndWord, head).of_actions(summary, own, position, word)


class PositionAndWord(nn.Module):
    """The forward head: the logit of (position, word) is the position's plus the word's."""

    def __init__(self, width: int, n_positions: int, n_words: int):
        super().__init__()
        self.position, self.word = nn.Linear(width, n_positions), nn.Linear(width, n_words)

    def forward(self, tokens: th.Tensor) -> th.Tensor:
        """Tokens (n, 1 + d, width) → (n, d·W)."""
        positions = self.position(tokens[:, 0])[:, :, None]  # [n, d, 1]
        words = self.word(tokens[:, 1:])  # [n, d, W]
        return cast(th.Tensor, words.add_(positions).flatten(1))

    def of_actions(
        self, summary: th.Tensor, own: th.Tensor, position: th.Tensor, word: th.Tensor
    ) -> th.Tensor:
        """One (position, word) of each row, int64 (n,) each → (n,).

        ``summary`` and ``own`` (n, width) are the tokens of the whole and of the position.
        """
        of_position = self.position(summary).gather(1, position[:, None]).squeeze(1)
        of_word = (own * self.word.weight[word]).sum(dim=1) + self.word.bias[word]
        return cast(th.Tensor, of_position + of_word)


class PositionAndWordValues:
    """The values of all (position, word), of which most uses do not need the matrix.

    Args:
        head: gives them.
        tokens: (n, 1 + d, width).
        mask: of the legal actions, bool (n, d·W).
    """

    def __init__(self, head: PositionAndWord, tokens: th.Tensor, mask: th.Tensor):
        self.head, self.tokens, self.mask = head, tokens, mask

    def dense(self) -> th.Tensor:
        # In place, since these are by far the largest arrays.
        return cast(th.Tensor, self.head(self.tokens)).masked_fill_(~self.mask, -th.inf)

    def of_actions(self, actions: th.Tensor) -> th.Tensor:
        n_words = self.head.word.out_features
        position, word = actions // n_words, actions % n_words
        own = self.tokens[th.arange(len(actions), device=actions.device), 1 + position]
        return self.head.of_actions(self.tokens[:, 0], own, position, word)

    def soft_value(self, temperature: float) -> th.Tensor:
        """The soft value of the positions' soft values, of open positions only."""
        positions = cast(th.Tensor, self.head.position(self.tokens[:, 0]))
        legal = self.mask.view(*positions.shape, -1)  # [n, d, W]
        is_open = legal.any(dim=2)
        words = self.head.word(self.tokens[:, 1:][is_open])  # [open, W]
        if not legal[is_open].all():
            words = words.masked_fill(~legal[is_open], -th.inf)
        of_open = positions[is_open] + targets.soft_value(words, temperature)
        closed = positions.new_full(positions.shape, -th.inf)
        return targets.soft_value(closed.masked_scatter(is_open, of_open), temperature)

    def with_value(self, value: th.Tensor, temperature: float) -> DenseValues:
        return DenseValues(self.dense()).with_value(value, temperature)


class OfPositions(nn.Linear):
    """The backward head: one number from each position's token, (n, d)."""

    def __init__(self, width: int):
        super().__init__(width, 1)

    def forward(self, tokens: th.Tensor) -> th.Tensor:
        """Tokens (n, 1 + d, width) → (n, d)."""
        return super().forward(tokens[:, 1:]).squeeze(2)


class OfWhole(nn.Linear):
    """The value head: one number from the token that stands for the whole, (n, 1)."""

    def __init__(self, width: int):
        super().__init__(width, 1)

    def forward(self, tokens: th.Tensor) -> th.Tensor:
        """Tokens (n, 1 + d, width) → (n, 1)."""
        return super().forward(tokens[:, 0])


def positions_and_words(dag: DAG, policy: str) -> tuple[int, int]:
    """Return d and W of a DAG whose states are d positions with W words or empty.

    Raises:
        TypeError: it is of another kind; the message names the ``policy`` that cannot read it.
    """
    space = dag.state_space
    if isinstance(space, spaces.MultiDiscrete):
        d, sizes = len(space.nvec), set(space.nvec.tolist())
        if len(sizes) == 1 and dag.n_actions == d * (max(sizes) - 1) and dag.stop_action is None:
            return d, max(sizes) - 1
    raise TypeError(
        f"{policy} needs d positions with W words or empty, MultiDiscrete([W + 1] * d), "
        f"d·W actions and no stop action; {dag!r} has {space} and {dag.n_actions} actions"
    )


def _sinusoids(length: int, width: int) -> th.Tensor:
    """The fixed encoding of positions of arXiv:1706.03762, float32 (length, width)."""
    angles = np.arange(length)[:, None] * np.exp(np.arange(0, width, 2) * -math.log(1e4) / width)
    encoding = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(length, width)
    return th.as_tensor(encoding, dtype=th.float32)
