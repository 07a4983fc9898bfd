"""A graph network over block trees: molecules that are built block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch as th
from torch import nn
from torch.nn import functional as F

from gfn_gym.arguments import whole
from gfn_gym.dag import DAG

from .. import targets
from .base import Architecture
from .message_passing import MessageStep, pass_messages
from .packed_trees import HasBlockTrees, PackedTrees, pack_trees


class BlockTree(Architecture):
    """ "BlockTreePolicy": message passing over the tree of blocks, of the paper's size.

    A bond is read the same from either of its ends, with the slots that it joins, and nothing
    tells the number of a node: the result depends on the tree alone, neither on the order in
    which it was built nor on which node the row calls the root.

    The value of a forward action (stem, entry) is the product of a vector for the stem and one
    for the entry. A stem's vector is made from its node's, its slot's and that of the whole tree,
    which also gives the value of stopping, and that of the state. Taking off a node is valued by
    the node's own vector.

    Args:
        dag: a DAG of block trees, such as MoleculeGFN-v0's; its backward action k takes off node k.
        width: of all vectors; 256 in arXiv:2310.12934.
        steps: of message passing, each with weights of its own; 10 there.

    Raises:
        TypeError: the DAG is of another kind.
    """

    def __init__(self, dag: DAG, *, width: int = 256, steps: int = 10):
        super().__init__(dag)
        if not isinstance(dag, HasBlockTrees):
            raise TypeError(
                f"BlockTreePolicy reads block trees, such as MoleculeGFN-v0's, but {dag!r} has "
                "other states: choose a policy made for it"
            )
        self.width = whole("width", width, least=1)
        blocks = dag.vocabulary
        self.max_blocks, self.max_stems = dag.max_blocks, dag.max_stems
        self.n_blocks, self.n_entries = blocks.n_blocks, blocks.n_entries
        self.n_atoms = (blocks.n_blocks + 1) * blocks.n_slots
        self.block, self.open = rows_of(blocks.n_blocks + 1, width), rows_of(self.n_atoms, width)
        self.bond_from, self.bond_to = rows_of(self.n_atoms, width), rows_of(self.n_atoms, width)
        n_steps = whole("steps", steps, least=1)
        self.steps = nn.ModuleList(MessageStep(width) for _ in range(n_steps))
        self.norm = nn.LayerNorm(width)

    def encode(self, states: th.Tensor) -> EncodedTrees:
        """States int64 (n, d) → the trees, with a vector for each of their nodes."""
        trees = pack_trees(states, self.max_blocks, self.n_blocks)
        opened = self.open.index_select(0, trees.stem_atom)
        nodes = self.block.index_select(0, trees.block).index_add(0, trees.stem_node, opened)
        up = self._bond(trees.atom, trees.parent_atom)
        down = self._bond(trees.parent_atom, trees.atom)
        nodes = pass_messages(nodes, up, down, trees.parent, cast(Any, self.steps))
        return EncodedTrees(trees, self.norm(nodes), len(states))

    def _bond(self, begins: th.Tensor, ends: th.Tensor) -> th.Tensor:
        """What bonds are from one atom, (K,), to the other: (K, width)."""
        return self.bond_from.index_select(0, begins) + self.bond_to.index_select(0, ends)

    def make_forward_head(self) -> StemHead:
        return StemHead(self)

    def make_backward_head(self) -> NodeHead:
        return NodeHead(self.width, self.n_backward_actions)

    def make_value_head(self) -> nn.Module:
        return TreeHead(self.width, self.max_blocks, 1)

    def action_values(self, head: nn.Module, encoding: EncodedTrees, mask: th.Tensor) -> StemValues:
        return cast(StemHead, head).values(encoding, mask)

    def values_of_actions(
        self, head: nn.Module, states: th.Tensor, mask: th.Tensor, actions: th.Tensor
    ) -> th.Tensor:
        return cast(StemHead, head).of_actions(self.encode(states), actions)


class SmallBlockTree(BlockTree):
    """ "SmallBlockTreePolicy": the same network, small enough to be trained on a CPU."""

    def __init__(self, dag: DAG, *, width: int = 64, steps: int = 4):
        super().__init__(dag, width=width, steps=steps)


@dataclass(slots=True)
class EncodedTrees:
    """n trees, and the vectors of their M nodes, (M, width)."""

    packed: PackedTrees
    nodes: th.Tensor
    n: int


def rows_of(n: int, width: int) -> nn.Parameter:
    """An embedding, for ``index_select``: its gradient is a fifth of nn.Embedding's work."""
    return nn.Parameter(th.randn(n, width))


# ---- heads --------------------------------------------------------------------------------------


class WholeTree(nn.Module):
    """A vector for each tree, from the sum of its nodes'."""

    def __init__(self, width: int, max_blocks: int):
        super().__init__()
        self.max_blocks, self.linear = max_blocks, nn.Linear(width, width)

    def forward(self, trees: EncodedTrees) -> th.Tensor:
        """Trees → (n, width)."""
        nodes = trees.nodes
        total = nodes.new_zeros(trees.n, nodes.shape[1]).index_add(0, trees.packed.row, nodes)
        return F.relu(self.linear(total / self.max_blocks))


class TreeHead(nn.Module):
    """Numbers for each tree as a whole, (n, outputs)."""

    def __init__(self, width: int, max_blocks: int, outputs: int):
        super().__init__()
        self.whole, self.linear = WholeTree(width, max_blocks), nn.Linear(width, outputs)

    def forward(self, trees: EncodedTrees) -> th.Tensor:
        return cast(th.Tensor, self.linear(self.whole(trees)))


