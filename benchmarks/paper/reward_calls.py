"""What a reward call buys: quality over trajectories under each preset, a domain at a time.

    python benchmarks/paper/reward_calls.py grid train --workers 1
    python benchmarks/paper/reward_calls.py grid draw

Where a reward is a laboratory or a docking program, trajectories are what costs, and
``preset="frugal"`` is for that: as good as it gets by a number of calls, whatever that takes in
gradient steps. Beside it "fast" and "paper" with the same number of calls, and trajectory balance
with the paper's settings, or "fast" where the paper has none. Not a figure of the paper.
"""

from __future__ import annotations

import sys
from typing import Any

import measures
from algorithms import make_run
from command_line import run_command
from experiment import Experiment, Measure, Panel, Run, quick_version

TOTAL_VARIATION = Panel(metric="total_variation", title="exact total variation")


def experiment(
    name: str, title: str, env: str, env_kwargs: dict[str, Any], trajectories: int, *,
    measure: Measure = measures.distances, panel: Panel = TOTAL_VARIATION, paper: bool = True,
) -> Experiment:  # fmt: skip
    """Four runs in a domain.

    Args:
        name, title: the experiment's.
        env, env_kwargs: the environment's id and arguments.
        trajectories: how many calls of the reward.
        measure, panel: what is measured and drawn.
        paper: whether the domain has the preset "paper".
    """

    def run(algorithm: str, preset: str, label: str) -> Run:
        return make_run(
            algorithm, env, suffix=f"-{name}-{preset}", label=label, env_kwargs=env_kwargs,
            policy="auto", preset=preset,
        )  # fmt: skip

    runs = [run("SoftDQN", "frugal", "SoftDQN, frugal"), run("SoftDQN", "fast", "SoftDQN, fast")]
    if paper:
        runs.append(run("SoftDQN", "paper", "SoftDQN, paper"))
    baseline = "paper" if paper else "fast"
    runs.append(run("TB", baseline, f"TB, {baseline}"))
    return Experiment(
        name=name,
        domain="reward_calls",
        title=title,
        runs=runs,
        panels=[panel],
        measure=measure,
        metric=panel.metric,
        trajectories=trajectories,
        every=trajectories // 10,
        columns=1,
    )


EXPERIMENTS = {
    each.name: each
    for each in (
        experiment("grid", "20⁴, standard reward", "HypergridGFN-v0", {}, 2_000),
        experiment("grid_hard", "20⁴, hard reward", "HypergridGFN-v0", {"reward": "hard"}, 2_000),
        experiment(
            "bits", "bit sequences, n = 16, k = 4", "BitSequenceGFN-v0", {"n": 16, "k": 4}, 4_000
        ),
        experiment(
            "molecules", "molecules, sEH", "MoleculeGFN-v0",
            {"reward": "seh", "blocks": "pdb105", "reward_exponent": 10}, 10_000,
            measure=measures.molecules,
            panel=Panel(metric="pearson", title="Pearson of log R and log P", log=False),
        ),
        experiment(
            "binding", "words that bind an RNA, 8 bases", "RNABindingGFN-v0",
            {"length": 8, "order": "append", "reward_exponent": 8.0}, 4_000, paper=False,
        ),
        experiment(
            "folds", "folds of 30 bases", "RNAFoldGFN-v0", {"potential": "dag"}, 4_000,
            measure=measures.folds, paper=False,
            panel=Panel(metric="marginal_error", title="largest error of a pair's probability"),
        ),
        experiment(
            "networks", "networks of five nodes", "BayesianNetworkGFN-v0",
            {"potential": "dag"}, 4_000,
        ),
        experiment(
            "spins", "3 × 3 spins, βJ = 0.4", "IsingGFN-v0", {"L": 3, "potential": "dag"}, 2_000
        ),
    )
}  # fmt: skip
QUICK = {
    name: quick_version(each, trajectories=200, every=100, seeds=(0,))
    for name, each in EXPERIMENTS.items()
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in EXPERIMENTS:
        raise SystemExit(f"name a domain first: {', '.join(EXPERIMENTS)}")
    domain = sys.argv.pop(1)
    sys.argv[0] += f" {domain}"  # for about.json, which says what was run
    run_command(EXPERIMENTS[domain], QUICK[domain])
