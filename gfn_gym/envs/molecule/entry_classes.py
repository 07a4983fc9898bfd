"""Vocabulary entries as leaves of a tree: which of them give the same leaf."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.molecule.canonical import Canonicaliser, Codes, Floats, log_factorials
from gfn_gym.envs.molecule.trees import Ints
from gfn_gym.envs.molecule.vocabulary import Vocabulary


class EntryClasses:
    """Classes of entries that give the same leaf, up to the symmetries of their block.

    An entry is in one class as it is attached to a tree, and in one as the only block of a tree.

    Attributes:
        entry: (C,), the first entry of each class.
        log_weight: float64 (C,), log(m·w) for m entries in the class, each with w symmetries as a
            leaf, see ``Molecule.log_uniform_backward``.
    """

    def __init__(self, vocabulary: Vocabulary, canonicaliser: Canonicaliser):
        attached = canonicaliser.contents(vocabulary.entry_open)
        canonicaliser.mark(attached, vocabulary.entry_slot)
        contents = np.concatenate([attached, canonicaliser.contents(vocabulary.entry_first)])
        codes, _, ties = canonicaliser.codes(np.tile(vocabulary.entry_block, 2), contents)
        self._codes, first, self._class, counts = np.unique(
            codes, return_index=True, return_inverse=True, return_counts=True
        )
        open = np.concatenate([vocabulary.entry_open, vocabulary.entry_first])
        log_symmetries = np.log(ties) + log_factorials(open)
        self.entry = first % vocabulary.n_entries
        self.log_weight: Floats = np.log(counts) + log_symmetries[first]
        self._n_entries = vocabulary.n_entries

    def of(self, entries: Ints, only: NDArray[np.bool_]) -> Ints:
        """The classes of entries (n,), each attached or, where ``only`` (n,), the only block."""
        return np.asarray(self._class[entries + only * self._n_entries])

    def find(self, codes: Codes) -> Ints:
        """The classes of leaves with these codes; −1 for one that no entry gives."""
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[place] == codes, place, -1)
