"""Train a sampler on the hypergrid, evaluate it exactly, and draw what it learnt.

    python examples/hypergrid.py train --help
    python examples/hypergrid.py train --agent soft --ndim 2 --height 32 --trajectories 20000
    python examples/hypergrid.py sample --model runs/hypergrid/model.zip --n 1000 --out samples.csv

``train`` writes a folder: config.json, curve.csv, curve.png, distributions.png, model.zip,
best_model.zip, TensorBoard's events, and checkpoint.zip, from which ``--resume`` goes on.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
import tyro
from stable_baselines3.common.logger import configure

import gfn_gym
from gfn_gym.agents import (
    EvaluationCallback,
    MunchausenDQN,
    SoftDQN,
    TrainingCheckpoint,
    as_policy,
    exact_metrics,
    sampled_metrics,
)
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import sample
from plots import draw_curve, draw_distributions

AGENTS = {"munchausen": MunchausenDQN, "soft": SoftDQN}
ENUMERABLE = 1_000_000  # states; larger grids are evaluated by sampling


@dataclass
class Train:
    """Train an agent and write everything about it into a folder."""

    agent: Literal["munchausen", "soft"] = "munchausen"
    """Munchausen DQN or SoftDQN."""
    preset: Literal["fast", "paper"] = "fast"
    """Settings of gfn_gym.agents.presets."""
    ndim: int = 4
    """Coordinates of the grid."""
    height: int = 20
    """Values of a coordinate."""
    reward: Literal["standard", "hard"] = "standard"
    """The paper's reward levels."""
    reward_exponent: float = 1.0
    """β: the sampler's target is R^β / Z."""
    trajectories: int = 30_000
    """Trajectories to train on."""
    evaluations: int = 20
    """Evaluations over the training, for the curve."""
    learning_rate: float | None = None
    """A constant instead of the preset's."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Threads of torch; for networks this small one is fastest, and exactly repeatable."""
    out: Path = field(default_factory=lambda: Path("runs/hypergrid"))
    """The folder."""
    resume: bool = False
    """Go on from the folder's checkpoint, with the settings of its config.json."""


@dataclass
class Sample:
    """Draw objects by a trained model, as CSV: coordinates, log R, log P_F, log P_B, length."""

    model: Path
    """The model.zip of a run."""
    n: int = 1000
    """How many."""
    out: Path = field(default_factory=lambda: Path("samples.csv"))
    """The CSV file."""
    seed: int = 0
    """Seed of the sampling."""


def train(args: Train) -> None:
    torch.set_num_threads(args.threads)
    checkpoint = args.out / "checkpoint.zip"
    if args.resume:
        config = json.loads((args.out / "config.json").read_text())
        args = Train(**{**config, "out": args.out, "resume": True})
        model = AGENTS[args.agent].resume(checkpoint)
    else:
        model = new_model(args)
        args.out.mkdir(parents=True, exist_ok=True)
        checkpoint.unlink(missing_ok=True)  # another run's, which --resume must not take for ours
        config = {**asdict(args), "out": str(args.out)}
        (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model.set_logger(configure(str(args.out), ["tensorboard"]))

    exact = args.height**args.ndim <= ENUMERABLE
    every = (max(1, args.trajectories // args.evaluations), "episode")
    evaluation = EvaluationCallback(
        every,
        metrics=exact_metrics(model) if exact else sampled_metrics(model),
        best_model_save_path=args.out,
        monitor="total_variation" if exact else "elbo_gap",
    )
    model.learn(
        total_trajectories=None if args.resume else args.trajectories,
        callback=[evaluation, TrainingCheckpoint(checkpoint, every)],
        progress_bar=True,
    )
    model.save(args.out / "model.zip")
    report(args, model, evaluation)


def new_model(args: Train) -> SoftDQN:
    env = gymnasium.make(
        "HypergridGFN-v0",
        ndim=args.ndim,
        height=args.height,
        reward=args.reward,
        reward_exponent=args.reward_exponent,
    )
    chosen = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    return AGENTS[args.agent](
        "MlpPolicy", env, preset=args.preset, seed=args.seed, device="cpu", **chosen
    )


def report(args: Train, model: SoftDQN, evaluation: EvaluationCallback) -> None:
    """Write the curve and the pictures; print how far it came."""
    history, metric = evaluation.history, evaluation.monitor
    with (args.out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    draw_curve(history, metric, args.out / "curve.png")
    picture = args.out / "distributions.png"
    dag = model.dag
    assert isinstance(dag, Hypergrid)
    draw_distributions(dag, as_policy(model), picture, exact=metric == "total_variation")
    name = metric.replace("_", " ")
    print(f"wrote {args.out}/: " + ", ".join(sorted(p.name for p in args.out.iterdir())))
    print(f"trained on {history[-1]['trajectories']} trajectories, "
          f"{history[-1]['cpu_seconds']:.1f} CPU seconds without evaluation")  # fmt: skip
    print(f"{name} before: {history[0][metric]:.4f}")
    print(f"{name} after: {history[-1][metric]:.4f}")
    print(picture)


def draw_samples(args: Sample) -> None:
    config = json.loads((args.model.parent / "config.json").read_text())
    model = AGENTS[config["agent"]].load(args.model, device="cpu")
    samples = sample(model.dag, as_policy(model), args.n, seed=args.seed)
    columns = [f"x{d}" for d in range(samples.states.shape[1])]
    with args.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "log_reward", "log_forward", "log_backward", "length"])
        numbers = (samples.log_reward, samples.log_forward, samples.log_backward, samples.lengths)
        for state, *row in zip(samples.states.tolist(), *numbers, strict=True):
            writer.writerow([*state, *row])
    print(f"wrote {args.n} samples to {args.out}; mean R = {np.exp(samples.log_reward).mean():.4f}")


if __name__ == "__main__":
    print(f"GFN Gym {gfn_gym.__version__}")
    chosen = tyro.extras.subcommand_cli_from_dict({"train": Train, "sample": Sample})
    train(chosen) if isinstance(chosen, Train) else draw_samples(chosen)
