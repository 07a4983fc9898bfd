"""Hypergrid 20⁴, standard reward: M-DQN with other replay, Munchausen α and loss; SAC.

    python benchmarks/paper/grid_ablations.py train --trajectories 200000
    python benchmarks/paper/grid_ablations.py draw

Without --trajectories it trains on the paper's million; see command_line.py.
"""

from algorithms import HUBER, MUNCHAUSEN, PRIORITIES
from command_line import run_command
from experiment import Panel, Run
from grid_experiments import grid_experiment, grid_run, small


def variant(algorithm: str, suffix: str, label: str, **kwargs: object) -> Run:
    return grid_run(algorithm, "standard", suffix=suffix, label=label, kwargs=kwargs)


PAPER = variant("M-DQN", "", "M-DQN (priorities^0.5, α = 0.15, Huber)")
SOFT = variant("SoftDQN", "", "SoftDQN (α = 0)")
ABLATIONS = {
    "replay": [
        variant("M-DQN", "-uniform-replay", "uniform replay", **{PRIORITIES: 0.0}),
        variant("M-DQN", "-priorities-0.9", "priorities^0.9", **{PRIORITIES: 0.9}),
        variant("SoftDQN", "-uniform-replay", "SoftDQN, uniform replay", **{PRIORITIES: 0.0}),
    ],
    "Munchausen α": [
        SOFT,
        *(variant("M-DQN", f"-alpha-{a}", f"α = {a}", **{MUNCHAUSEN: a}) for a in (0.05, 0.4, 0.7)),
    ],
    "loss": [
        variant("M-DQN", "-squared", "squared error", **{HUBER: False}),
        variant("SoftDQN", "-squared", "SoftDQN, squared error", **{HUBER: False}),
    ],
    "actor and critic": [SOFT, grid_run("SAC", "standard")],
}
RUNS = {run.name: run for runs in [[PAPER], *ABLATIONS.values()] for run in runs}
EXPERIMENT = grid_experiment(
    "grid_ablations",
    "Hypergrid 20⁴, standard reward, exact total variation",
    list(RUNS.values()),
    [
        Panel(
            metric="total_variation",
            title=what,
            runs=[run.name for run in [PAPER, *runs]],
            log_x=True,
        )
        for what, runs in ABLATIONS.items()
    ],
)

if __name__ == "__main__":
    run_command(EXPERIMENT, small(EXPERIMENT))
