"""Hypergrid 20⁴, standard reward: algorithms from after the paper, and older alternatives.

    python benchmarks/paper/grid_later_algorithms.py train --trajectories 200000 --seeds 0
    python benchmarks/paper/grid_later_algorithms.py draw

EntropicPPO, targets over four steps (λ = 0.5), SAC and flow matching beside SoftDQN and M-DQN.
Without --trajectories it trains on the million of the paper's figures; see command_line.py.
"""

from algorithms import FOUR_STEPS, OTHERS, OURS
from command_line import run_command
from grid_experiments import distance_panels, grid_experiment, grid_run, small

RUNS = [
    *(grid_run(algorithm, "standard") for algorithm in OURS),
    *(
        grid_run(
            algorithm,
            "standard",
            suffix="-4-steps",
            label=f"{algorithm}, 4 steps",
            kwargs=FOUR_STEPS,
        )
        for algorithm in OURS
    ),
    *(grid_run(algorithm, "standard") for algorithm in OTHERS),
]
TITLE = "Hypergrid 20⁴, standard reward"
PANELS = distance_panels(RUNS, "P_B uniform", log_x=True)
EXPERIMENT = grid_experiment("grid_later_algorithms", TITLE, RUNS, PANELS)

if __name__ == "__main__":
    run_command(EXPERIMENT, small(EXPERIMENT))
