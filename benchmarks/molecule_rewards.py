"""Molecule rewards per CPU second, starting from rows: assembly, features and network, or QED·SA.

    OMP_NUM_THREADS=1 python benchmarks/molecule_rewards.py

On the paper's 950 test molecules, 37 heavy atoms on average; best of several rounds. The last
lines give the proxy alone, from SMILES.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from rdkit import Chem

from gfn_gym.envs.molecule import downloads
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.rewards import QedSa, Seh
from gfn_gym.envs.molecule.seh import Proxy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    args = parser.parse_args()
    molecules = downloads.test_molecules()
    dag = Molecule(blocks="pdb105", reward="seh")
    assert isinstance(dag.reward, Seh)
    fields = [[m[name] for m in molecules] for name in ("blocks", "bonds", "stems")]
    states, assembler = dag.states_of_blocks(*fields), dag.reward.assembler
    smiles = assembler.smiles(states)
    proxy = Proxy(downloads.proxy_weights())

    def from_smiles(rows: slice) -> None:
        proxy([Chem.MolFromSmiles(s) for s in smiles[rows]], [[0]] * len(smiles[rows]))

    contestants: dict[str, Callable[[slice], object]] = {
        "assembly": lambda rows: assembler.molecules(states[rows]),
        "seh": lambda rows: Seh(assembler)(states[rows]),  # with an empty cache
        "qed_sa": lambda rows: QedSa(assembler)(states[rows]),
        "proxy from SMILES": from_smiles,
    }
    for name, evaluate in contestants.items():
        for size in args.batch_sizes:
            rates = [rate(evaluate, len(states), size) for _ in range(args.rounds)]
            print(f"{name}, batch {size}: {max(rates):.0f} (median {np.median(rates):.0f})")


def rate(evaluate: Callable[[slice], object], n: int, size: int) -> float:
    """Molecules per CPU second."""
    evaluate(slice(0, size))
    start = time.process_time()
    for first in range(0, n, size):
        evaluate(slice(first, first + size))
    return n / (time.process_time() - start)


if __name__ == "__main__":
    main()
