"""Bit sequences, n = 120: correlation against the word length k, and modes found at k = 8.

    python benchmarks/paper/bits_over_k.py train --seeds 0 --only mdqn-k8 softdqn-k8
    python benchmarks/paper/bits_over_k.py draw

Without --trajectories it trains for the paper's 50,000 iterations of 16 trajectories; see
command_line.py. It uses 64 environments instead of the paper's 16, which is faster and keeps the
number of trajectories per gradient step.
"""

from algorithms import BASELINES, OURS, make_run
from command_line import run_command
from experiment import Experiment, Panel, Run, quick_version
from measures import bits


def runs(n: int, ks: tuple[int, ...]) -> list[Run]:
    return [
        make_run(
            algorithm,
            "BitSequenceGFN-v0",
            env_kwargs={"n": n, "k": k},
            policy="TransformerPolicy",
            suffix=f"-k{k}",
            kwargs={"n_envs": 64},
            at=k,
        )
        for k in ks
        for algorithm in (*OURS, *BASELINES)
    ]


RUNS = runs(120, (8, 2, 4, 6, 10))
AT_8 = [run.name for run in RUNS if run.at == 8]
SPEARMAN = "Spearman correlation of R and P"
EXPERIMENT = Experiment(
    name="bits_over_k",
    domain="bit_sequences",
    title="Bit sequences, n = 120",
    runs=RUNS,
    panels=[
        Panel(metric="spearman", title=SPEARMAN, over="k", log=False),
        Panel(metric="modes_found", title="modes found, k = 8", runs=AT_8, log=False),
        Panel(metric="spearman", title=f"{SPEARMAN}, k = 8", runs=AT_8, log=False),
    ],
    measure=bits,
    metric="spearman",
    trajectories=800_000,
    every=16_000,
    columns=3,
)
QUICK = quick_version(
    EXPERIMENT, runs=runs(32, (2, 4, 8)), trajectories=6_400, every=1_280, seeds=(0,)
)

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
