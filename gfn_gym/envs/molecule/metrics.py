"""What chemists ask of a sampler of molecules: modes, the best ones, and how diverse they are.

Molecules are compared by the Tanimoto similarity of RDKit's topological fingerprints of 2048 bits.
Trees with one SMILES are one molecule here. Needs rdkit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rdkit import Chem, DataStructs

from gfn_gym.arguments import number, whole
from gfn_gym.dag import Floats, States
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.mdp import log_reward_of

SIMILAR = 0.7
"""Molecules less similar than this to each other are different modes (arXiv:2310.12934)."""


@dataclass(slots=True)
class Molecules:
    """n distinct molecules, best first.

    Attributes:
        smiles: canonical SMILES.
        scores: float64 (n,), see :func:`scores_of`.
        log_reward: float64 (n,).
        states: (n, d), for each SMILES the tree of highest log R.
    """

    smiles: list[str]
    scores: Floats
    log_reward: Floats
    states: States

    def __len__(self) -> int:
        return len(self.smiles)

    def take(self, places: Sequence[int]) -> Molecules:
        """Those at the given places, in that order."""
        chosen = np.array(places, dtype=np.int64)
        smiles = [self.smiles[place] for place in places]
        return Molecules(smiles, self.scores[chosen], self.log_reward[chosen], self.states[chosen])


def scores_of(dag: Molecule, states: States) -> Floats:
    """Return what chemists read of finished states (n, d), float64 (n,).

    The score that the reward is made of (the sEH proxy's value, QED·SA), or log R itself where the
    reward is a function that tells no score.
    """
    scores: Callable[[States], ArrayLike] | None = getattr(dag.reward, "scores", None)
    return log_reward_of(dag, states) if scores is None else np.asarray(scores(states))


def distinct_molecules(dag: Molecule, states: States) -> Molecules:
    """Merge finished states (n, d), repeats allowed, by SMILES; the highest log R comes first."""
    states = np.unique(states, axis=0)
    log_reward = log_reward_of(dag, states)
    order = np.argsort(-log_reward, kind="stable")
    smiles = Assembler(dag.vocabulary, dag.max_blocks).smiles(states[order])
    first = {text: place for place, text in reversed(list(enumerate(smiles)))}
    chosen = order[sorted(first.values())]
    return Molecules(
        list(dict.fromkeys(smiles)), scores_of(dag, states[chosen]), log_reward[chosen],
        states[chosen],
    )  # fmt: skip


def top_molecules(dag: Molecule, states: States, k: int) -> Molecules:
    """Return the k molecules of highest log R among finished states (n, d), merged by SMILES.

    Raises:
        ValueError: k below 1.
    """
    k = whole("k", k, least=1)
    molecules = distinct_molecules(dag, states)
    return molecules.take(range(min(k, len(molecules))))


def diverse_molecules(
    dag: Molecule,
    states: States,
    threshold: float = -np.inf,
    similarity: float = SIMILAR,
    k: int | None = None,
) -> Molecules:
    """Return the modes among finished states (n, d): good molecules, unlike each other.

    Greedily by log R: a molecule with a score of at least ``threshold`` is a mode if it is less
    similar than ``similarity`` to all earlier ones. With k, at most the first k.
    """
    molecules = distinct_molecules(dag, states)
    modes, places = _Distinct(similarity), list[int]()
    for place in np.flatnonzero(molecules.scores >= threshold).tolist():
        if k is not None and len(places) == k:
            break
        if modes.add(Chem.MolFromSmiles(molecules.smiles[place])):
            places.append(place)
    return molecules.take(places)


def diversity(smiles: Sequence[str]) -> float:
    """Return the mean Tanimoto distance, 1 − similarity, over all pairs of molecules.

    NaN where there are fewer than two.

    Raises:
        ValueError: a string is not a valid SMILES.
    """
    prints = [_fingerprint(_parsed(text)) for text in smiles]
    if len(prints) < 2:
        return float("nan")
    total = sum(
        sum(DataStructs.BulkTanimotoSimilarity(own, prints[:place]))
        for place, own in enumerate(prints)
    )
    return 1 - 2 * total / (len(prints) * (len(prints) - 1))


class TanimotoModes:
    """Counts the modes among molecules that are shown a few at a time, as training finds them.

    Of what is shown at once the highest score comes first; a molecule that scores at least
    ``threshold`` and is less similar than ``similarity`` to all modes so far is one. As the order
    of finding decides, the count may differ a little from :func:`diverse_molecules` of all at
    once. To be given to :class:`gfn_gym.agents.ModesCallback`.

    Args:
        dag: whose molecules.
        threshold: of the score; 7.0 for the sEH proxy in arXiv:2310.12934.
        similarity: see above.

    Attributes:
        states: a list of rows (d,), the modes in the order of finding.
    """

    def __init__(self, dag: Molecule, threshold: float = 7.0, similarity: float = SIMILAR):
        self.dag, self.threshold = dag, threshold
        self.states: list[States] = []
        self._modes = _Distinct(similarity)
        self._seen: set[bytes] = set()  # good ones; to show them again changes nothing
        self._assembler = Assembler(dag.vocabulary, dag.max_blocks)

    def __len__(self) -> int:
        """How many modes were found."""
        return len(self.states)

    def add(self, states: States) -> None:
        """Look at finished states (n, d)."""
        if not len(states):
            return
        scores = scores_of(self.dag, states)
        good = np.flatnonzero(scores >= self.threshold)
        new = []
        for place in good[np.argsort(-scores[good], kind="stable")].tolist():
            key = states[place].tobytes()
            if key not in self._seen:
                self._seen.add(key)
                new.append(place)
        if new:
            for place, molecule in zip(new, self._assembler.molecules(states[new]), strict=True):
                if self._modes.add(molecule):
                    self.states.append(states[place].copy())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the modes."""
        return {"states": np.array(self.states)}  # one array, however many modes

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.states, self._seen = list(state["states"]), set()
        self._modes = _Distinct(self._modes.similarity)
        if self.states:
            for molecule in self._assembler.molecules(np.stack(self.states)):
                self._modes.add(molecule)


class _Distinct:
    """Fingerprints of molecules, no two of them similar."""

    def __init__(self, similarity: float):
        self.similarity = number("similarity", similarity, above=0, most=1)
        self._prints: list[Any] = []

    def add(self, molecule: Chem.Mol) -> bool:
        """Add a molecule unless it is similar to an earlier one; whether it was added."""
        own = _fingerprint(molecule)
        if any(s >= self.similarity for s in DataStructs.BulkTanimotoSimilarity(own, self._prints)):
            return False
        self._prints.append(own)
        return True


def _fingerprint(molecule: Chem.Mol) -> Any:
    return Chem.RDKFingerprint(molecule, fpSize=2048)


def _parsed(smiles: str) -> Chem.Mol:
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"{smiles!r} is not a valid SMILES")
    return molecule
