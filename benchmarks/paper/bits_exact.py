"""Bit sequences small enough to enumerate, n = 16, k = 4: the exact distance of every algorithm.

    python benchmarks/paper/bits_exact.py train --trajectories 32000
    python benchmarks/paper/bits_exact.py draw

The paper's settings except for 64 environments (PPO: 16) and the network, which has learnt
positions, layer norm first and no dropout. With the paper's network, meant for n = 120, SoftDQN
stayed at 0.3.
"""

from dataclasses import replace

from algorithms import BASELINES, OTHERS, OURS, make_run
from command_line import run_command
from experiment import Experiment, Panel, quick_version
from measures import exact

NETWORK = {"dropout": 0.0, "learnt_positions": True, "norm_first": True}
RUNS = [
    make_run(
        algorithm,
        "BitSequenceGFN-v0",
        env_kwargs={"n": 16, "k": 4},
        policy="TransformerPolicy",
        kwargs={"n_envs": 16 if algorithm == "PPO" else 64, "policy_kwargs": NETWORK},
    )
    for algorithm in (*OURS, *BASELINES, *OTHERS)
]
TITLE = "Bit sequences, n = 16, k = 4"
EXPERIMENT = Experiment(
    name="bits_exact",
    domain="bit_sequences_exact",
    title=TITLE,
    runs=RUNS,
    panels=[Panel(metric="total_variation", title=TITLE, label="exact total variation")],
    measure=exact,
    metric="total_variation",
    trajectories=64_000,
    every=3_200,
    columns=1,
)
QUICK = quick_version(
    replace(EXPERIMENT, title="Bit sequences, n = 8, k = 2"),
    runs=[replace(run, env_kwargs={"n": 8, "k": 2}) for run in RUNS],
    trajectories=6_400,
    every=640,
    seeds=(0,),
)

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
