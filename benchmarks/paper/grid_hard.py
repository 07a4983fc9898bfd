"""Hypergrid 20⁴, hard reward: all algorithms, uniform and learnt P_B.

    python benchmarks/paper/grid_hard.py train --trajectories 200000
    python benchmarks/paper/grid_hard.py draw

Without --trajectories it trains on the paper's million; see command_line.py.
"""

from command_line import run_command
from grid_experiments import comparison, small

EXPERIMENT = comparison("hard")

if __name__ == "__main__":
    run_command(EXPERIMENT, small(EXPERIMENT))
