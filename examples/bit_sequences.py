"""Train a sampler of bit sequences, count the modes it finds, and see how well it ranks objects.

    python examples/bit_sequences.py train --help
    python examples/bit_sequences.py train --agent soft --n-envs 64 --trajectories 160000
    python examples/bit_sequences.py train --preset fast --n 16 --k 4 --trajectories 32000
    python examples/bit_sequences.py sample --model runs/bit_sequences/model.zip --n 1000

``train`` writes a folder: config.json, curve.csv, curve.png, samples.png, model.zip,
best_model.zip, TensorBoard's events, and checkpoint.zip, from which ``--resume`` continues.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import gymnasium

from gfn_gym.agents import (
    EvaluationCallback,
    GFNAlgorithm,
    ModesCallback,
    as_policy,
    exact_metrics,
    sampled_metrics,
)
from gfn_gym.envs.bit_sequence import BitSequence, flipped_modes
from gfn_gym.evaluation import Policy, reward_correlation, sample
from plots import draw_bit_sequences, draw_curve, draw_metrics
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

    preset: Literal["fast", "paper"] | None = "paper"
    """Settings from gfn_gym.agents.presets; fast is for spaces that can be enumerated."""
    n: int = 120
    """Number of bits of a sequence."""
    k: int = 8
    """Number of bits of a word."""
    n_modes: int = 60
    """Number of random modes."""
    reward_exponent: float = 2.0
    """β: log R is −β times the distance to the nearest mode."""
    modes_seed: int = 0
    """Seed for the modes."""
    test_step: int = 13
    """During training, evaluate one in this many objects of the test set; at the end, all of them.

    It must have no divisor in common with n, so that every number of flipped bits occurs.
    """
    trajectories: int = 160_000
    """Trajectories to train on."""
    out: Path = field(default_factory=lambda: Path("runs/bit_sequences"))
    """The folder to write to."""


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    dag, modes = model.dag, ModesCallback()
    assert isinstance(dag, BitSequence)
    exact = (dag.n_words + 1) ** dag.n_positions <= ENUMERABLE
    evaluation = EvaluationCallback(
        args.every,
        metrics=exact_metrics(model) if exact else metrics_of(model, modes, args.test_step),
        best_model_save_path=args.out,
        monitor="total_variation" if exact else "rank_error",
    )
    learn(args, model, evaluation, [modes])
    report(args, model, evaluation, modes)


def new_model(args: Train) -> GFNAlgorithm:
    env = gymnasium.make(
        "gfn_gym:BitSequenceGFN-v0",
        n=args.n,
        k=args.k,
        n_modes=args.n_modes,
        reward_exponent=args.reward_exponent,
        seed=args.modes_seed,
    )
    return make_agent(args, "TransformerPolicy", env)


def metrics_of(
    model: GFNAlgorithm, modes: ModesCallback, step: int
) -> Callable[[Policy], dict[str, float]]:
    """Metrics: modes found so far, Spearman on part of the test set, and the bound on log Z."""
    dag = model.dag
    assert isinstance(dag, BitSequence)
    if math.gcd(step, dag.n) > 1:
        raise ValueError(
            f"test_step={step!r} must have no divisor in common with n={dag.n}, or only some "
            "numbers of flipped bits are evaluated"
        )
    test_set = flipped_modes(dag)[::step]
    sampled = sampled_metrics(model, 256)

    def metrics(policy: Policy) -> dict[str, float]:
        found = {"modes_found": float(len(modes.tracker)), **sampled(policy)}
        p_b = model.backward_policy
        correlation = reward_correlation(dag, policy, test_set, backward_policy=p_b)
        return {**found, **correlation, "rank_error": 1 - correlation["spearman"]}

    return metrics


def report(
    args: Train, model: GFNAlgorithm, evaluation: EvaluationCallback, modes: ModesCallback
) -> None:
    """Draw the pictures and print the final metrics."""
    dag, policy, picture = model.dag, as_policy(model), args.out / "samples.png"
    assert isinstance(dag, BitSequence)
    if evaluation.monitor == "total_variation":
        draw_curve(evaluation.history, ["total_variation", "log_z_error"], args.out / "curve.png")
    else:
        draw_metrics(evaluation.history, ["spearman", "modes_found"], args.out / "curve.png")
    draw_bit_sequences(dag, sample(dag, policy, 40).states, picture)
    print_summary(args, evaluation)
    print(f"{len(modes.tracker)} of {len(modes.tracker.found)} modes found while training")
    if evaluation.monitor != "total_variation":
        p_b = model.backward_policy
        full = reward_correlation(dag, policy, flipped_modes(dag), backward_policy=p_b)
        print("on the whole test set: " + ", ".join(f"{k} {v:.4f}" for k, v in full.items()))
    print(picture)


def sample_run(args: Sample) -> None:
    model = load_run(args.model)
    samples = sample_model(model, args, BitSequence)
    dag = model.dag
    assert isinstance(dag, BitSequence)
    distances = dag.mode_distances(samples.states)
    objects = zip(
        dag.format(samples.states), distances.argmin(1).tolist(), distances.min(1).tolist(),
        strict=True,
    )  # fmt: skip
    write_samples(args.out, ["bits", "nearest_mode", "distance"], list(objects), samples)
    print(f"wrote {args.n} samples to {args.out}; "
          f"mean distance to the nearest mode {distances.min(1).mean():.2f}")  # fmt: skip


if __name__ == "__main__":
    run_command(Train, train, sample_run)
