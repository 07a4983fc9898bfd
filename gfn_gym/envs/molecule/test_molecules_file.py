"""The paper's test molecules, read from upstream's pickle without making any of its objects.

The file (https://github.com/GFNOrg/gflownet, ``some_mols_U_1k.pkl.gz``) is a list of tuples whose
second entry is a molecule: an object of a class of upstream's, which holds RDKit's. Only the
numbers in it are wanted, so both classes are replaced by ones that do nothing.
"""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any


def load_test_molecules(path: Path) -> list[dict[str, Any]]:
    """Read a gzipped pickle of upstream's molecules; nothing that it names is ever imported.

    Returns:
        Of each molecule: ``blocks`` (entries of the vocabulary in the order of addition), ``bonds``
        ([block, block, atom, atom]), ``stems`` ([block, atom]) and ``reward`` (float).

    Raises:
        pickle.UnpicklingError: it names other classes, or holds something else than numbers.
    """
    with gzip.open(path) as file:
        entries = _InertOnly(file).load()
    try:
        return [_molecule(vars(entry[1])) for entry in entries]
    except (TypeError, KeyError, IndexError) as error:
        raise pickle.UnpicklingError(f"{path} is not a list of molecules: {error!r}") from error


def _molecule(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "blocks": _integers(fields["blockidxs"]),
        "bonds": [_integers(bond) for bond in fields["jbonds"]],
        "stems": [_integers(stem) for stem in fields["stems"]],
        "reward": float(fields["reward"]),
    }


def _integers(values: Any) -> list[int]:
    if not all(type(value) is int for value in values):
        raise TypeError(f"{values!r} are not integers")
    return list(values)


class _Fields:
    """Stands for upstream's molecule: the unpickler sets its attributes, and that is all."""


class _Nothing:
    """Stands for RDKit's: takes anything, keeps nothing."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _InertOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _REPLACED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the file holds {module}.{name}; only molecules are admitted"
            ) from None


_REPLACED = {
    ("mol_mdp_ext", "BlockMoleculeDataExtended"): _Fields,
    ("rdkit.Chem.rdchem", "Mol"): _Nothing,
}
