"""Which graph made these data? Edge probabilities, exactly or by structure MCMC.

    python examples/bayesian_network.py exact --help
    python examples/bayesian_network.py exact --data my.csv
    python examples/bayesian_network.py mcmc --data my.csv --seconds 60
    python examples/bayesian_network.py mcmc --nodes 20 --max-parents 4

Writes a folder: edges.csv (the probability of each edge, of each directed path and of being in the
Markov blanket), graphs.csv (the most probable graphs), edges.png, and agreement.png where the
answer is known. ``exact`` sums over all graphs, up to 14 nodes. Without ``--data`` the data are
drawn from a random network.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from gfn_gym.dag import Floats, States
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network.exact import (
    LARGEST_ENUMERATED,
    LARGEST_SUMMED,
    posterior,
    sum_over_graphs,
)
from gfn_gym.envs.bayesian_network.features import marginals
from network_plots import draw_agreement, draw_edges

KEPT = 20  # graphs in graphs.csv


@dataclass(kw_only=True)
class Problem:
    """The data and the score."""

    data: Path | None = None
    """A CSV file whose first row names the columns; without it, random data are drawn."""
    score: Literal["bge", "bic", "bde"] = "bge"
    """bge and bic for numbers, bde for levels."""
    max_parents: int | None = None
    """Most parents of a node."""
    nodes: int = 5
    """Nodes of the random network."""
    observations: int = 100
    """Rows of the random data."""
    data_seed: int = 0
    """Seed of the random network and data."""
    out: Path = field(default_factory=lambda: Path("runs/bayesian_network"))
    """The folder."""


@dataclass(kw_only=True)
class Exact(Problem):
    """Sum over all graphs."""


@dataclass(kw_only=True)
class MCMC(Problem):
    """Walk from graph to graph by the Metropolis rule."""

    seconds: float = 30.0
    """CPU seconds."""
    chains: int = 64
    """Chains side by side."""
    seed: int = 0
    """Seed of the chains."""


def make_network(args: Problem) -> BayesianNetwork:
    """The environment's DAG, with its names, score and exact answers."""
    data = args.data
    drawn = erdos_renyi_data(args.nodes, args.observations, seed=args.data_seed)[0]
    return BayesianNetwork(drawn if data is None else data, args.score, args.max_parents)


# ---- structure MCMC -------------------------------------------------------------------------


def structure_mcmc(
    dag: BayesianNetwork, seconds: float, chains: int = 64, seed: int = 0, burn_in: float = 0.25
) -> States:
    """Return graphs visited by structure MCMC (Madigan and York 1995), int8 (n, d²).

    A proposal takes an ordered pair of nodes at random and toggles the edge i → j, or reverses it;
    both are their own inverse, so the Metropolis rule needs no correction. Every chain's graph is
    kept once in d² proposals, after a share ``burn_in`` of the CPU seconds.
    """
    generator = np.random.default_rng(seed)
    states, d, rows = dag.initial_states(chains), dag.d, np.arange(chains)
    log_reward, kept = dag.log_reward(states), []
    begin = time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for _ in range(d**2):
            proposals = propose(dag.adjacency(states), generator)
            legal = dag.contains(proposals)
            proposed = np.where(legal[:, None], proposals.reshape(chains, -1), states != 0)
            new = dag.log_reward(proposed)
            accept = np.log(generator.random(chains)) < new - log_reward
            states[accept] = proposed[rows[accept]]
            log_reward = np.where(accept, new, log_reward)
        if spent >= burn_in * seconds:
            kept.append(states.copy())
    return np.concatenate(kept or [states])


