"""How well words bind to targets: the landscapes RNA1, RNA2 and RNA3 of the literature, and others.

A word is scored by the energy of its best duplex with a target, as a share of what the target's
own complement would have at that length: FLEXS (Sinai et al. 2020, arXiv:2010.02141), which
GFlowNet papers use as L14_RNA1 and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import RNA

from gfn_gym.dag import Floats
from gfn_gym.envs.rna.bases import read_bases

TARGETS = {
    "RNA1": (
        "GAACGAGGCACAUUCCGGCUCGCCCGGCCCAUGUGAGCAUGGGCCGGACC"
        "CCGUCCGCGCGGGGCCCCCGCGCGGACGGGGGCGAGCCGGAAUGUGCCUC"
    ),
    "RNA2": (
        "GAGGCACAUUCCGGCUCGCCCCCGUCCGCGCGGGGGCCCCGCGCGGACGG"
        "GGUCCGGCCCGCGCGGGGCCCCCGCGCGGGAGCCGGAAUGUGCCUCGUUC"
    ),
    "RNA3": (
        "CCGGUGAUACUGUUAGUGGUCACGGUGCAUUUAUAGCGCUAAAGUACAGU"
        "CUUCCCCUGUUGAACGGCGCCAUUGCAUACAGGGCCAGCCGCGUAACGCC"
    ),
}
"""The targets of the literature, of 100 bases each."""

_COMPLEMENT = str.maketrans("ACGU", "UGCA")


@dataclass(frozen=True)
class DuplexRatio:
    """The score of words of ``length`` bases: the mean over targets of

        E(target, word) / (E(target, its reverse complement)·length/|target|),

    E the energy of ``RNA.duplexfold`` in kcal/mol. 1 is as good as a piece of the complement on
    average; a word that forms no duplex has a large negative score.

    Attributes:
        targets: of names in :data:`TARGETS`, or sequences.
        length: of the words.

    Raises:
        ValueError: no target, or one with other letters than ACGU, or that binds nothing.
    """

    targets: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("targets=() must be at least one name or sequence")
        for name in self.targets:
            if _norm(_sequence(name), self.length) >= 0:
                raise ValueError(
                    f"targets has {name!r}: its own complement does not bind it, so there is "
                    "nothing to compare words with"
                )

    def __call__(self, words: list[str]) -> Floats:
        """Return the scores of n words, float64 (n,)."""
        sequences = [_sequence(name) for name in self.targets]
        ratios = [
            [RNA.duplexfold(target, word).energy / _norm(target, self.length) for word in words]
            for target in sequences
        ]
        return np.array(ratios).mean(axis=0)


def read_targets(targets: Any) -> tuple[str, ...]:
    """Return one or several names or sequences as a tuple.

    Raises:
        TypeError: not a string or a list of strings.
        ValueError: none, or a string that is neither a name nor a sequence of ACGU.
    """
    if not isinstance(targets, (str, Iterable)):
        raise TypeError(f"targets={targets!r} must be a name, a sequence, or a list of them")
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"targets={targets!r} has {name!r}, which is not a string")
        _sequence(name)
    return names


def _sequence(name: str) -> str:
    if name in TARGETS:
        return TARGETS[name]
    try:
        return read_bases("targets", name)
    except ValueError as error:
        raise ValueError(f"{error}; a target is one of {sorted(TARGETS)} or a sequence") from None


@lru_cache(maxsize=64)
def _norm(target: str, length: int) -> float:
    """The energy of a target with its own complement, cut to ``length`` bases' share."""
    complement = target.translate(_COMPLEMENT)[::-1]
    energy: float = RNA.duplexfold(target, complement).energy
    return energy * length / len(target)
