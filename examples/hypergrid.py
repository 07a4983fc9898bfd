"""Train a sampler on the hypergrid, evaluate it exactly, and plot what it learnt.

    python examples/hypergrid.py train --help
    python examples/hypergrid.py train --agent soft --ndim 2 --height 32 --trajectories 20000
    python examples/hypergrid.py sample --model runs/hypergrid/model.zip --n 1000 --out samples.csv

``train`` writes a folder: config.json, curve.csv, curve.png, distributions.png, model.zip,
best_model.zip, TensorBoard's events, and checkpoint.zip, from which ``--resume`` continues.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np

from gfn_gym.agents import (
    EvaluationCallback,
    GFNAlgorithm,
    as_policy,
    exact_metrics,
    sampled_metrics,
)
from gfn_gym.envs.hypergrid import Hypergrid
from plots import draw_curve, draw_distributions
from runs import (
    ENUMERABLE,
    Options,
    Sample,
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

    ndim: int = 4
    """Number of coordinates of the grid."""
    height: int = 20
    """Number of values of a coordinate."""
    reward: Literal["standard", "hard"] = "standard"
    """The paper's reward levels."""
    reward_exponent: float = 1.0
    """β: the sampler's target is R^β / Z."""
    trajectories: int = 30_000
    """Trajectories to train on."""
    out: Path = field(default_factory=lambda: Path("runs/hypergrid"))
    """The folder to write to."""


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    exact = args.height**args.ndim <= ENUMERABLE
    evaluation = EvaluationCallback(
        args.every,
        metrics=exact_metrics(model) if exact else sampled_metrics(model),
        best_model_save_path=args.out,
        monitor="total_variation" if exact else "elbo_gap",
    )
    learn(args, model, evaluation)
    draw_curve(evaluation.history, [evaluation.monitor, "log_z_error"], args.out / "curve.png")
    picture = args.out / "distributions.png"
    dag = model.dag
    assert isinstance(dag, Hypergrid)
    draw_distributions(dag, as_policy(model), picture, exact)
    print_summary(args, evaluation)
    print(picture)


def new_model(args: Train) -> GFNAlgorithm:
    env = gymnasium.make(
        "gfn_gym:HypergridGFN-v0",
        ndim=args.ndim,
        height=args.height,
        reward=args.reward,
        reward_exponent=args.reward_exponent,
    )
    return make_agent(args, "MlpPolicy", env)


def sample_run(args: Sample) -> None:
    model = load_run(args.model)
    samples = sample_model(model, args, Hypergrid)
    columns = [f"x{d}" for d in range(samples.states.shape[1])]
    write_samples(args.out, columns, samples.states.tolist(), samples)
    print(f"wrote {args.n} samples to {args.out}; mean R = {np.exp(samples.log_reward).mean():.4f}")


if __name__ == "__main__":
    run_command(Train, train, sample_run)
