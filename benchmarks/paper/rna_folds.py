"""RNA that folds: marginals and log Z against McCaskill's, at 30 and at 60 bases.

    python benchmarks/paper/rna_folds.py train --workers 1
    python benchmarks/paper/rna_folds.py draw

All with the potential of the energy of unfinished structures. Not a figure of the paper.
"""

from __future__ import annotations

from algorithms import make_run
from command_line import run_command
from experiment import Experiment, Panel, quick_version
from measures import folds

# Of five random sequences of 60 bases the one whose best structure is the least probable.
SIXTY = "UCACCUCACGUGUAUAGCAGCGCAGCGGUCAGUUUGCCAACCGGGUUUUCUUACGGGACA"
SEQUENCES = {30: None, 60: SIXTY}
ALGORITHMS = ("SoftDQN", "M-DQN", "TB", "SubTB")

RUNS = [
    make_run(
        algorithm,
        "RNAFoldGFN-v0",
        suffix=f"-{bases}",
        env_kwargs={"potential": "dag"} | ({} if sequence is None else {"sequence": sequence}),
        preset="fast",
    )
    for bases, sequence in SEQUENCES.items()
    for algorithm in ALGORITHMS
]
EXPERIMENT = Experiment(
    name="rna_folds",
    domain="rna_folds",
    title="RNA folds",
    runs=RUNS,
    panels=[
        Panel(
            metric=metric,
            title=f"{bases} bases: {title}",
            label=label,
            runs=[run.name for run in RUNS if run.name.endswith(f"-{bases}")],
        )
        for bases in SEQUENCES
        for metric, title, label in (
            ("marginal_error", "base pairs", "largest error of a probability"),
            ("log_z_error", "log Z", "|V(s0) − log Z|"),
            ("elbo_gap", "ELBO", "log Z − ELBO"),
        )
    ],
    measure=folds,
    metric="marginal_error",
    trajectories=48_000,
    every=4_800,
    columns=3,
)
QUICK = quick_version(EXPERIMENT, trajectories=2_000, every=500, seeds=(0,))

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
