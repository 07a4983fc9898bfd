"""The molecules that the paper evaluates on, as objects of a DAG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gfn_gym.contract import require_dag
from gfn_gym.dag import Floats, States
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.downloads import pdb105
from gfn_gym.envs.molecule.downloads import test_molecules as read_test_molecules
from gfn_gym.envs.molecule.vocabulary import Vocabulary, read_pairs
from gfn_gym.evaluation.sampling import check_objects


@dataclass(slots=True)
class TestSet:
    """Molecules to evaluate on, and those that could not be: why, by their names.

    Attributes:
        states: (n, d).
        names: n SMILES.
        left_out: SMILES and reason of each molecule that is not among them.
    """

    states: States
    names: list[str]
    left_out: list[tuple[str, str]]


def paper_test_molecules(dag: Molecule) -> TestSet:
    """Return the paper's 950 test molecules as objects of a DAG with its blocks, "pdb105".

    None is skipped in silence: what the DAG cannot build is in ``left_out``.

    Raises:
        FileNotFoundError: the file is nowhere and cannot be downloaded; the message says what to
            fetch and where to put it.
        ValueError: the DAG has other blocks, so that the molecules' numbers mean nothing to it.
    """
    require_dag(dag)
    if not isinstance(dag, Molecule) or dag.vocabulary != Vocabulary(read_pairs(pdb105())):
        raise ValueError(
            f"dag={dag!r} must have the blocks that the test molecules are made of: "
            "Molecule(blocks='pdb105')"
        )
    molecules = read_test_molecules()
    states, names, left_out = [], [], []
    for molecule, smiles in zip(molecules, _smiles(molecules), strict=True):
        try:
            state = dag.states_of_blocks(
                [molecule["blocks"]], [molecule["bonds"]], [molecule["stems"]]
            )
            states.append(check_objects(dag, state))
            names.append(smiles)
        except (ValueError, IndexError) as error:
            left_out.append((smiles, str(error)))
    rows = np.concatenate(states) if states else dag.initial_states(0)
    return TestSet(rows, names, left_out)


def _smiles(molecules: list[dict[str, Any]]) -> list[str]:
    """Their canonical SMILES, by a DAG that is large enough for all of them."""
    fields = [[molecule[name] for molecule in molecules] for name in ("blocks", "bonds", "stems")]
    dag = Molecule("pdb105", _no_reward, max_blocks=max(map(len, fields[0])))
    return Assembler(dag.vocabulary, dag.max_blocks).smiles(dag.states_of_blocks(*fields))


def _no_reward(states: States) -> Floats:
    return np.zeros(len(states))
