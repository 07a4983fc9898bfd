"""RNA that folds, 30 bases: marginals and log Z against McCaskill's.

    python benchmarks/paper/rna_folds.py train --workers 1
    python benchmarks/paper/rna_folds.py draw

All with the potential of the energy of unfinished structures. Not a figure of the paper.
rna_folds_60.py is the same at 60 bases.
"""

from __future__ import annotations

from algorithms import make_run
from command_line import run_command
from experiment import Experiment, Panel, quick_version
from measures import folds

ALGORITHMS = ("SoftDQN", "M-DQN", "TB", "SubTB")
PANELS = [
    Panel(metric="marginal_error", title="base pairs", label="largest error of a probability"),
    Panel(metric="log_z_error", title="log Z", label="|V(s0) − log Z|"),
    Panel(metric="elbo_gap", title="ELBO", label="log Z − ELBO"),
]


def experiment(bases: int, sequence: str | None = None) -> Experiment:
    """The four algorithms on a sequence; None is the environment's default."""
    given = {} if sequence is None else {"sequence": sequence}
    return Experiment(
        name=f"rna_folds_{bases}",
        domain="rna_folds",
        title=f"An RNA of {bases} bases",
        runs=[
            make_run(
                algorithm,
                "RNAFoldGFN-v0",
                suffix=f"-{bases}",
                env_kwargs={"potential": "dag", **given},
                preset="fast",
            )
            for algorithm in ALGORITHMS
        ],
        panels=PANELS,
        measure=folds,
        metric="marginal_error",
        trajectories=48_000,
        every=4_800,
        columns=3,
    )


EXPERIMENT = experiment(30)
QUICK = quick_version(EXPERIMENT, trajectories=2_000, every=500, seeds=(0,))

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