def propose(graphs: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Toggle or reverse one edge of every graph (n, d, d); a missing edge is not reversed."""
    n, d = graphs.shape[:2]
    rows, i = np.arange(n), generator.integers(d, size=n)
    j = (i + generator.integers(1, d, size=n)) % d
    result, there = graphs.copy(), graphs[np.arange(n), i, j]
    reverse = generator.random(n) < 0.5
    result[rows, i, j] = np.where(reverse, False, ~there)
    result[rows, j, i] |= reverse & there
    return result


# ---- what is written ------------------------------------------------------------------------


def write_edges(
    dag: BayesianNetwork, states: States, weights: Floats | None, edges: Floats, path: Path
) -> None:
    """A row for each ordered pair of nodes: the probability of every feature."""
    graphs = dag.adjacency(states)
    tables = {"edge": edges}  # without graphs, sums over graphs tell no other feature
    for name in ("path", "markov_blanket") if len(graphs) else ():
        tables[name] = marginals(graphs, name, weights)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["from", "to", *tables])
        for i, j in np.argwhere(~np.eye(dag.d, dtype=bool)):
            row = [f"{table[i, j]:.6f}" for table in tables.values()]
            writer.writerow([dag.names[i], dag.names[j], *row])


def write_graphs(dag: BayesianNetwork, states: States, weights: Floats | None, path: Path) -> None:
    """The most probable of some graphs: their share, their log R and their edges."""
    distinct, which = np.unique(states, axis=0, return_inverse=True)
    shares = np.bincount(which.reshape(-1), weights) / (len(states) if weights is None else 1.0)
    log_reward = dag.log_reward(distinct)
    best = np.argsort(-log_reward, kind="stable")[:KEPT]
    log_z = dag.log_partition()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["share", "probability", "log_reward", "edges"])
        for k in best:
            probability = "" if log_z is None else f"{np.exp(log_reward[k] - log_z):.6f}"
            edges = " ".join(f"{a}->{b}" for a, b in dag.edges(distinct[k]))
            writer.writerow([f"{shares[k]:.6f}", probability, f"{log_reward[k]:.4f}", edges])


def report(
    dag: BayesianNetwork,
    title: str,
    states: States,
    weights: Floats | None,
    edges: Floats,
    out: Path,
) -> None:
    """Write the CSVs and the pictures of one method, beside the exact answer where it is known."""
    out.mkdir(parents=True, exist_ok=True)
    write_edges(dag, states, weights, edges, out / "edges.csv")
    if len(states):
        write_graphs(dag, states, weights, out / "graphs.csv")
    panels = {title: edges}
    if title != "exact" and dag.d <= LARGEST_SUMMED:
        panels = {"exact": sum_over_graphs(dag).edges, title: edges}
        error = np.abs(edges - panels["exact"])
        draw_agreement(panels["exact"], {title: edges}, out / "agreement.png")
        print(f"edge probabilities are at most {error.max():.4f} off")
    draw_edges(dag.names, panels, out / "edges.png")
    print(f"wrote {out}/: " + ", ".join(sorted(p.name for p in out.iterdir())))


def exact(args: Exact) -> None:
    dag = make_network(args)
    begin = time.process_time()
    sums = sum_over_graphs(dag)
    print(f"log Z = {sums.log_partition:.6f}, {time.process_time() - begin:.1f} CPU seconds")
    states, weights = dag.initial_states(0), None
    if dag.d <= LARGEST_ENUMERATED:
        states, weights = posterior(dag)
    report(dag, "exact", states, weights, sums.edges, args.out)


def mcmc(args: MCMC) -> None:
    dag = make_network(args)
    states = structure_mcmc(dag, args.seconds, args.chains, args.seed)
    print(f"{len(states)} graphs of {args.chains} chains, {args.seconds:g} CPU seconds")
    report(dag, "structure MCMC", states, None, marginals(dag.adjacency(states)), args.out)


def main() -> None:
    commands: dict[str, Callable[..., Any]] = {"exact": Exact, "mcmc": MCMC}
    chosen = tyro.extras.subcommand_cli_from_dict(commands)
    exact(chosen) if isinstance(chosen, Exact) else mcmc(chosen)


if __name__ == "__main__":
    main()
