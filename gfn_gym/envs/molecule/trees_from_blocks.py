"""Molecules from elsewhere, given block by block, as trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gfn_gym.envs.molecule.trees import Trees
from gfn_gym.envs.molecule.vocabulary import Vocabulary

Numbers = Sequence[int]


def read_trees(
    vocabulary: Vocabulary,
    max_blocks: int,
    blocks: Sequence[Numbers],
    bonds: Sequence[Sequence[Numbers]],
    stems: Sequence[Sequence[Numbers]],
) -> Trees:
    """Return molecules as trees with the first block as the root, in no canonical form.

    The arguments and errors are those of ``Molecule.states_of_blocks``.
    """
    n, n_slots = len(blocks), vocabulary.n_slots
    block = np.full((n, max_blocks), vocabulary.n_blocks)
    parent, parent_slot, own_slot = (np.zeros((n, max_blocks), np.int64) for _ in range(3))
    trees = Trees(
        block, parent, parent_slot, own_slot, np.zeros((n, max_blocks, n_slots), np.int64)
    )
    for row, (entries, joined, open) in enumerate(zip(blocks, bonds, stems, strict=True)):
        block[row, : len(entries)] = _blocks(vocabulary, max_blocks, row, entries)
        slots = _slots(vocabulary, block[row, : len(entries)].tolist())
        outwards = _outwards(joined)
        if not len(entries) - 1 == len(joined) == len(outwards):
            raise ValueError(
                f"molecule {row}: the bonds {list(joined)} do not make its {len(entries)} blocks "
                "a tree"
            )
        try:
            for node, atom in open:
                trees.open[row, node, slots[node, atom]] += 1
            for above, below, upper, lower in outwards:
                parent[row, below] = above
                parent_slot[row, below] = slots[above, upper]
                own_slot[row, below] = slots[below, lower]
        except KeyError as error:
            node, atom = error.args[0]
            raise ValueError(
                f"molecule {row}: no bond can be made to atom {atom} of its block {node}"
            ) from error
    return trees


def _blocks(vocabulary: Vocabulary, max_blocks: int, row: int, entries: Numbers) -> list[int]:
    if not 1 <= len(entries) <= max_blocks:
        raise ValueError(
            f"molecule {row} has {len(entries)} blocks; there must be 1 to {max_blocks=}"
        )
    for entry in entries:
        if not 0 <= entry < vocabulary.n_entries:
            raise ValueError(f"molecule {row}: {vocabulary!r} has no entry {entry}")
    return [int(vocabulary.entry_block[entry]) for entry in entries]


def _slots(vocabulary: Vocabulary, blocks: list[int]) -> dict[tuple[int, int], int]:
    """The slots of a molecule's blocks, by their places in it and atoms."""
    return {
        (node, atom): slot
        for node, block in enumerate(blocks)
        for slot, atom in enumerate(vocabulary.slot_atoms[block].tolist())
        if atom >= 0
    }


def _outwards(bonds: Sequence[Numbers]) -> list[tuple[int, int, int, int]]:
    """Bonds from block 0 outwards, the nearer block first; those that close a ring left out."""
    left, reached = list(bonds), {0}
    found: list[tuple[int, int, int, int]] = []
    while True:
        for bond in left:
            a, b, i, j = bond
            if (a in reached) != (b in reached):
                break
        else:
            return found
        left.remove(bond)
        found.append((a, b, i, j) if a in reached else (b, a, j, i))
        reached |= {a, b}
