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
        row: int64 (M,), the tree of each node: first the n roots, 0 to n − 1, then the
            other K nodes, rising.
        place: int64 (M,), the node's number in its tree; 0 for roots.
        block: int64 (M,).
        parent: int64 (K,), of each node that is no root, which of the M is its parent.
        atom, parent_atom: int64 (K,), the atoms that the bond between them joins.
        stem_node, stem_atom: int64 (T,), where each open stem is, tree by tree in the order of
            the actions.
        stem_row, stem_rank: int64 (T,), the stem's tree, and its number there.
    """

    row: th.Tensor
    place: th.Tensor
    block: th.Tensor
    parent: th.Tensor
    atom: th.Tensor
    parent_atom: th.Tensor
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
    n, roots = len(states), th.arange(len(states), device=states.device)
    blocks, parents, parent_slots, own_slots = states[:, : 4 * max_blocks].chunk(4, dim=1)
    n_slots = states.shape[1] // max_blocks - 4
    opened = states[:, 4 * max_blocks :].clone()
    opened[blocks[:, 0] >= n_blocks, 0] = 1  # the pseudo-stem, by which the first block is added

    there = blocks[:, 1:] < n_blocks
    row, place = there.nonzero(as_tuple=True)  # [K]; every node except a root hangs on a bond
    place = place + 1
    size = there.sum(dim=1)
    first = n - 1 + size.cumsum(0) - size  # plus a place from 1 on: the node's number

    def number(row: th.Tensor, place: th.Tensor) -> th.Tensor:
        return th.where(place == 0, row, first[row] + place)

    block = th.cat([blocks[:, 0], blocks[row, place]])
    parent = number(row, parents[row, place])

    stem = th.repeat_interleave(opened.flatten())  # [T], of each the place (row·N + node)·S + slot
    stem_row, stem_rank = ragged_ranges(opened.sum(dim=1))
    stem_node = number(stem_row, stem // n_slots % max_blocks)
    return PackedTrees(
        row=th.cat([roots, row]),
        place=th.cat([th.zeros_like(roots), place]),
        block=block,
        parent=parent,
        atom=block[n:] * n_slots + own_slots[row, place],
        parent_atom=block[parent] * n_slots + parent_slots[row, place],
        stem_node=stem_node,
        stem_atom=block[stem_node] * n_slots + stem % n_slots,
        stem_row=stem_row,
        stem_rank=stem_rank,
    )
