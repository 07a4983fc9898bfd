"""Molecules, sEH: correlation against β, and modes found at β = 10.

    python benchmarks/paper/molecules_over_beta.py train --seeds 0 --only mdqn-b10 softdqn-b10
    python benchmarks/paper/molecules_over_beta.py draw

Without --trajectories it trains for the paper's 50,000 iterations of 4 trajectories; see
command_line.py. Blocks and proxy are downloaded, or read from the folder that GFN_GYM_DATA names;
the test molecules are read from that folder.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from algorithms import BASELINES, OURS, make_run
from command_line import run_command
from experiment import Experiment, Panel, Row, Run, quick_version
from gfn_gym.agents import ModesCallback
from gfn_gym.envs.molecule.metrics import TanimotoModes
from gfn_gym.envs.molecule.test_set import paper_test_molecules
from gfn_gym.evaluation import ExactCorrelation, Policy


def runs(betas: tuple[int, ...], policy: str, **ours: Any) -> list[Run]:
    """All algorithms at each β; ``ours`` are arguments of SoftDQN and M-DQN."""
    return [
        make_run(
            algorithm,
            "MoleculeGFN-v0",
            env_kwargs={"blocks": "pdb105", "reward": "seh", "reward_exponent": float(beta)},
            policy=policy,
            suffix=f"-b{beta}",
            kwargs=ours if algorithm in OURS else {},
            at=beta,
        )
        for beta in betas
        for algorithm in (*OURS, *BASELINES)
    ]


def measure(model: Any) -> tuple[Any, list[BaseCallback]]:
    """Modes by Tanimoto while training, and exact correlations on the paper's test molecules."""
    modes = ModesCallback(TanimotoModes)
    test_set = paper_test_molecules(model.dag)
    assert not test_set.left_out, test_set.left_out  # all are made of the paper's blocks
    correlation = ExactCorrelation(model.dag, test_set.states)

    def metrics(policy: Policy) -> Row:
        return {"modes_found": float(len(modes.tracker)), **correlation(policy)}

    return metrics, [modes]


RUNS = runs((10, 4, 8, 16), "BlockTreePolicy")
AT_10 = [run.name for run in RUNS if run.at == 10]
PEARSON = "Pearson correlation of log R and log P"
EXPERIMENT = Experiment(
    name="molecules_over_beta",
    domain="molecules",
    title="Molecules, sEH",
    runs=RUNS,
    panels=[
        Panel(metric="pearson", title=PEARSON, over="β", log=False),
        Panel(metric="modes_found", title="modes found, β = 10", runs=AT_10, log=False),
        Panel(metric="pearson", title=f"{PEARSON}, β = 10", runs=AT_10, log=False),
    ],
    measure=measure,
    metric="pearson",
    trajectories=200_000,
    every=4_000,
    columns=3,
)
SMALL = runs((4, 10), "SmallBlockTreePolicy", learning_starts=(80, "episode"))
QUICK = quick_version(EXPERIMENT, runs=SMALL, trajectories=400, every=80, seeds=(0,))

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