class NodeHead(nn.Linear):
    """A number for each node, (n, max_blocks); 0 where there is no node."""

    def __init__(self, width: int, max_blocks: int):
        super().__init__(width, 1)
        self.max_blocks = max_blocks

    def forward(self, trees: EncodedTrees) -> th.Tensor:  # type: ignore[override]
        numbers = trees.nodes.new_zeros(trees.n, self.max_blocks)
        places = trees.packed.row, trees.packed.place
        return numbers.index_put(places, super().forward(trees.nodes).squeeze(1))


class StemHead(nn.Module):
    """Values of stopping, and of adding each entry at each open stem."""

    def __init__(self, encoder: BlockTree):
        super().__init__()
        width = encoder.width
        self.max_stems, self.n_entries = encoder.max_stems, encoder.n_entries
        self.whole = WholeTree(width, encoder.max_blocks)
        self.stem_node, self.stem_whole = nn.Linear(width, width), nn.Linear(width, width)
        self.stem_atom = rows_of(encoder.n_atoms, width)
        self.entries = nn.Linear(width, self.n_entries)
        self.stop = nn.Linear(width, 1)

    def values(self, trees: EncodedTrees, mask: th.Tensor) -> StemValues:
        """The values of the actions that the mask (n, n_actions) allows."""
        packed, whole = trees.packed, self.whole(trees)
        # A full tree may have more open stems than can ever be chosen; none of its stems is legal.
        rank = packed.stem_rank.clamp(max=self.max_stems - 1)
        place = packed.stem_row * self.max_stems + rank  # [T]
        legal = mask[:, 1:].reshape(-1, self.n_entries).index_select(0, place)  # [T, E]
        some = legal.any(dim=1).nonzero().squeeze(1)  # stems of a full tree have none
        added = self.entries(self._stems(trees, whole, some)).masked_fill(~legal[some], -th.inf)
        stop = self.stop(whole).squeeze(1).masked_fill(~mask[:, 0], -th.inf)
        return StemValues(stop, added, place[some], self.max_stems)

    def of_actions(self, trees: EncodedTrees, actions: th.Tensor) -> th.Tensor:
        """The values of legal actions int64 (n,) only, (n,)."""
        whole = self.whole(trees)
        rows, stem, entry = stems_and_entries(actions, self.n_entries)
        first = th.searchsorted(trees.packed.stem_row, rows)
        weight, bias = self.entries.weight, self.entries.bias
        stems = self._stems(trees, whole, first + stem) * weight.index_select(0, entry)
        added = stems.sum(dim=1) + bias.index_select(0, entry)
        return self.stop(whole).squeeze(1).index_copy(0, rows, added)

    def _stems(self, trees: EncodedTrees, whole: th.Tensor, wanted: th.Tensor) -> th.Tensor:
        """The vectors of the stems wanted, int64 (t,), of all T: (t, width)."""
        packed = trees.packed
        node, atom, row = (
            index.index_select(0, wanted)
            for index in (packed.stem_node, packed.stem_atom, packed.stem_row)
        )
        own = self.stem_node(trees.nodes).index_select(0, node)
        own = own + self.stem_atom.index_select(0, atom)
        return F.relu(own + self.stem_whole(whole).index_select(0, row))


@dataclass(slots=True)
class StemValues:
    """Values of the legal actions of n trees, without the many that are illegal.

    Attributes:
        stop: (n,), −inf where stopping is illegal.
        added: (T, E), the values of adding each entry at each stem that is legal somewhere.
        place: int64 (T,), rising: tree·``max_stems`` + number of the stem in its tree.
        max_stems: see above.
    """

    stop: th.Tensor
    added: th.Tensor
    place: th.Tensor
    max_stems: int

    def dense(self) -> th.Tensor:
        """All n_actions of them, −inf where illegal, (n, 1 + max_stems·E)."""
        n, entries = len(self.stop), self.added.shape[1]
        stems = self.added.new_full((n * self.max_stems, entries), -th.inf)
        stems = stems.index_copy(0, self.place, self.added).view(n, self.max_stems * entries)
        return th.cat([self.stop[:, None], stems], dim=1)

    def of_actions(self, actions: th.Tensor) -> th.Tensor:
        """Those of the legal actions (n,) only, (n,)."""
        adds, stem, entry = stems_and_entries(actions, self.added.shape[1])
        place = th.searchsorted(self.place, adds * self.max_stems + stem)
        chosen = self.added.index_select(0, place).gather(1, entry[:, None]).squeeze(1)
        return self.stop.index_copy(0, adds, chosen)

    def soft_value(self, temperature: float) -> th.Tensor:
        """λ·logsumexp(·/λ), (n,)."""
        stems = self.stop.new_full((len(self.stop) * self.max_stems,), -th.inf)
        stems = stems.index_copy(0, self.place, targets.soft_value(self.added, temperature))
        both = th.cat([self.stop[:, None], stems.view(-1, self.max_stems)], dim=1)
        return targets.soft_value(both, temperature)

    def with_value(self, value: th.Tensor, temperature: float) -> StemValues:
        """The same softmax, shifted so that the soft value is ``value`` (n,)."""
        shift = value - self.soft_value(temperature)
        of_stem = shift.index_select(0, self.place // self.max_stems)
        return replace(self, stop=self.stop + shift, added=self.added + of_stem[:, None])


def stems_and_entries(actions: th.Tensor, n_entries: int) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Of actions int64 (n,): which rows (k,) add something, at which stem, and which entry."""
    rows = actions.nonzero().squeeze(1)
    added = actions[rows] - 1
    return rows, added // n_entries, added % n_entries
