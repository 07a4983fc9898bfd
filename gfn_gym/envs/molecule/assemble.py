"""From rows of block trees to molecules: RDKit objects, SMILES, and the atoms that are open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from gfn_gym.envs.molecule.trees import Ints, Trees
from gfn_gym.envs.molecule.vocabulary import Vocabulary

# A bond between blocks takes the place of a hydrogen: no ring and no electron of a ring is new, so
# what is aromatic stays so. To find that out again is a third of the work of sanitising.
_SANITIZE = Chem.SanitizeFlags.SANITIZE_ALL & ~(
    Chem.SanitizeFlags.SANITIZE_KEKULIZE | Chem.SanitizeFlags.SANITIZE_SETAROMATICITY
)
_WITHOUT_RINGS = _SANITIZE & ~Chem.SanitizeFlags.SANITIZE_SYMMRINGS


class Assembler:
    """Joins the blocks of a tree by single bonds.

    An atom of the molecule is an atom of a node's block: node by node in the order of the row,
    within a node in the order of the block's SMILES. A bond, and only a bond, takes a hydrogen;
    an open stem keeps it.

    Args:
        vocabulary: of the blocks.
        max_blocks: N, the nodes that a row has room for.

    Attributes:
        n_atoms: int (B + 1,), heavy atoms of each block; 0 for "no block".

    Raises:
        ValueError: a block cannot take the bonds that its open atoms offer.
    """

    def __init__(self, vocabulary: Vocabulary, max_blocks: int):
        self.vocabulary, self.max_blocks = vocabulary, max_blocks
        self._blocks = [Chem.MolFromSmiles(smiles) for smiles in vocabulary.smiles]
        self.n_atoms = np.array([*(block.GetNumAtoms() for block in self._blocks), 0])
        # Atoms whose hydrogens are written out, such as [nH], keep them until they are told.
        self._written_hydrogens = [_written_hydrogens(block) for block in self._blocks]
        for pair in vocabulary.pairs:
            _check_valences(*pair)

    def molecules(self, rows: Ints, *, rings: bool = True) -> list[Chem.Mol]:
        """Return the sanitised molecule of each row (n, d).

        Args:
            rows: (n, d).
            rings: whether to look for rings, which takes time; False where nobody asks for them.
        """
        trees = Trees.of(rows, self.max_blocks)
        bonds, bonded = self._bonds(trees)
        joined = zip(trees.block.tolist(), bonds.tolist(), bonded.tolist(), strict=True)
        operations = _SANITIZE if rings else _WITHOUT_RINGS
        return [self._join(*fields, operations) for fields in joined]

    def smiles(self, rows: Ints) -> list[str]:
        """Return the canonical SMILES of each row (n, d)."""
        return [Chem.MolToSmiles(molecule) for molecule in self.molecules(rows)]

    def open_atoms(self, rows: Ints) -> list[list[int]]:
        """Return the atoms with open stems of each row (n, d), rising, each atom once."""
        trees = Trees.of(rows, self.max_blocks)
        row, node, slot = np.nonzero(trees.open)
        atoms = self._first_atoms(trees)[row, node]
        atoms = atoms + self.vocabulary.slot_atoms[trees.block[row, node], slot]
        ends = np.cumsum(np.bincount(row, minlength=len(rows)))[:-1]
        return [sorted(part.tolist()) for part in np.split(atoms, ends)]

    def flagged_atoms(self, rows: Ints) -> list[list[int]]:
        """Return what the sEH proxy flags: the open atoms, or atom 0 where none is open.

        Atom 0 is the first of node 0. Upstream takes the block that was placed first instead,
        which the finished object doesn't tell; node 0 of the canonical row is a function of it.
        """
        return [atoms or [0] for atoms in self.open_atoms(rows)]

    def _first_atoms(self, trees: Trees) -> NDArray[np.int64]:
        """Where, in the molecule, each node's atoms begin: (n, N)."""
        sizes = self.n_atoms[trees.block]
        return sizes.cumsum(axis=1) - sizes

    def _bonds(self, trees: Trees) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The bond that holds each node, (n, N, 2) atoms, and whether there is one, (n, N)."""
        row = np.arange(len(trees.block))[:, None]
        first, slot_atoms = self._first_atoms(trees), self.vocabulary.slot_atoms
        bonded = trees.block < self.vocabulary.n_blocks
        bonded[:, :1] = False
        own_block = np.where(bonded, trees.block, 0)
        parent_block = np.where(bonded, trees.block[row, trees.parent], 0)
        parent_atom = first[row, trees.parent] + slot_atoms[parent_block, trees.parent_slot]
        own_atom = first + slot_atoms[own_block, trees.own_slot]
        return np.stack([parent_atom, own_atom], axis=2), bonded

    def _join(
        self, blocks: list[int], bonds: list[list[int]], bonded: list[bool], operations: int
    ) -> Chem.Mol:
        molecule, hydrogens = Chem.RWMol(), list[int]()
        for block in blocks:
            if block == self.vocabulary.n_blocks:
                break
            molecule.InsertMol(self._blocks[block])
            hydrogens += self._written_hydrogens[block]
        for (parent_atom, own_atom), there in zip(bonds, bonded, strict=True):
            if there:
                molecule.AddBond(parent_atom, own_atom, Chem.BondType.SINGLE)
                for atom in (parent_atom, own_atom):
                    if hydrogens[atom]:
                        hydrogens[atom] -= 1
                        molecule.GetAtomWithIdx(atom).SetNumExplicitHs(hydrogens[atom])
        Chem.SanitizeMol(molecule, operations)
        return molecule


def _written_hydrogens(molecule: Chem.Mol) -> list[int]:
    return [atom.GetNumExplicitHs() for atom in molecule.GetAtoms()]


def _check_valences(smiles: str, atoms: tuple[int, ...]) -> None:
    """See that all the bonds that a block offers can be made at once, each to a methyl."""
    molecule = Chem.RWMol(Chem.MolFromSmiles(smiles))
    for index in atoms:
        atom = molecule.GetAtomWithIdx(index)
        atom.SetNumExplicitHs(max(atom.GetNumExplicitHs() - 1, 0))
        molecule.AddBond(index, molecule.AddAtom(Chem.Atom(6)), Chem.BondType.SINGLE)
    problems = Chem.DetectChemistryProblems(molecule)
    if problems:
        raise ValueError(
            f"blocks: {smiles!r} cannot take a bond at each of its atoms {list(atoms)} at once: "
            f"{problems[0].Message()}"
        )
