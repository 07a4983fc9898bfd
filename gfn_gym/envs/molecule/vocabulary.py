"""Building blocks: what molecules are made of, as arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

MAX_SYMMETRIES = 100_000
"""Of a block; more than any drug-like fragment has."""

Pair = Sequence[Any]
"""``[SMILES, [atom, …]]``: the first atom is the one by which the block is attached, the others
become open; all of them when it is the first block. Repeats count."""


class Vocabulary:
    """Entries that can be added to a molecule, and the distinct blocks that they place.

    Entries with one SMILES are one block, B blocks for E entries. Of a block only the atoms that
    an entry names, and those that its symmetries map them onto, are looked at: its *slots*, in the
    order of their atoms, at most S of them.

    Args:
        pairs: the entries, in the order of their actions.

    Attributes:
        smiles: of the B blocks, in the order of their first entries.
        slot_atoms: int (B, S), the atom of each slot in the SMILES as written; −1 where none.
        symmetries: for each block int (g, S), its symmetries as permutations of the slots, the
            identity first: slot i goes where ``symmetry[i]`` says.
        entry_block, entry_slot: int (E,), the block that an entry places, and the slot by which
            it is attached.
        entry_open: int (E, S), how often each slot is open after it has been attached.
        entry_first: int (E, S), the same when it is the first block.

    Raises:
        ValueError: an entry that is not a pair, an invalid SMILES, an atom that it does not have,
            or a block with more symmetries than are counted.
    """

    def __init__(self, pairs: Sequence[Pair]):
        checked = [_checked(index, pair) for index, pair in enumerate(pairs)]
        if not checked:
            raise ValueError("blocks=[]: give at least one pair [SMILES, [atom, …]]")
        self.pairs = tuple((smiles, tuple(atoms)) for smiles, atoms in checked)
        self.smiles = tuple(dict.fromkeys(smiles for smiles, _ in checked))
        named = {smiles: set[int]() for smiles in self.smiles}
        for smiles, atoms in checked:
            named[smiles] |= set(atoms)
        slots, maps = zip(*(_slots(s, named[s]) for s in self.smiles), strict=True)
        n_slots = max(map(len, slots))

        self.slot_atoms = np.full((len(self.smiles), n_slots), -1)
        self.symmetries: list[NDArray[np.int64]] = []
        for block, (atoms, permutations) in enumerate(zip(slots, maps, strict=True)):
            self.slot_atoms[block, : len(atoms)] = atoms
            padded = np.tile(np.arange(n_slots), (len(permutations), 1))
            padded[:, : len(atoms)] = permutations
            self.symmetries.append(padded)
        self._fill_entries(checked, slots)

    def _fill_entries(self, checked: list[tuple[str, list[int]]], slots: Sequence[Any]) -> None:
        self.entry_block = np.array([self.smiles.index(smiles) for smiles, _ in checked])
        self.entry_open = np.zeros((len(checked), self.n_slots), dtype=np.int64)
        self.entry_slot = np.zeros(len(checked), dtype=np.int64)
        for entry, (_, atoms) in enumerate(checked):
            own = slots[self.entry_block[entry]]
            self.entry_slot[entry] = own.index(atoms[0])
            for atom in atoms[1:]:
                self.entry_open[entry, own.index(atom)] += 1
        self.entry_first = self.entry_open.copy()
        self.entry_first[np.arange(len(checked)), self.entry_slot] += 1

    @property
    def n_blocks(self) -> int:
        """B, the number of distinct blocks."""
        return len(self.smiles)

    @property
    def n_entries(self) -> int:
        """E, the number of entries."""
        return len(self.pairs)

    @property
    def n_slots(self) -> int:
        """S, the largest number of slots of a block."""
        return self.slot_atoms.shape[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Vocabulary({self.n_entries} entries, {self.n_blocks} blocks)"


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a JSON file of pairs, or of upstream's three maps (``block_smi``, ``block_r``).

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is neither, or not JSON.
    """
    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"blocks={str(path)!r}: there is no such file; give a list of pairs, the path of a "
            "JSON file, 'pdb105', or None for our own"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if isinstance(content, dict):
        missing = {"block_smi", "block_r"} - content.keys()
        if missing:
            raise ValueError(f"{path} has no {sorted(missing)}: it must map them, or list pairs")
        smiles, atoms = content["block_smi"], content["block_r"]
        if smiles.keys() != atoms.keys() or not all(key.isdecimal() for key in smiles):
            raise ValueError(f"{path}: block_smi and block_r must map the same numbers '0', '1', …")
        return [[smiles[key], atoms[key]] for key in sorted(smiles, key=int)]
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of pairs [SMILES, [atom, …]]")
    return content


def _checked(index: int, pair: Any) -> tuple[str, list[int]]:
    example = "such as ['c1ccccc1', [0, 2]]"
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"blocks[{index}]={pair!r} must be a pair [SMILES, [atom, …]], {example}")
    smiles, atoms = pair
    molecule = Chem.MolFromSmiles(smiles) if isinstance(smiles, str) else None
    if molecule is None or not molecule.GetNumAtoms():
        raise ValueError(f"blocks[{index}]: {smiles!r} is not a valid SMILES, {example}")
    if len(Chem.GetMolFrags(molecule)) > 1:
        raise ValueError(f"blocks[{index}]: {smiles!r} is in several pieces; a block must be one")
    n = molecule.GetNumAtoms()
    listed = isinstance(atoms, (Sequence, np.ndarray)) and len(atoms) > 0
    if not listed or not all(_is_index(atom, n) for atom in atoms):
        raise ValueError(
            f"blocks[{index}]: atoms {atoms} of {smiles!r} must be at least one index from 0 to "
            f"{n - 1}, in the order in which the SMILES is written"
        )
    return smiles, [int(atom) for atom in atoms]


def _is_index(atom: Any, n: int) -> bool:
    number = isinstance(atom, (int, np.integer)) and not isinstance(atom, bool)
    return number and 0 <= int(atom) < n


def _slots(smiles: str, named: set[int]) -> tuple[list[int], NDArray[np.int64]]:
    """The slots' atoms, and the block's symmetries as permutations of them, identity first."""
    molecule = Chem.MolFromSmiles(smiles)
    maps = np.array(
        molecule.GetSubstructMatches(
            molecule, uniquify=False, useChirality=True, maxMatches=MAX_SYMMETRIES
        )
    )
    if len(maps) == MAX_SYMMETRIES:  # the rest was not looked for
        raise ValueError(f"blocks: {smiles!r} has {MAX_SYMMETRIES} symmetries or more")
    # A substructure match lets N stand for NH; a symmetry must not.
    kind = np.array([_kind(atom) for atom in molecule.GetAtoms()])
    maps = maps[(kind[maps] == kind).all(axis=(1, 2))]
    atoms = np.unique(maps[:, sorted(named)]).tolist()
    position = {atom: slot for slot, atom in enumerate(atoms)}
    permutations = {tuple(position[a] for a in row) for row in maps[:, atoms].tolist()}
    identity = tuple(range(len(atoms)))
    return atoms, np.array([identity, *sorted(permutations - {identity})])


def _kind(atom: Chem.Atom) -> tuple[int, ...]:
    """What a symmetry keeps of an atom beyond its element and bonds."""
    numbers = atom.GetTotalNumHs(), atom.GetFormalCharge(), atom.GetIsotope()
    return (*numbers, atom.GetNumRadicalElectrons())
