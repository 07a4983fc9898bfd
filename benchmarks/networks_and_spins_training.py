"""Training on Bayesian networks and Ising models, against exact answers and Markov chains.

    python benchmarks/networks_and_spins_training.py train                # an hour or two of CPU
    python benchmarks/networks_and_spins_training.py train --only five-nodes --seeds 0
    python benchmarks/networks_and_spins_training.py chains --most 20     # CPU seconds of each
    python benchmarks/networks_and_spins_training.py reference            # for twenty nodes, first
    python benchmarks/networks_and_spins_training.py draw                 # from the CSVs alone

benchmarks/results/networks_and_spins/ gets a curve for each run and seed, and table.csv, a row for
each finished run and chain: what its samples are off, and the CPU seconds of training or walking.
A run whose row is there is not repeated; one that was interrupted goes on from its checkpoint in
runs/networks_and_spins/.
"""

from __future__ import annotations

import csv
import importlib
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from networks_and_spins_aims import AIMS, REFERENCE, Aim, Row, edge_errors
from networks_and_spins_figures import draw_all
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym import GFNEnv, agents
from gfn_gym.agents import (
    EvaluationCallback,
    TrainingCheckpoint,
    as_policy,
    sampled_metrics,
)
from gfn_gym.envs.bayesian_network import BayesianNetwork
from gfn_gym.envs.bayesian_network.features import marginals
from gfn_gym.evaluation import evaluate_exact, sample, terminal_distribution
from gfn_gym.graph import enumerate_graph

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "networks_and_spins"
CHECKPOINTS = HERE.parent / "runs" / "networks_and_spins"
EXAMPLES = HERE.parent / "examples"
CHAINS = {  # modules there, and their functions
    "structure MCMC": ("structure_mcmc", "structure_mcmc"),
    "Metropolis": ("spin_chains", "metropolis"),
    "Wolff": ("spin_chains", "wolff"),
}


@dataclass(kw_only=True)
class Train:
    """Train, and judge the samplers."""

    only: tuple[str, ...] = ()
    """Names of the aims; by default all."""
    seeds: tuple[int, ...] | None = None
    """Seeds; by default each aim's own."""


@dataclass(kw_only=True)
class Chains:
    """Walk Markov chains for the CPU seconds that the training took, or fewer."""

    only: tuple[str, ...] = ()
    """Names of the aims; by default all."""
    most: float = math.inf
    """CPU seconds that each chain walks at most."""


@dataclass(kw_only=True)
class Reference:
    """Walk two long structure MCMCs on twenty nodes; their mean stands for the exact answer."""

    seconds: float = 600.0
    """CPU seconds of each."""


@dataclass
class Draw:
    """Draw the figures from the CSVs."""

    folder: Path = field(default_factory=lambda: RESULTS)
    """Where the CSVs are."""


def train(args: Train) -> None:
    torch.set_num_threads(1)
    for aim in chosen(args.only):
        for seed in aim.seeds if args.seeds is None else args.seeds:
            if not find(aim.name, aim.agent, seed):
                train_one(aim, seed)


