"""How planning brings a partly trained agent closer to the target.

    python examples/planning.py grid --help
    python examples/planning.py grid
    python examples/planning.py grid --planning-in-training 4
    python examples/planning.py bits --simulations 0 4 16 64 --test-step 37
    python examples/planning.py bits --n 120 --k 8 --trajectories 16000

Trains SoftDQN briefly, once per seed, and evaluates it with MENTS (arXiv:2406.13655) and an
increasing number of simulations: by the exact total variation on the hypergrid, by Spearman's
correlation of R and P on bit sequences. Writes grid.csv or bits.csv row by row (grid_4.csv if it
also planned with 4 simulations during training), and draws all CSVs of the folder in planning.png.
The first three commands after --help made benchmarks/paper/results/planning/.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from matplotlib.axes import Axes

from gfn_gym.agents import MENTS, SoftDQN
from gfn_gym.envs.bit_sequence import flipped_modes
from gfn_gym.evaluation import evaluate_exact, reward_correlation
from gfn_gym.graph import enumerate_graph

METRICS = {
    "grid": ("total_variation", "hypergrid: exact total variation"),
    "bits": ("spearman", "bit sequences: Spearman of R and P"),
}


@dataclass(kw_only=True)
class Options:
    """How much to plan."""

    simulations: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32, 64)
    """Numbers of simulations per state, one evaluation each; 0 is the agent's own policy."""
    epsilon: float = 0.01
    """ε of the tree policy's exploration."""
    seeds: int = 3
    """Number of agents to train, with seeds 0, 1, …"""
    planning_in_training: int = 0
    """Simulations for acting and for targets during training."""
    out: Path = Path("runs/planning")
    """The folder to write to."""


@dataclass(kw_only=True)
class Grid(Options):
    """The hypergrid, evaluated exactly."""

    ndim: int = 4
    """Number of coordinates of the grid."""
    height: int = 8
    """Number of values of a coordinate."""
    trajectories: int = 1500
    """Trajectories to train on."""

    name = "grid"

    def environment(self) -> Any:
        return gymnasium.make("gfn_gym:HypergridGFN-v0", ndim=self.ndim, height=self.height)

    def evaluator(self, model: SoftDQN) -> Any:
        graph = enumerate_graph(model.dag)
        return lambda policy: evaluate_exact(graph, policy)


@dataclass(kw_only=True)
class Bits(Options):
    """Bit sequences, evaluated by sampled likelihoods of a test set."""

    n: int = 32
    """Number of bits of a sequence."""
    k: int = 4
    """Number of bits of a word."""
    test_step: int = 13
    """Evaluate one in this many objects of the test set."""
    trajectories: int = 3000
    """Trajectories to train on."""

    name = "bits"

    def environment(self) -> Any:
        return gymnasium.make("gfn_gym:BitSequenceGFN-v0", n=self.n, k=self.k)

    def evaluator(self, model: SoftDQN) -> Any:
        objects = flipped_modes(model.dag)[:: self.test_step]
        return lambda policy: reward_correlation(model.dag, policy, objects)


def run(args: Grid | Bits) -> None:
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    metric, _ = METRICS[args.name]
    suffix = f"_{args.planning_in_training}" if args.planning_in_training else ""
    with (args.out / f"{args.name}{suffix}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "simulations", metric, "cpu_seconds"])
        for seed in range(args.seeds):
            model = train_briefly(args, seed)
            evaluate = args.evaluator(model)
            for simulations in args.simulations:
                clock = time.process_time()
                planner = MENTS(model, simulations, args.epsilon, seed)
                value = evaluate(planner)[metric]
                seconds = time.process_time() - clock
                writer.writerow([seed, simulations, round(value, 5), round(seconds, 2)])
                file.flush()
                print(f"seed {seed}, {simulations} simulations: {metric} {value:.4f}", flush=True)
    print(draw(args.out))


def train_briefly(args: Grid | Bits, seed: int) -> SoftDQN:
    """A partly trained SoftDQN."""
    policy = "MlpPolicy" if isinstance(args, Grid) else "TransformerPolicy"
    model = SoftDQN(
        policy, args.environment(), preset="fast", n_envs=64, seed=seed, device="cpu",
        planning_simulations=args.planning_in_training,
    )  # fmt: skip
    model.learn(total_trajectories=args.trajectories)
    return model


def draw(folder: Path) -> Path:
    """Draw all CSVs of the folder: each seed, and their mean."""
    files = {name: sorted(folder.glob(f"{name}*.csv")) for name in METRICS}
    found = [name for name in METRICS if files[name]]
    figure, axes = plt.subplots(
        1, len(found), figsize=(5.5 * len(found), 3.8), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], found, strict=True):
        metric, title = METRICS[name]
        axis.set_xscale("symlog", linthresh=1)
        for number, path in enumerate(files[name]):
            draw_curves(axis, path, metric, f"C{number}")
        axis.set(title=title, xlabel="simulations from each state")
        axis.minorticks_off()
        axis.margins(y=0.2)
        axis.grid(alpha=0.3)
        axis.legend()
    picture = folder / "planning.png"
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    return picture


def draw_curves(axis: Axes, path: Path, metric: str, colour: str) -> None:
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file):
            curves[row["seed"]][int(row["simulations"])] = float(row[metric])
    for curve in curves.values():
        axis.plot(list(curve), list(curve.values()), "o-", ms=2, lw=0.8, color=colour, alpha=0.4)
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    mean = [np.mean([curve[number] for curve in curves.values()]) for number in common]
    _, _, trained_with = path.stem.partition("_")
    label = f"trained with {trained_with} simulations" if trained_with else "trained without"
    axis.plot(common, mean, "o-", ms=4, color=colour, label=f"{label}, mean of {len(curves)}")
    axis.set_xticks(common, [str(number) for number in common])


if __name__ == "__main__":
    run(tyro.extras.subcommand_cli_from_dict({"grid": Grid, "bits": Bits}))
