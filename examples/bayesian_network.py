"""Which graph made these data? Train a sampler of graphs, beside exact answers and structure MCMC.

    python examples/bayesian_network.py train --help
    python examples/bayesian_network.py train --data my.csv --agent soft
    python examples/bayesian_network.py sample --model runs/bayesian_network/model.zip --n 1000
    python examples/bayesian_network.py exact --data my.csv
    python examples/bayesian_network.py mcmc --data my.csv --seconds 60

``train``, ``exact`` and ``mcmc`` write a folder: edges.csv (the probability of each edge, of each
directed path and of being in the Markov blanket), graphs.csv (the most probable graphs),
edges.png, and agreement.png where the answer is known. ``train`` also leaves config.json,
curve.csv, curve.png, model.zip, best_model.zip, TensorBoard's events, and checkpoint.zip, from
which ``--resume`` continues. ``exact`` sums over all graphs, up to 14 nodes. Without ``--data``
the data are drawn from a random network.
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
from structure_mcmc import structure_mcmc

import gfn_gym
from gfn_gym import GFNEnv
from gfn_gym.agents import (
    EvaluationCallback,
    GFNAlgorithm,
    as_policy,
    exact_metrics,
    sampled_metrics,
)
from gfn_gym.dag import Floats, States
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network.exact import (
    LARGEST_ENUMERATED,
    LARGEST_SUMMED,
    posterior,
    sum_over_graphs,
)
from gfn_gym.envs.bayesian_network.features import marginals
from gfn_gym.evaluation import sample
from network_plots import draw_agreement, draw_edges
from plots import draw_curve
from runs import (
    Options,
    Sample,
    check_counts,
    check_seconds,
    learn,
    load_run,
    make_agent,
    print_summary,
    sample_model,
    start_or_resume,
    write_samples,
)

KEPT = 20  # graphs in graphs.csv


@dataclass(kw_only=True)
class Problem:
    """The data and the score."""

    data: str | None = None
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
class Train(Problem, Options):
    """Train an agent and write the model, curves, probabilities and pictures to a folder."""

    potential: bool = True
    """Reward every edge with what it changes in the score, which changes no optimum."""
    trajectories: int = 200_000
    """Trajectories to train on."""
    samples: int = 20_000
    """Graphs drawn at the end."""
    mcmc: bool = False
    """Afterwards, walk structure MCMC for the same CPU time, and draw both side by side."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "samples")


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

    def __post_init__(self) -> None:
        check_counts(self, "chains")
        check_seconds(self)


def make_network(args: Problem) -> BayesianNetwork:
    """The environment's DAG, with its names, score and exact answers."""
    try:
        drawn = erdos_renyi_data(args.nodes, args.observations, seed=args.data_seed)[0]
        data = drawn if args.data is None else args.data
        return BayesianNetwork(data, args.score, args.max_parents)
    except (ValueError, OSError) as error:  # before any work is done
        raise SystemExit(str(error)) from error


# ---- training -------------------------------------------------------------------------------


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    dag = model.dag
    assert isinstance(dag, BayesianNetwork)
    evaluation = watch(dag, model, args)
    learn(args, model, evaluation)
    errors = [name for name in ("total_variation", "elbo_gap", "log_z_error")
              if name in evaluation.history[0]]  # fmt: skip
    if errors:  # without log Z there are none
        draw_curve(evaluation.history, errors, args.out / "curve.png")
    states = sample(dag, as_policy(model), args.samples, args.seed).states
    edges, others = marginals(dag.adjacency(states)), {}
    seconds = evaluation.history[-1]["cpu_seconds"]
    if args.mcmc:
        walked = structure_mcmc(dag, seconds, seed=args.seed)
        others = {f"structure MCMC, {seconds:.0f} CPU s": marginals(dag.adjacency(walked))}
    print_summary(args, evaluation)
    report(dag, f"trained sampler, {seconds:.0f} CPU s", states, None, edges, args.out, others)


def watch(dag: BayesianNetwork, model: GFNAlgorithm, args: Train) -> EvaluationCallback:
    """Exact where the graphs are few; else the bound on log Z, and its gap where log Z is known."""
    exact = dag.d <= LARGEST_ENUMERATED
    bound = "elbo" if dag.log_partition() is None else "elbo_gap"
    return EvaluationCallback(
        args.every,
        metrics=exact_metrics(model) if exact else sampled_metrics(model),
        best_model_save_path=args.out,
        monitor="total_variation" if exact else bound,
        monitor_mode="max" if bound == "elbo" and not exact else "min",
    )


def new_model(args: Train) -> GFNAlgorithm:
    env = GFNEnv(make_network(args), potential="dag" if args.potential else None)
    return make_agent(args, "auto", env)


def sample_run(args: Sample) -> None:
    model = load_run(args.model)
    drawn = sample_model(model, args, BayesianNetwork)
    dag = model.dag
    assert isinstance(dag, BayesianNetwork)
    graphs = [[" ".join(f"{a}->{b}" for a, b in dag.edges(state))] for state in drawn.states]
    write_samples(args.out, ["edges"], graphs, drawn)
    print(f"wrote {args.n} graphs to {args.out}; mean log R = {drawn.log_reward.mean():.3f}")


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
    others: dict[str, Floats] | None = None,
) -> None:
    """Write the CSVs of one method, and the pictures of it beside the exact answer and others."""
    out.mkdir(parents=True, exist_ok=True)
    write_edges(dag, states, weights, edges, out / "edges.csv")
    if len(states):
        write_graphs(dag, states, weights, out / "graphs.csv")
    panels = {title: edges, **(others or {})}
    if title != "exact" and dag.d <= LARGEST_SUMMED:
        known = sum_over_graphs(dag).edges
        draw_agreement(known, panels, out / "agreement.png")
        for name, found in panels.items():
            error = np.abs(found - known).max()
            print(f"{name}: edge probabilities are at most {error:.4f} off")
        panels = {"exact": known, **panels}
    draw_edges(dag.names, panels, out / "edges.png")
    print(f"wrote {out}/: " + ", ".join(sorted(p.name for p in out.iterdir())))


def exact(args: Exact) -> None:
    dag = make_network(args)
    if dag.d > LARGEST_SUMMED:
        raise SystemExit(f"{dag.d} nodes are too many for sums over graphs; at most "
                         f"{LARGEST_SUMMED} do: train a sampler, or use mcmc")  # fmt: skip
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
    print(f"GFN Gym {gfn_gym.__version__}")
    commands: dict[str, Any] = {"train": Train, "sample": Sample, "exact": Exact, "mcmc": MCMC}
    chosen: Any = tyro.extras.subcommand_cli_from_dict(commands)
    run: dict[type, Callable[[Any], None]] = {
        Train: train,
        Sample: sample_run,
        Exact: exact,
        MCMC: mcmc,
    }
    run[type(chosen)](chosen)


if __name__ == "__main__":
    main()
