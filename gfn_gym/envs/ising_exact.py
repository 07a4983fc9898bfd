"""Exact answers of the Ising model: log Z, mean energy, distributions of energy and magnetisation.

On a torus by the transfer matrix, elsewhere by enumeration. A distribution is found from its
characteristic function, which is a ratio of partition functions at complex temperature or field.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import whole
from gfn_gym.dag import Floats
from gfn_gym.graph import batches

if TYPE_CHECKING:
    from gfn_gym.envs.ising import Ising

LARGEST_TORUS = 12  # 4^12 numbers, some seconds and 128 MiB
LARGEST_ENUMERATED = 20  # spins
LARGEST_RANGE = 700.0  # of logarithms that float64 can hold side by side
Distribution = tuple[Floats, Floats]
"""Values in rising order, and their probabilities, float64 (m,) each."""


def transfer_log_partition(side: int, coupling: complex, fields: NDArray[np.number]) -> complex:
    """Return log Z of a torus by its transfer matrix (Kramers and Wannier 1941).

    Z is the trace of a product over rows r of D_r·W, matrices over the 2^L configurations of a
    row: D_r is diagonal, exp of the fields and the bonds within the row; W, the bonds between
    rows, is a tensor power of [[e^K, e^−K], [e^−K, e^K]], so that a product with it takes L steps
    of 4^L instead of 8^L operations.

    Args:
        side: L, at least 2.
        coupling: K = β·J; complex for characteristic functions.
        fields: β·h of the sites, (L²,).
    """
    spins = 2 * ((np.arange(2**side)[:, None] >> np.arange(side)) & 1) - 1  # (2^L, L)
    within = (spins * np.roll(spins, -1, axis=1)).sum(axis=1)
    rows = np.asarray(fields).reshape(side, side)
    # What differs by more from row to row may be lost between the largest and smallest float.
    difference = 4 * side * abs(coupling) + 2 * np.abs(rows).sum(axis=1).max()
    if difference > LARGEST_RANGE and not np.iscomplexobj([coupling, rows[0, 0]]):
        return complex(_log_partition_in_logs(coupling.real, rows, spins, within))
    dtype = np.result_type(rows, type(coupling), np.float64)
    product = np.eye(2**side, dtype=dtype)
    # The larger of the two weights of a bond between rows is taken out of each, lest it overflow.
    strength = abs(coupling.real)
    equal, unequal = np.exp(coupling - strength), np.exp(-coupling - strength)
    log_scale = side**2 * strength
    for row in rows:
        for site in range(side):
            halves = product.reshape(-1, 2, 2**site * 2**side)
            down, up = halves[:, 0], halves[:, 1]
            product = np.stack([equal * down + unequal * up, unequal * down + equal * up], axis=1)
        logs = coupling * within + spins @ row
        top = float(np.max(logs.real))
        product = product.reshape(2**side, 2**side) * np.exp(logs - top)[:, None]
        scale = float(np.abs(product).max())
        product /= scale
        log_scale += top + float(np.log(scale))
    trace = complex(np.trace(product))
    return log_scale + cmath.log(trace) if trace else complex(-np.inf)


def _log_partition_in_logs(
    coupling: float, rows: Floats, spins: NDArray[np.int64], within: NDArray[np.int64]
) -> float:
    """The same with all numbers as logarithms, for strong couplings; slower by some ten times."""
    n_configurations, side = spins.shape
    logs = np.where(np.eye(n_configurations, dtype=bool), 0.0, -np.inf)
    for row in rows:
        for site in range(side):
            halves = logs.reshape(-1, 2, 2**site * n_configurations)
            down, up = halves[:, 0], halves[:, 1]
            logs = np.stack(
                [
                    np.logaddexp(down + coupling, up - coupling),
                    np.logaddexp(up + coupling, down - coupling),
                ],
                axis=1,
            )
        diagonal = coupling * within + spins @ row
        logs = logs.reshape(n_configurations, n_configurations) + diagonal[:, None]
    return float(np.logaddexp.reduce(np.diagonal(logs)))


def all_energies(dag: Ising) -> tuple[Floats, NDArray[np.int64]]:
    """Return energy and magnetisation of all 2^N configurations, (2^N,) each.

    Raises:
        ValueError: more than 20 spins.
    """
    if dag.n_spins > LARGEST_ENUMERATED:
        raise ValueError(
            f"{dag!r} has too many configurations to enumerate; at most {LARGEST_ENUMERATED} "
            "spins do"
        )
    energies = np.empty(2**dag.n_spins)
    magnetisations = np.empty(2**dag.n_spins, dtype=np.int64)
    for part in batches(2**dag.n_spins):
        numbers = np.arange(part.start, part.stop)
        states = ((numbers[:, None] >> np.arange(dag.n_spins)) & 1).astype(np.int8)
        energies[part], magnetisations[part] = dag.energy(states), dag.magnetisation(states)
    return energies, magnetisations


def mean_energy(dag: Ising) -> float:
    """Return ⟨E⟩ = −∂ log Z/∂β.

    Raises:
        ValueError: neither enumeration nor the transfer matrix applies.
        FloatingPointError: the temperature is so low that float64 cannot hold what is to be added.
    """
    if dag.n_spins <= LARGEST_ENUMERATED:
        values, probabilities = energy_distribution(dag)
        return float(values @ probabilities)
    side, step = _side(dag), 1e-20  # a complex step has no rounding error
    shifted = dag.beta + 1j * step
    log_z = transfer_log_partition(side, shifted * dag.J, shifted * dag.field)
    if not np.isfinite(log_z):
        raise FloatingPointError(f"{dag!r} is too cold for its mean energy by the transfer matrix")
    return -log_z.imag / step


def energy_distribution(dag: Ising) -> Distribution:
    """Return the energies that occur and their probabilities.

    Beyond 20 spins by the transfer matrix, without a field: E/J is a whole number from −2·L² to
    2·L² in steps of 4. At L = 9 this takes some ten seconds.

    Raises:
        ValueError: neither enumeration nor the transfer matrix applies.
    """
    if dag.n_spins <= LARGEST_ENUMERATED:
        energies, _ = all_energies(dag)
        return _collect(np.round(energies, 9), -dag.beta * energies)
    side = _side(dag)
    if dag.field.any() or dag.J == 0:
        raise ValueError(f"{dag!r}: exact energies by the transfer matrix need no field and J ≠ 0")
    size = dag.n_spins + 1

    def characteristic(angle: float) -> complex:  # of k = (E/J + 2·L²)/4, at angle per k
        # Σ_E g(E)·exp(−βE + i·angle·E/(4J)), times a phase for the origin
        shifted = dag.beta * dag.J - 0.25j * angle
        log_z = transfer_log_partition(side, shifted, np.zeros(dag.n_spins))
        return log_z + 0.5j * angle * dag.n_spins

    probabilities = _invert(characteristic, size)
    values = dag.J * np.linspace(-2 * dag.n_spins, 2 * dag.n_spins, size)
    order = np.argsort(values)
    return values[order], probabilities[order]


def magnetisation_distribution(dag: Ising) -> Distribution:
    """Return the values of Σ s_i, −N to N in steps of 2, and their probabilities.

    Raises:
        ValueError: neither enumeration nor the transfer matrix applies.
    """
    if dag.n_spins <= LARGEST_ENUMERATED:
        energies, magnetisations = all_energies(dag)
        return _collect(magnetisations, -dag.beta * energies)
    side, size = _side(dag), dag.n_spins + 1

    def characteristic(angle: float) -> complex:  # of the number of spins up, (M + N)/2
        fields = dag.beta * dag.field + 0.5j * angle
        log_z = transfer_log_partition(side, dag.beta * dag.J, fields)
        return log_z + 0.5j * angle * dag.n_spins

    return np.linspace(-dag.n_spins, dag.n_spins, size), _invert(characteristic, size)


def histogram_distance(distribution: Distribution, samples: NDArray[np.number]) -> float:
    """Return ½·Σ|share of the samples − probability| over the values, in [0, 1].

    Its floor is :func:`sampling_floor`.

    Args:
        distribution: values in rising order, and their probabilities.
        samples: (n,), energies or magnetisations of samples.

    Raises:
        ValueError: no samples, or one is none of the values.
    """
    values, probabilities = distribution
    if not len(samples):
        raise ValueError("samples is empty: a histogram needs at least one")
    place = np.abs(samples[:, None] - values).argmin(axis=1)
    wrong = ~np.isclose(values[place], samples)
    if wrong.any():
        raise ValueError(f"samples holds {samples[wrong][0]}, which has no place in {values}")
    shares = np.bincount(place, minlength=len(values)) / len(samples)
    return float(np.abs(shares - probabilities).sum() / 2)


def sampling_floor(distribution: Distribution, n: int) -> float:
    """Return the expected :func:`histogram_distance` of n independent, perfect samples.

    By de Moivre's formula for the mean absolute deviation of a binomial count k:
    E|k − n·p| = 2·m·C(n, m)·p^m·(1 − p)^(n − m + 1) with m = ⌊n·p⌋ + 1.

    Raises:
        ValueError: n below 1.
    """
    total = 0.0
    for p in distribution[1].tolist():
        m = math.floor(whole("n", n, least=1) * p) + 1
        if 0 < p < 1 and m <= n:
            log_ways = math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1)
            log_rest = m * math.log(p) + (n - m + 1) * math.log1p(-p)
            total += 2 * m * math.exp(log_ways + log_rest)
    return total / (2 * n)


def _side(dag: Ising) -> int:
    if dag.L is None or dag.L > LARGEST_TORUS:
        raise ValueError(
            f"{dag!r}: exact answers need at most {LARGEST_ENUMERATED} spins, or a torus of at "
            f"most L = {LARGEST_TORUS}"
        )
    return dag.L


def _collect(values: NDArray[np.number], log_weights: Floats) -> Distribution:
    distinct, which = np.unique(values, return_inverse=True)
    weights = np.exp(log_weights - log_weights.max())
    return distinct.astype(np.float64), np.bincount(which, weights) / weights.sum()


def _invert(log_characteristic: Callable[[float], complex], size: int) -> Floats:
    """Probabilities of 0 … size − 1 from Σ_k p_k·exp(i·angle·k), up to a factor, in logarithms."""
    half = size // 2 + 1  # the other angles are conjugates
    angles = 2 * np.pi * np.arange(half) / size
    logs = np.array([log_characteristic(float(angle)) for angle in angles])
    values = np.exp(logs - logs[0])
    return np.fft.irfft(values.conj(), n=size).clip(0.0, 1.0)
