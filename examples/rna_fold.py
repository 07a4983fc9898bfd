"""Train a sampler of an RNA's secondary structures, and compare it with the exact ensemble.

    python examples/rna_fold.py train --help
    python examples/rna_fold.py train --agent soft --trajectories 40000
    python examples/rna_fold.py train --sequence GGGGAAAACCCCUUUUGGGG --temperature 25
    python examples/rna_fold.py sample --model runs/rna_fold/model.zip --n 1000

``train`` writes a folder: config.json, curve.csv, curve.png, dot_plot.png (base pair probabilities,
exact above the diagonal, learnt below), structures.csv and structures.png (the most probable ones
with their exact probabilities and their shares of the samples), model.zip, best_model.zip,
TensorBoard's events, and checkpoint.zip, from which ``--resume`` continues.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np

from gfn_gym.agents import EvaluationCallback, GFNAlgorithm, as_policy, exact_metrics
from gfn_gym.envs.rna.fold import DEFAULT_SEQUENCE, RNAFold
from gfn_gym.envs.rna.fold_metrics import (
    Structures,
    ensemble_metrics,
    marginal_errors,
    top_structures,
)
from gfn_gym.evaluation import Policy, sample
from plots import draw_curve
from rna_plots import draw_dot_plot, draw_structures
from runs import (
    Options,
    Sample,
    check_counts,
    learn,
    load_run,
    make_agent,
    print_summary,
    run_command,
    sample_model,
    start_or_resume,
    write_samples,
)


@dataclass(kw_only=True)
class Train(Options):
    """Train an agent and write the model, curves and pictures to a folder."""

    preset: Literal["fast"] | None = "fast"
    """Settings from gfn_gym.agents.presets; there are no others of this domain."""
    sequence: str = DEFAULT_SEQUENCE
    """Of the letters ACGU."""
    temperature: float = 37.0
    """In °C."""
    reward_exponent: float = 1.0
    """β: R is exp(−β·E/kT)."""
    potential: bool = True
    """Reward every base pair with what it changes in −β·E/kT, which changes no optimum."""
    exact: bool = False
    """Evaluate exactly, over all structures; for sequences of up to 30 bases or so."""
    samples: int = 20_000
    """Structures drawn at the end, for the pictures."""
    n_best: int = 20
    """How many of the most probable structures to write."""
    trajectories: int = 40_000
    """Trajectories to train on."""
    out: Path = field(default_factory=lambda: Path("runs/rna_fold"))
    """The folder to write to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "samples", "n_best")


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    evaluation = EvaluationCallback(
        args.every,
        metrics=exact_metrics(model) if args.exact else partial(metrics_of, model),
        best_model_save_path=args.out,
        monitor="total_variation" if args.exact else "marginal_error",
    )
    learn(args, model, evaluation)
    report(args, model, evaluation)


def new_model(args: Train) -> GFNAlgorithm:
    try:
        env = gymnasium.make(
            "gfn_gym:RNAFoldGFN-v0",
            sequence=args.sequence,
            temperature=args.temperature,
            reward_exponent=args.reward_exponent,
            potential="dag" if args.potential else None,
        )
    except ValueError as error:  # before any work is done
        raise SystemExit(str(error)) from error
    return make_agent(args, "MlpPolicy", env)


def metrics_of(model: GFNAlgorithm, policy: Policy) -> dict[str, float]:
    """How far 4,096 structures and V(s0) are from McCaskill's answers."""
    dag = model.dag
    assert isinstance(dag, RNAFold)
    return ensemble_metrics(dag, policy, backward_policy=model.backward_policy)


# ---- what is left ---------------------------------------------------------------------------


def report(args: Train, model: GFNAlgorithm, evaluation: EvaluationCallback) -> None:
    """Draw the pictures, write the structures and print the final metrics."""
    dag = model.dag
    assert isinstance(dag, RNAFold)
    errors = [evaluation.monitor, "mean_marginal_error", "log_z_error"]
    draw_curve(evaluation.history, errors, args.out / "curve.png")
    states = sample(dag, as_policy(model), args.samples).states
    learnt, exact = dag.pair_frequencies(states), dag.pair_probabilities()
    title = f"{len(dag.sequence)} bases, {args.samples:,} samples"
    draw_dot_plot(dag.sequence, exact, learnt, dag.pairs, args.out / "dot_plot.png", title)
    found = top_structures(dag, states, args.n_best)
    write_structures(found, args.out / "structures.csv")
    draw_structures(found, args.out / "structures.png")
    print_summary(args, evaluation)
    print(dag.sequence)
    columns = (found.structures, found.energies, found.probabilities, found.frequencies)
    for text, energy, probability, frequency in zip(*columns, strict=True):
        print(f"{text}  {energy:6.2f} kcal/mol, exact {probability:.4f}, sampled {frequency:.4f}")
    marginals = marginal_errors(dag, states)
    largest, mean = marginals["marginal_error"], marginals["mean_marginal_error"]
    print(f"base pairs: at most {largest:.4f} off in {args.samples} samples, {mean:.5f} on average")
    correction = dag.ensemble.log_partition_correction()
    if correction:
        print(f"log Z of all structures is {correction:.1e} above that of pf(), which leaves out "
              "long loops")  # fmt: skip


def write_structures(found: Structures, path: Path) -> None:
    """Write structure, energy, exact probability and share of the samples."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "energy", "probability", "share"])
        columns = (found.structures, found.energies, found.probabilities, found.frequencies)
        writer.writerows(zip(*columns, strict=True))


def sample_run(args: Sample) -> None:
    model = load_run(args.model, args.trusted)
    samples = sample_model(model, args, RNAFold)
    dag = model.dag
    assert isinstance(dag, RNAFold)
    energies = dag.energies(samples.states)
    objects = list(zip(dag.format(samples.states), energies.tolist(), strict=True))
    write_samples(args.out, ["structure", "energy"], objects, samples)
    marginals = marginal_errors(dag, samples.states)
    print(f"wrote {args.n} samples to {args.out}; {len(np.unique(samples.states, axis=0))} "
          f"different ones, mean energy {energies.mean():.2f} kcal/mol, base pairs at most "
          f"{marginals['marginal_error']:.4f} off")  # fmt: skip


if __name__ == "__main__":
    run_command(Train, train, sample_run)
