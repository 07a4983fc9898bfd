"""What is trained on Bayesian networks and Ising models, and what it is measured by."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from gfn_gym.dag import DAG, Floats, States
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network.exact import LARGEST_SUMMED, sum_over_graphs
from gfn_gym.envs.bayesian_network.features import marginals
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.ising_exact import (
    energy_distribution,
    histogram_distance,
    magnetisation_distribution,
    mean_energy,
    sampling_floor,
)

Row = dict[str, float]
REFERENCE = Path(__file__).parent / "results" / "networks_and_spins" / "twenty-nodes-edges.csv"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A sampler to be trained.

    Attributes:
        name: of its files.
        make: its DAG.
        trajectories: to train on; the learning rate decays over them.
        measure: what samples (n, d) of the DAG are off.
        metric: what is watched during training.
        exact: whether its states can be enumerated.
        samples: how many are judged at the end.
        chains: Markov chains that get the same CPU time.
        policy, seeds, kwargs: of the agent.
    """

    name: str
    make: Callable[[], Any]
    trajectories: int
    measure: Callable[..., Row]
    metric: str = "elbo_gap"
    exact: bool = False
    samples: int = 20_000
    chains: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    evaluations: int = 4
    agent: str = "SoftDQN"
    policy: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)


# ---- measures -------------------------------------------------------------------------------


def edge_errors(dag: BayesianNetwork, states: States, weights: Floats | None = None) -> Row:
    """How far the edge probabilities of samples are from the exact ones, or the reference's."""
    edges = marginals(dag.adjacency(states), "edge", weights)
    error = np.abs(edges - known_edges(dag))[~np.eye(dag.d, dtype=bool)]
    row = {"edge_error_max": float(error.max()), "edge_error_mean": float(error.mean())}
    return row if weights is not None else {"samples": len(states), **row}


@cache
def known_edges(dag: BayesianNetwork) -> Floats:
    """Exact up to 14 nodes; beyond, of a long structure MCMC."""
    if dag.d <= LARGEST_SUMMED:
        return sum_over_graphs(dag).edges
    with REFERENCE.open(newline="") as file:
        return np.array([[float(cell) for cell in row] for row in csv.reader(file)])


def spin_errors(dag: Ising, states: States) -> Row:
    """Mean energy, and the histograms' distances with those of perfect samples."""
    energies, magnetisations = np.round(dag.energy(states), 9), dag.magnetisation(states)
    exact, found = mean_energy(dag), float(energies.mean())
    row = {
        "samples": len(states),
        "mean_energy": found,
        "energy_error": found / exact - 1,
        "mean_abs_magnetisation": float(np.abs(magnetisations).mean()),
    }
    of_energies, of_magnetisations = distributions(dag)
    for name, distribution, values in (
        ("energy", of_energies, energies),
        ("magnetisation", of_magnetisations, magnetisations.astype(float)),
    ):
        row[f"{name}_distance"] = histogram_distance(distribution, values)
        row[f"{name}_floor"] = sampling_floor(distribution, len(states))
    return row


@cache
def distributions(dag: Ising) -> tuple[Any, Any]:
    return energy_distribution(dag), magnetisation_distribution(dag)


# ---- the aims -------------------------------------------------------------------------------


def network(nodes: int, data_seed: int = 0, max_parents: int | None = None) -> BayesianNetwork:
    return BayesianNetwork(erdos_renyi_data(nodes, seed=data_seed)[0], max_parents=max_parents)


def five_nodes(name: str, data_seed: int, seeds: Sequence[int], **kwargs: Any) -> Aim:
    return Aim(
        name=name,
        make=partial(network, 5, data_seed),
        trajectories=400_000,
        measure=edge_errors,
        metric="total_variation",
        exact=True,
        samples=100_000,
        chains=["structure MCMC"],
        seeds=seeds,
        kwargs=kwargs,
    )


def torus(L: int, beta: float, order: str = "raster") -> DAG:
    return Ising(L, beta=beta, order=order)


def spins(beta: float) -> Aim:
    return Aim(
        name=f"spins-9-{beta}",
        make=partial(torus, 9, beta),
        trajectories=24_000,
        measure=spin_errors,
        samples=10_000,
        chains=["Metropolis", "Wolff"],
    )


WITHOUT_EXPLORATION = {
    "exploration_initial_eps": 0.0,
    "exploration_final_eps": 0.0,
    "reward_annealing": None,
    "dueling": True,
}
NETWORKS = [
    # Trained with what "fast" and "auto" were before the others were.
    replace(five_nodes("five-nodes", 0, (0, 1, 2), **WITHOUT_EXPLORATION), policy="MlpPolicy"),
    five_nodes("five-nodes-data-1", 1, (0,)),
    five_nodes("five-nodes-data-2", 2, (0,)),
    Aim(
        name="eleven-nodes",
        make=partial(network, 11),
        trajectories=24_000,
        measure=edge_errors,
        samples=20_000,
        chains=["structure MCMC"],
    ),
    Aim(
        name="twenty-nodes",
        make=partial(network, 20, max_parents=4),
        trajectories=6_000,
        measure=edge_errors,
        metric="elbo",  # nobody knows log Z
        samples=20_000,
        chains=["structure MCMC"],
    ),
]
SPINS = [
    Aim(
        name="spins-4-raster",
        make=partial(torus, 4, 0.4),
        trajectories=60_000,
        measure=spin_errors,
        metric="total_variation",
        exact=True,
        samples=100_000,
        seeds=(0, 1, 2),
    ),
    Aim(
        name="spins-4-any",
        make=partial(torus, 4, 0.4, "any"),
        trajectories=60_000,
        measure=spin_errors,
        samples=1_000_000,
    ),
    *(spins(beta) for beta in (0.2, 0.4, 0.4407, 0.5)),
]
AIMS = [*NETWORKS, *SPINS]
