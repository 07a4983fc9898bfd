"""Block trees as one graph, ready for message passing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch as th

from ..targets import ragged_ranges


class HasBlocks(Protocol):
    """The sizes of a vocabulary of blocks, see ``gfn_gym.envs.molecule.vocabulary``."""

    @property
    def n_blocks(self) -> int:
        """B, distinct blocks."""

    @property
    def n_entries(self) -> int:
        """E, entries that can be added; a block with one of its slots each."""

    @property
    def n_slots(self) -> int:
        """S, the most slots of a block."""


@runtime_checkable
class HasBlockTrees(Protocol):
    """A DAG of block trees, such as :class:`gfn_gym.envs.molecule.dag.Molecule`.

    Rows hold block, parent, parent_slot and own_slot of N = ``max_blocks`` nodes each, and how
    often each slot of each node is open; action 0 stops and 1 + stem·E + entry adds an entry at
    an open stem, counted node by node and slot by slot; the empty tree has one.
    """

    vocabulary: HasBlocks
    max_blocks: int
    max_stems: int


@dataclass(slots=True)
class PackedTrees:
    """n trees as one graph, without the places where no node is.

    The empty tree becomes one node of a block of its own, B, with its slot 0 open. An *atom* is a
    slot of a block, as the number block·S + slot.

    Attributes:
        row: int64 (M,), the tree of each node; rising.
        place: int64 (M,), the node's number in its tree.
        block: int64 (M,).
        open: float32 (M, S), how often each slot is open.
        bonds: int64 (2, 2K), a bond's two nodes, from and to; each of the K bonds both ways.
        bond_atoms: int64 (2, 2K), the atoms of the same nodes that it joins.
        stem_node, stem_atom: int64 (T,), where each open stem is, tree by tree in the order of
            the actions.
        stem_row, stem_rank: int64 (T,), the stem's tree, and its number there.
    """

    row: th.Tensor
    place: th.Tensor
    block: th.Tensor
    open: th.Tensor
    bonds: th.Tensor
    bond_atoms: th.Tensor
    stem_node: th.Tensor
    stem_atom: th.Tensor
    stem_row: th.Tensor
    stem_rank: th.Tensor


def pack_trees(states: th.Tensor, max_blocks: int, n_blocks: int) -> PackedTrees:
    """Read states int64 (n, N·(4 + S)) as :class:`PackedTrees`; any order of the nodes will do.

    Args:
        states: the rows of :class:`HasBlockTrees`.
        max_blocks: N.
        n_blocks: B; a place whose block is B or more holds no node.
    """
    n = len(states)
    blocks, parents, parent_slots, own_slots = states[:, : 4 * max_blocks].chunk(4, dim=1)
    n_slots = states.shape[1] // max_blocks - 4
    opened = states[:, 4 * max_blocks :].reshape(n, max_blocks, n_slots)
    there = blocks < n_blocks
    empty = ~there[:, 0]
    there = th.cat([th.ones_like(there[:, :1]), there[:, 1:]], dim=1)
    row, place = there.nonzero(as_tuple=True)
    block, counts = blocks[row, place], opened[row, place]
    size = there.sum(dim=1)
    first = size.cumsum(0) - size  # the number of each tree's node 0
    counts[first[empty], 0] = 1  # the pseudo-stem, by which the first block is added

    child = place.nonzero().squeeze(1)  # every node but a root hangs on a bond
    at = row[child], place[child]
    parent = first[at[0]] + parents[at]
    below = block[child] * n_slots + own_slots[at]
    above = block[parent] * n_slots + parent_slots[at]

    stem = th.repeat_interleave(counts.flatten())  # [T], of each the place node·S + slot
    stem_node = stem // n_slots
    n_stems = th.zeros(n, dtype=th.int64, device=states.device).index_add_(0, row, counts.sum(1))
    stem_row, stem_rank = ragged_ranges(n_stems)
    return PackedTrees(
        row=row,
        place=place,
        block=block,
        open=counts.float(),
        bonds=th.stack([th.cat([child, parent]), th.cat([parent, child])]),
        bond_atoms=th.stack([th.cat([below, above]), th.cat([above, below])]),
        stem_node=stem_node,
        stem_atom=block[stem_node] * n_slots + stem % n_slots,
        stem_row=stem_row,
        stem_rank=stem_rank,
    )
