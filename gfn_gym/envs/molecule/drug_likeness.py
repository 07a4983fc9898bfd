"""QED of many molecules: RDKit's numbers, without most of the matching that they take.

A third of QED's time goes into 116 structural alerts, of which a molecule has one or none. What
an alert's match contains, an atom or two bonded atoms of the alert, must be in the molecule as
well: so a few such *keys* are looked for first, and only alerts all of whose keys were found.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rdkit import Chem
from rdkit.Chem import QED as UNTYPED_QED
from rdkit.Chem import rdMolDescriptors as descriptors

QED: Any = UNTYPED_QED

# Chosen one by one, on the paper's test molecules, by the time that each saves. They decide how
# fast the alerts are counted, not how many there are: a key that no alert contains rules none out.
KEYS = (
    "C=O", "c", "S", "C#N", "O", "[F,Cl,Br,I]", "aa", "[OH1]", "[N+]", "C=C", "[NH2]",
    "[nX3+,NX3+]~[s,S,c,C,n,N]", "[O-]", "[CR2]", "[CR1][CR1]", "[Cl,Br,I,F]c", "N",
    "[n+,N+]~[s,S,c,C,n,N,o,O]", "F", "[CH2R2][CH2R2]", "[13C]", "[C!R]=[C!R]", "[cR2]",
    "[OR0,NR0][OR0,NR0]", "[F,Cl,Br,I,S]c", "CO", "O=[#6]", "[15N]", "[N!R]",
)  # fmt: skip

_key_patterns = [Chem.MolFromSmarts(key) for key in KEYS]
_hydrogen = Chem.MolFromSmarts("[#1]")


def drug_likeness(molecule: Chem.Mol) -> float:
    """Return QED of a sanitised molecule, from 0 to 1: ``rdkit.Chem.QED.qed``, to the last bit."""
    if molecule.HasSubstructMatch(_hydrogen):  # which QED takes off first
        return float(QED.qed(molecule))
    strict = descriptors.NumRotatableBondsOptions.Strict
    aromatic = Chem.DeleteSubstructs(Chem.Mol(molecule), QED.AliphaticRings)
    properties = QED.QEDproperties(
        MW=descriptors._CalcMolWt(molecule),
        ALOGP=descriptors.CalcCrippenDescriptors(molecule)[0],
        HBA=sum(len(molecule.GetSubstructMatches(pattern)) for pattern in QED.Acceptors),
        HBD=descriptors.CalcNumHBD(molecule),
        PSA=descriptors.CalcTPSA(molecule),
        ROTB=descriptors.CalcNumRotatableBonds(molecule, strict),
        AROM=len(Chem.GetSSSR(aromatic)),
        ALERTS=n_alerts(molecule),
    )
    return float(QED.qed(molecule, qedProperties=properties))


def n_alerts(molecule: Chem.Mol) -> int:
    """Return how many of QED's structural alerts are in a molecule."""
    found = tuple(map(molecule.HasSubstructMatch, _key_patterns))
    return sum(map(molecule.HasSubstructMatch, _possible_alerts(found)))


@lru_cache(maxsize=10_000)
def _possible_alerts(found: tuple[bool, ...]) -> list[Chem.Mol]:
    """The alerts that a molecule may have in which those keys were ``found``."""
    missing = {part for part, there in zip(_parts_of_keys(), found, strict=True) if not there}
    return [alert for alert, parts in _alerts_with_parts() if missing.isdisjoint(parts)]


@lru_cache(maxsize=1)
def _alerts_with_parts() -> list[tuple[Chem.Mol, set[str]]]:
    return [(alert, _atoms(alert) | _bonds(alert)) for alert in QED.StructuralAlerts]


@lru_cache(maxsize=1)
def _parts_of_keys() -> list[str]:
    return [max(_bonds(pattern) or _atoms(pattern)) for pattern in _key_patterns]


def _atoms(pattern: Any) -> set[str]:
    """What a pattern asks of its atoms, one by one."""
    return {atom.GetSmarts() for atom in pattern.GetAtoms()}


def _bonds(pattern: Any) -> set[str]:
    """The same of its bonds and the two atoms of each."""
    return {
        bond.GetSmarts().join(
            sorted((bond.GetBeginAtom().GetSmarts(), bond.GetEndAtom().GetSmarts()))
        )
        for bond in pattern.GetBonds()
    }
