"""Hypergrid 20⁴, both rewards: M-DQN and SoftDQN with P_B uniform and learnt by TLM.

    python benchmarks/paper/grid_learnt_backward.py train --trajectories 200000
    python benchmarks/paper/grid_learnt_backward.py draw

Without --trajectories it trains on the paper's million; see command_line.py. P_B learns during the
first half of the total, so a run started with a different total has to be trained again.
"""

from algorithms import OURS
from command_line import run_command
from grid_experiments import IDS, distance_panels, grid_experiment, grid_run, small

RUNS = {
    reward: [
        grid_run(algorithm, reward, learnt=learnt) for algorithm in OURS for learnt in (False, True)
    ]
    for reward in IDS
}
EXPERIMENT = grid_experiment(
    "grid_learnt_backward",
    "Hypergrid 20⁴, learnt P_B",
    [run for runs in RUNS.values() for run in runs],
    [panel for reward, runs in RUNS.items() for panel in distance_panels(runs, reward)],
)

if __name__ == "__main__":
    run_command(EXPERIMENT, small(EXPERIMENT))
