"""Train a sampler of the Ising model, beside Metropolis, Wolff and the exact answers.

    python examples/ising.py train --help
    python examples/ising.py train --agent soft --L 4 --trajectories 100000
    python examples/ising.py train --agent soft --L 9 --beta 0.2
    python examples/ising.py sample --model runs/ising/model.zip --n 1000
    python examples/ising.py chains --L 9 --beta 0.4407 --seconds 20     # critical

``train`` and ``chains`` write a folder: table.csv (mean energy and magnetisation, and how far the
histograms are from the exact ones), spins.png and histograms.png. ``train`` also leaves
config.json, curve.csv, curve.png, model.zip, best_model.zip, TensorBoard's events, and
checkpoint.zip, from which ``--resume`` continues.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from spin_chains import metropolis, wolff

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
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.ising_exact import (
    Distribution,
    energy_distribution,
    histogram_distance,
    magnetisation_distribution,
    mean_energy,
    sampling_floor,
)
from gfn_gym.evaluation import sample
from plots import draw_curve
from runs import (
    ENUMERABLE,
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
from spin_plots import draw_histograms, draw_spins


@dataclass(kw_only=True)
class Model:
    """The model."""

    L: int = 9
    """Side of the torus."""
    J: float = 1.0
    """Coupling; Wolff's algorithm needs it above 0."""
    beta: float = 0.4
    """Inverse temperature."""
    out: Path = field(default_factory=lambda: Path("runs/ising"))
    """The folder."""


@dataclass(kw_only=True)
class Train(Model, Options):
    """Train an agent and write the model, curves, table and pictures to a folder."""

    order: Literal["any", "raster"] = "raster"
    """Whether spins are set in any order or row by row."""
    potential: bool = True
    """Reward every spin with what it changes in −β·energy, which changes no optimum."""
    trajectories: int = 24_000
    """Trajectories to train on."""
    samples: int = 5_000
    """Samples drawn at the end."""
    seconds: float = 10.0
    """CPU seconds of Wolff's algorithm, beside which the samples are shown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "samples")
        check_seconds(self)


@dataclass(kw_only=True)
class Chains(Model):
    """Sample by Metropolis and, where J is not below 0, by Wolff."""

    seconds: float = 20.0
    """CPU seconds of each method."""
    seed: int = 0
    """Seed of the methods."""

    def __post_init__(self) -> None:
        check_seconds(self)


# ---- training -------------------------------------------------------------------------------


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    dag = model.dag
    assert isinstance(dag, Ising)
    exact, known = n_states(dag) <= ENUMERABLE, dag.log_partition() is not None
    evaluation = EvaluationCallback(
        args.every,
        metrics=exact_metrics(model) if exact else sampled_metrics(model),
        best_model_save_path=args.out,
        monitor="total_variation" if exact else "elbo_gap" if known else "elbo",
        monitor_mode="min" if exact or known else "max",
    )
    learn(args, model, evaluation)
    errors = [name for name in ("total_variation", "elbo_gap", "log_z_error")
              if name in evaluation.history[0]]  # fmt: skip
    if errors:
        draw_curve(evaluation.history, errors, args.out / "curve.png")
    print_summary(args, evaluation)
    drawn = sample(dag, as_policy(model), args.samples, args.seed).states
    chain = wolff if args.J >= 0 else metropolis
    name = chain.__name__.capitalize()
    samples = {"trained sampler": drawn, name: chain(dag, args.seconds, seed=args.seed)}
    report(dag, samples, exact_distributions(dag), args.out)


def new_model(args: Train) -> GFNAlgorithm:
    dag = make_spins(args, args.order)
    return make_agent(args, "auto", GFNEnv(dag, potential="dag" if args.potential else None))


def make_spins(args: Model, order: str = "any") -> Ising:
    """The environment's DAG, with its energies and exact answers."""
    try:
        return Ising(args.L, args.J, args.beta, order=order)
    except ValueError as error:  # before any work is done
        raise SystemExit(str(error)) from error


def n_states(dag: Ising) -> int:
    """How many states the construction can be in."""
    n: int = dag.n_spins
    return 2 ** (n + 1) - 1 if dag.order == "raster" else 3**n


def sample_run(args: Sample) -> None:
    model = load_run(args.model)
    drawn = sample_model(model, args, Ising)
    columns = [f"s{i}" for i in range(drawn.states.shape[1])]
    write_samples(args.out, columns, drawn.states.tolist(), drawn)
    print(f"wrote {args.n} samples to {args.out}; mean log R = {drawn.log_reward.mean():.3f}")


# ---- what is written ------------------------------------------------------------------------


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


def chains(args: Chains) -> None:
    dag = make_spins(args)
    exact = exact_distributions(dag)
    if exact["energy"] is not None:
        print(f"exact: log Z {dag.log_partition():.6f}, mean energy {mean_energy(dag):.6f}")
    samples = {"Metropolis": metropolis(dag, args.seconds, seed=args.seed)}
    if args.J >= 0:
        samples["Wolff"] = wolff(dag, args.seconds, seed=args.seed)
    report(dag, samples, exact, args.out)


def main() -> None:
    print(f"GFN Gym {gfn_gym.__version__}")
    commands: dict[str, Any] = {"train": Train, "sample": Sample, "chains": Chains}
    chosen: Any = tyro.extras.subcommand_cli_from_dict(commands)
    run: dict[type, Callable[[Any], None]] = {Train: train, Sample: sample_run, Chains: chains}
    run[type(chosen)](chosen)


if __name__ == "__main__":
    main()
