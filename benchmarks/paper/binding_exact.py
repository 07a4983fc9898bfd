"""RNA that binds, words of 8 bases: the exact distance of six algorithms in every order of writing.

    python benchmarks/paper/binding_exact.py train --workers 1      # from the repository's root
    python benchmarks/paper/binding_exact.py draw

log R comes from a table of all 65,536 words, which the first run writes, so that it is computed
once for 3 orders × 6 algorithms × 2 exponents; what it costs in training is measured by
benchmarks/reward_share.py. Not a figure of the paper. binding_exact_long.py trains the best of them
for longer.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from algorithms import make_run
from command_line import run_command
from experiment import Experiment, Panel, quick_version
from measures import distances

ALGORITHMS = ("SoftDQN", "M-DQN", "TB", "SubTB", "DB", "PPO")
ORDERS = ("any", "append", "both_ends")
EXPONENTS = (8, 1)
TABLE = Path("runs/figures/rna1_8.csv")  # from the root; an absolute path would be in about.json

RUNS = [
    make_run(
        algorithm,
        "SequenceGFN-v0",
        suffix=f"-{order}-{exponent}",
        env_kwargs={
            "length": 8, "order": order, "reward": str(TABLE), "reward_exponent": exponent,
        },
        preset="fast",
    )
    for exponent in EXPONENTS
    for order in ORDERS
    for algorithm in ALGORITHMS
]  # fmt: skip
EXPERIMENT = Experiment(
    name="binding_exact",
    domain="binding_exact",
    title="RNA1, words of 8 bases",
    runs=RUNS,
    panels=[
        Panel(
            metric="total_variation",
            title=f"{order.replace('_', ' ')}, exponent {exponent}",
            label="exact total variation",
            runs=[run.name for run in RUNS if run.name.endswith(f"-{order}-{exponent}")],
        )
        for exponent in EXPONENTS
        for order in ORDERS
    ],
    measure=distances,
    metric="total_variation",
    trajectories=8_000,
    every=2_000,
    columns=3,
)
QUICK = quick_version(
    EXPERIMENT,
    runs=[replace(run, env_kwargs={**run.env_kwargs, "order": "append"}) for run in RUNS[:6]],
    panels=[replace(EXPERIMENT.panels[0], runs=None)],
    trajectories=1_600,
    every=800,
    seeds=(0,),
)


def write_table(path: Path = TABLE) -> None:
    """Write log max(score, floor) of all words, which the exponent multiplies."""
    from gfn_gym.envs.rna.duplex import DuplexRatio
    from gfn_gym.envs.sequence.rewards import Landscape

    words = ["".join(letters) for letters in product("ACGU", repeat=8)]
    scores = np.maximum(DuplexRatio(("RNA1",), 8)(words), Landscape.default_floor)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["word", "log_score"])
        writer.writerows(zip(words, np.log(scores).tolist(), strict=True))


def main(experiment: Experiment, quick: Experiment) -> None:
    """The command line, after the table has been written."""
    if not TABLE.exists():
        write_table()
    run_command(experiment, quick)


if __name__ == "__main__":
    main(EXPERIMENT, QUICK)
