"""Energies and exact ensembles of secondary structures, by ViennaRNA, from one energy model.

Lorenz et al. 2011, doi:10.1186/1748-7188-6-26; the partition function is McCaskill's (1990).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import RNA

from gfn_gym.dag import Floats

GAS_CONSTANT = 1.98717e-3  # kcal/(mol·K), as ViennaRNA has it
ZERO_CELSIUS = 273.15
LONGEST_LOOP = 30  # unpaired bases of an interior loop or bulge, beyond which pf() does not look

ABOVE_BEST = [50 * 2**i for i in range(9)]  # how far to look for structures, in 0.01 kcal/mol


class Ensemble:
    """The Boltzmann ensemble P(structure) = exp(−β·E/kT)/Z of a sequence.

    Args:
        sequence: of the letters ACGU.
        temperature: in °C, of the energies and of kT.
        exponent: β.

    Attributes:
        kT: in kcal/mol.
    """

    def __init__(self, sequence: str, temperature: float = 37.0, exponent: float = 1.0):
        self.sequence, self.temperature, self.exponent = sequence, temperature, exponent
        self.kT = (temperature + ZERO_CELSIUS) * GAS_CONSTANT

    def energies(self, structures: Sequence[str]) -> Floats:
        """Return E of n structures in dot-bracket, kcal/mol, float64 (n,)."""
        evaluate = _compound(self.sequence, self.temperature, self.exponent).eval_structure
        # ViennaRNA computes in integers of 0.01 kcal/mol and returns them as float32.
        energies = np.fromiter(map(evaluate, structures), dtype=np.float64, count=len(structures))
        return np.rint(energies * 100.0) / 100.0

    def log_weights(self, structures: Sequence[str]) -> Floats:
        """Return −β·E/kT of n structures, float64 (n,)."""
        return -self.exponent / self.kT * self.energies(structures)

    def log_partition(self) -> float:
        """Return log Z by ``pf()``, in double precision.

        ``pf()`` leaves interior loops and bulges of more than 30 unpaired bases out; see
        :meth:`log_partition_correction`.
        """
        # pf() returns its free energy as float32; the probability of the best structure is computed
        # from the same Z in double, and is no smaller than a float can be.
        settings = (self.sequence, self.temperature, self.exponent)
        least = _least_energy(*settings)
        share = _folded(*settings).pr_energy(least)
        return -self.exponent * least / self.kT - math.log(share)

    def base_pair_probabilities(self) -> Floats:
        """Return P(base i pairs with base j) by ``bpp()``, symmetric float64 (N, N)."""
        folded = _folded(self.sequence, self.temperature, self.exponent)
        upper = np.array(folded.bpp())[1:, 1:]  # ViennaRNA counts from 1
        return upper + upper.T

    def best_structures(self, k: int) -> list[str]:
        """Return the k structures of lowest energy in dot-bracket, best first, by ``subopt()``.

        Fewer where the sequence has fewer.
        """
        compound = _compound(self.sequence, self.temperature, self.exponent)
        found: list[str] = []
        for above in ABOVE_BEST:
            found = [solution.structure for solution in compound.subopt(above, 1)]
            if len(found) >= k:
                break
        best = np.argsort(self.energies(found), kind="stable")[:k]
        return [found[place] for place in best.tolist()]

    def log_partition_correction(self) -> float:
        """Return log(Σ exp(−β·E/kT) over all structures / Z of ``pf()``); 0 below 34 bases.

        ``pf()`` leaves out interior loops and bulges of more than 30 unpaired bases, and does not
        round the energies of hairpin loops of more than 30 to 0.01 kcal/mol as
        ``eval_structure()`` does. Exact up to 70 bases, where no structure has two such loops of
        the first kind; beyond to first order.
        """
        n = len(self.sequence)
        compound = _folded(self.sequence, self.temperature, self.exponent)
        inside = _inside(compound, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            outside = np.where(inside > 0, np.triu(self.base_pair_probabilities()) / inside, 0.0)
        starts, ends = np.nonzero(inside)
        share = 0.0
        for i, j in zip(starts.tolist(), ends.tolist(), strict=True):
            loops = self._rounding_of_hairpin(compound, i, j)
            within = (starts > i) & (ends < j) & (starts - i + j - ends - 2 > LONGEST_LOOP)
            for k, m in zip(starts[within].tolist(), ends[within].tolist(), strict=True):
                energy = compound.eval_int_loop(i + 1, j + 1, k + 1, m + 1) / 100.0
                loops += math.exp(-self.exponent * energy / self.kT) * inside[k, m]
            share += outside[i, j] * loops
        return math.log1p(share)

    def _rounding_of_hairpin(self, compound: Any, i: int, j: int) -> float:
        """How much the weight of the hairpin loop that i and j close grows by rounding."""
        size = j - i - 1
        if size <= LONGEST_LOOP:
            return 0.0
        parameters = compound.params
        exact = parameters.hairpin[LONGEST_LOOP] + parameters.lxc * math.log(size / LONGEST_LOOP)
        beta = self.exponent / (100.0 * self.kT)  # energies below are in 0.01 kcal/mol
        weight = math.exp(-beta * compound.eval_hp_loop(i + 1, j + 1))
        return -weight * math.expm1(-beta * (exact - int(exact)))


def _inside(compound: Any, n: int) -> Floats:
    """The partition function of all structures from i to j in which these two pair, (n, n)."""
    table, index, scale = compound.exp_matrices.qb, compound.iindx, compound.exp_params.pf_scale
    inside = np.zeros((n, n))
    for i in range(1, n + 1):
        for j in range(i + 1, n + 1):
            inside[i - 1, j - 1] = table[index[i] - j] * scale ** (j - i + 1)
    return inside


@lru_cache(maxsize=64)
def _compound(sequence: str, temperature: float, exponent: float) -> Any:
    """ViennaRNA's object, which cannot be pickled and so lies outside ours."""
    model = RNA.md()
    model.temperature, model.betaScale = temperature, 1.0 / exponent  # which multiplies kT
    model.pf_smooth = 0  # else the energies of pf() are not those of eval_structure()
    return RNA.fold_compound(sequence, model)


@lru_cache(maxsize=64)
def _folded(sequence: str, temperature: float, exponent: float) -> Any:
    """The same after its partition function has been computed."""
    compound = _compound(sequence, temperature, exponent)
    compound.exp_params_rescale(_least_energy(sequence, temperature, exponent))  # against overflow
    compound.pf()
    return compound


@lru_cache(maxsize=64)
def _least_energy(sequence: str, temperature: float, exponent: float) -> float:
    least: float = _compound(sequence, temperature, exponent).mfe()[1]
    return least
