"""Hypergrid 20⁴, standard reward: all algorithms, uniform and learnt P_B (the paper's figure 1).

    python benchmarks/paper/grid_standard.py train --trajectories 200000
    python benchmarks/paper/grid_standard.py train --only mdqn-standard --trajectories 1000000
    python benchmarks/paper/grid_standard.py draw

Without --trajectories it trains on the paper's million; see command_line.py.
"""

from command_line import run_command
from grid_experiments import comparison, small

EXPERIMENT = comparison("standard")

if __name__ == "__main__":
    run_command(EXPERIMENT, small(EXPERIMENT))
