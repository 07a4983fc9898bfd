"""Samples of the Ising model by Metropolis and by Wolff, beside the exact answers.

    python examples/ising.py --help
    python examples/ising.py --L 9 --beta 0.4 --seconds 20
    python examples/ising.py --L 9 --beta 0.4407            # critical

Writes a folder: table.csv (mean energy and magnetisation, and how far the histograms are from the
exact ones), spins.png and histograms.png.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from gfn_gym.dag import Floats, States
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.ising_exact import (
    Distribution,
    energy_distribution,
    histogram_distance,
    magnetisation_distribution,
    mean_energy,
    sampling_floor,
)
from spin_plots import draw_histograms, draw_spins

BURN_IN = 0.2  # share of the CPU seconds


@dataclass(kw_only=True)
class Options:
    """The model, and how long to sample."""

    L: int = 9
    """Side of the torus."""
    J: float = 1.0
    """Coupling; Wolff's algorithm needs it above 0."""
    beta: float = 0.4
    """Inverse temperature."""
    seconds: float = 20.0
    """CPU seconds of each method."""
    seed: int = 0
    """Seed of the methods."""
    out: Path = field(default_factory=lambda: Path("runs/ising"))
    """The folder."""


def metropolis(dag: Ising, seconds: float, chains: int = 256, seed: int = 0) -> States:
    """Return states after each sweep of many chains, site by site, by the Metropolis rule."""
    generator = np.random.default_rng(seed)
    spins = generator.choice([-1.0, 1.0], size=(chains, dag.n_spins))
    kept, begin = [], time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for site in range(dag.n_spins):
            change = 2 * spins[:, site] * (spins @ dag.couplings[site] + dag.field[site])
            flip = np.log(generator.random(chains)) < -dag.beta * change
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


def exact_distributions(dag: Ising) -> dict[str, Distribution | None]:
    """The exact distributions of energy and magnetisation, None where they are not known."""
    functions = {"energy": energy_distribution, "magnetisation": magnetisation_distribution}
    found: dict[str, Distribution | None] = {}
    for name, function in functions.items():
        try:
            found[name] = function(dag)
        except ValueError:  # too large
            found[name] = None
    return found


def measure(
    dag: Ising, states: States, exact: dict[str, Distribution | None]
) -> dict[str, float | int]:
    """Averages over samples, and the histograms' distances with those of perfect samples."""
    values: dict[str, Floats] = {
        "energy": np.round(dag.energy(states), 9),
        "magnetisation": dag.magnetisation(states).astype(np.float64),
    }
    row: dict[str, float | int] = {
        "samples": len(states),
        "mean_energy": float(values["energy"].mean()),
        "mean_abs_magnetisation": float(np.abs(values["magnetisation"]).mean()),
    }
    for name, distribution in exact.items():
        if distribution is not None:
            row[f"{name}_distance"] = histogram_distance(distribution, values[name])
            row[f"{name}_floor"] = sampling_floor(distribution, len(states))
    return row


def report(
    dag: Ising, samples: dict[str, States], exact: dict[str, Distribution | None], out: Path
) -> None:
    """Write the table and the pictures of several methods' samples."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"method": name, **measure(dag, states, exact)} for name, states in samples.items()]
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        cells = (f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(", ".join(cells))
    # The first states of one chain are much alike: spread them over its length.
    spread = {name: s[np.linspace(0, len(s) - 1, 16).astype(int)] for name, s in samples.items()}
    draw_spins(dag, spread, out / "spins.png")
    draw_histograms(dag, exact, samples, out / "histograms.png")
    print(f"wrote {out}/: " + ", ".join(sorted(p.name for p in out.iterdir())))


def main(args: Options) -> None:
    dag = Ising(args.L, args.J, args.beta)
    exact = exact_distributions(dag)
    if exact["energy"] is not None:
        print(f"exact: log Z {dag.log_partition():.6f}, mean energy {mean_energy(dag):.6f}")
    samples = {
        "Metropolis": metropolis(dag, args.seconds, seed=args.seed),
        "Wolff": wolff(dag, args.seconds, seed=args.seed),
    }
    report(dag, samples, exact, args.out)


if __name__ == "__main__":
    main(tyro.cli(Options))
