"""Metropolis' and Wolff's algorithms: what the Ising model is sampled with otherwise."""

from __future__ import annotations

import time

import numpy as np

from gfn_gym.dag import States
from gfn_gym.envs.ising import Ising

BURN_IN = 0.2  # share of the CPU seconds
TRIED = np.log(0.9)  # log of the share of flips that Metropolis tries


def metropolis(dag: Ising, seconds: float, chains: int = 256, seed: int = 0) -> States:
    """Return states after each sweep of many chains, site by site, by the Metropolis rule.

    One in ten flips is not tried: where each was accepted, as at β = 0 or on small frustrated
    lattices, sweeps would go back and forth between a few states.
    """
    generator = np.random.default_rng(seed)
    spins = generator.choice([-1.0, 1.0], size=(chains, dag.n_spins))
    kept, begin = [], time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for site in range(dag.n_spins):
            change = 2 * spins[:, site] * (spins @ dag.couplings[site] + dag.field[site])
            flip = np.log(generator.random(chains)) < TRIED - dag.beta * change.clip(0)
            spins[flip, site] *= -1
        if spent >= BURN_IN * seconds:
            kept.append((spins > 0).astype(np.int8))
    return np.concatenate(kept or [(spins > 0).astype(np.int8)])


def wolff(dag: Ising, seconds: float, seed: int = 0) -> States:
    """Return the states after each flip of a cluster (Wolff 1989); one chain, J > 0, no field."""
    if dag.field.any() or (dag.couplings < 0).any():
        raise ValueError(f"{dag!r}: Wolff's algorithm here needs J of at least 0 and no field")
    generator = np.random.default_rng(seed)
    neighbours = [np.flatnonzero(row) for row in dag.couplings]
    bonds = -np.expm1(-2 * dag.beta * dag.couplings)  # probability that a bond joins equal spins
    spins = generator.choice([0, 1], size=dag.n_spins).astype(np.int8)
    kept, begin = [], time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        seed_site = int(generator.integers(dag.n_spins))
        value, stack = spins[seed_site], [seed_site]
        spins[seed_site] = 1 - value  # flipped at once, so that no site joins twice
        while stack:
            site = stack.pop()
            around = neighbours[site]
            joined = around[
                (spins[around] == value) & (generator.random(len(around)) < bonds[site, around])
            ]
            spins[joined] = 1 - value
            stack += joined.tolist()
        if spent >= BURN_IN * seconds:
            kept.append(spins.copy())
    return np.array(kept or [spins])