def train_one(aim: Aim, seed: int) -> None:
    """Train one sampler, or go on with it; write its curve on the way and its row at the end."""
    checkpoint = CHECKPOINTS / f"{aim.name}-{seed}.zip"
    algorithm, resumed = getattr(agents, aim.agent), checkpoint.exists()
    if resumed:
        model = algorithm.resume(checkpoint, device="cpu", trusted=True)  # written here
    else:
        env, settings = GFNEnv(aim.make(), potential="dag"), {"preset": "fast", **aim.kwargs}
        model = algorithm(aim.policy, env, seed=seed, device="cpu", **settings)
    print(f"{time.strftime('%H:%M:%S')} {aim.name}, seed {seed}", flush=True)
    every = (max(1, aim.trajectories // aim.evaluations), "episode")
    evaluation = EvaluationCallback(every, metrics=metrics_of(aim, model), monitor=aim.metric)
    model.learn(
        total_trajectories=None if resumed else aim.trajectories,
        callback=[
            evaluation,
            # Before the CSV, so that the CSV never has a row that is not in a checkpoint.
            TrainingCheckpoint(checkpoint, every, overwrite=True),
            Curve(evaluation, RESULTS / f"{aim.name}-{seed}.csv"),
        ],
    )
    model.save(checkpoint.with_name(f"{aim.name}-{seed}-model.zip"))
    drawn = sample(model.dag, as_policy(model), aim.samples, seed=1)
    last = {k: v for k, v in evaluation.history[-1].items() if k != "timesteps"}
    add_row({"aim": aim.name, "method": aim.agent, "seed": seed, **last,
             **aim.measure(model.dag, drawn.states)})  # fmt: skip
    checkpoint.unlink()


def metrics_of(aim: Aim, model: Any) -> Any:
    """What is measured during training: exactly where the graph of states is small."""
    if not aim.exact:
        return sampled_metrics(model)
    graph = enumerate_graph(model.dag)
    objects = graph.states[graph.objects]

    def metrics(policy: Any) -> Row:
        row = evaluate_exact(graph, policy)
        if isinstance(model.dag, BayesianNetwork):
            shares = terminal_distribution(graph, policy)
            errors = edge_errors(model.dag, objects, shares)
            row |= {f"exact_{name}": error for name, error in errors.items()}
        return row

    return metrics


def chains(args: Chains) -> None:
    for aim in chosen(args.only):
        spent = [float(row["cpu_seconds"]) for row in find(aim.name, aim.agent)]
        for method in aim.chains:
            if not spent or find(aim.name, method, 0):
                continue
            seconds, dag = min(args.most, sum(spent) / len(spent)), aim.make()
            print(f"{time.strftime('%H:%M:%S')} {aim.name}, {method}, {seconds:.0f} s", flush=True)
            states = walk(method, dag, seconds)
            add_row({"aim": aim.name, "method": method, "seed": 0,
                     "cpu_seconds": round(seconds, 1), **aim.measure(dag, states)})  # fmt: skip


def walk(method: str, dag: Any, seconds: float, seed: int = 0) -> Any:
    """The states that a Markov chain of the examples visits in that many CPU seconds."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    module, name = CHAINS[method]
    return getattr(importlib.import_module(module), name)(dag, seconds, seed=seed)


def reference(args: Reference) -> None:
    (aim,) = (aim for aim in AIMS if aim.name == "twenty-nodes")
    dag = aim.make()
    walks = [walk("structure MCMC", dag, args.seconds, seed) for seed in (1, 2)]
    edges = [marginals(dag.adjacency(states)) for states in walks]
    apart = np.abs(edges[0] - edges[1])
    REFERENCE.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(REFERENCE, (edges[0] + edges[1]) / 2, delimiter=",", fmt="%.6f")
    print(f"two chains of {args.seconds:g} CPU seconds are at most {apart.max():.4f} apart, on "
          f"average {apart.mean():.5f}")  # fmt: skip


class Curve(BaseCallback):
    """Writes an evaluation's history to a CSV whenever there is more of it."""

    def __init__(self, evaluation: EvaluationCallback, path: Path):
        super().__init__()
        self.evaluation, self.path, self._rows = evaluation, path, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        history = self.evaluation.history
        if len(history) > self._rows:
            self._rows = len(history)
            write(self.path, history)
            print(", ".join(f"{k} {v:.4g}" for k, v in history[-1].items()), flush=True)

    _on_training_end = _on_rollout_start


# ---- the table ------------------------------------------------------------------------------


def chosen(only: tuple[str, ...]) -> list[Aim]:
    names = [aim.name for aim in AIMS]
    unknown = set(only) - set(names)
    if unknown:
        raise SystemExit(f"--only {' '.join(sorted(unknown))}: there are {', '.join(names)}")
    return [aim for aim in AIMS if not only or aim.name in only]


def find(aim: str, method: str, seed: int | None = None) -> list[dict[str, str]]:
    """The rows of the table for an aim and a method, and a seed if one is given."""
    return [
        row
        for row in read(RESULTS / "table.csv")
        if (row["aim"], row["method"]) == (aim, method) and str(seed) in (row["seed"], "None")
    ]


def add_row(row: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = [*read(RESULTS / "table.csv"), row]
    write(RESULTS / "table.csv", rows)
    print(", ".join(f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}"
                    for k, v in row.items()), flush=True)  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows may have different columns; a cell that a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    commands: dict[str, Any] = {"train": Train, "chains": Chains}
    commands |= {"reference": Reference, "draw": Draw}
    args: Any = tyro.extras.subcommand_cli_from_dict(commands)
    if isinstance(args, Train):
        train(args)
    elif isinstance(args, Chains):
        chains(args)
    elif isinstance(args, Reference):
        reference(args)
    else:
        draw_all(args.folder)


if __name__ == "__main__":
    main()
