"""Draw the bit sequence curves of results/bit_sequences/ from their CSVs alone.

    python benchmarks/paper/bit_curves.py

The CSVs are the curve.csv of these runs (--resume continues one that was stopped):

    python examples/bit_sequences.py train --agent AGENT --n-envs 64 --test-step 29
    python examples/bit_sequences.py train --agent AGENT --preset fast --n 16 --k 4 \\
        --trajectories 32000 --out runs/bits_16_4
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from experiment import read_rows

RESULTS = Path(__file__).parent / "results" / "bit_sequences"
RUNS = {"SoftDQN": "soft.csv", "M-DQN": "munchausen.csv"}
EXACT = {"SoftDQN": "exact_16_4.csv", "M-DQN": "exact_16_4_munchausen.csv"}


def column(name: str, file: str) -> list[float]:
    return [row[name] for row in read_rows(RESULTS / file)]


def draw(axis: Axes, metric: str, title: str) -> None:
    for agent, file in RUNS.items():
        iterations = [count / 16 for count in column("trajectories", file)]
        axis.plot(iterations, column(metric, file), "o-", ms=3, label=agent)
    axis.set(title=title, xlabel="iterations of 16 trajectories")
    axis.grid(alpha=0.3)
    axis.legend()


def main() -> None:
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    draw(axes[0], "modes_found", "modes found, of 60")
    draw(axes[1], "spearman", "Spearman of R and P, 249 test strings")
    axis = axes[2]
    for agent, file in EXACT.items():
        seconds, distances = column("cpu_seconds", file), column("total_variation", file)
        axis.plot(seconds, distances, "o-", ms=3, label=agent)
    axis.legend()
    axis.axhline(0.05, color="grey", ls=":")
    axis.set(title="n = 16, k = 4: exact total variation", xlabel="CPU seconds", yscale="log")
    axis.grid(which="both", alpha=0.3)
    figure.savefig(RESULTS / "curves.png", dpi=110)
    print(RESULTS / "curves.png")


if __name__ == "__main__":
    main()
