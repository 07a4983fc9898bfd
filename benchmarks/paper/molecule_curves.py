"""Draw the molecule curves of results/molecules/ from their CSVs alone.

    python benchmarks/paper/molecule_curves.py

The CSVs are the curve.csv of these runs (--resume continues one that was stopped; the balance
losses use preset="paper" with 64 environments, the others preset="fast"):

    python examples/molecules.py train --agent AGENT --n-envs 64 --reward seh --blocks pdb105 \\
        --reward-exponent 10 --network small --trajectories 200000 --evaluations 40
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiment import read_rows

RESULTS = Path(__file__).parent / "results" / "molecules"
RUNS = {
    "SoftDQN": "soft.csv",
    "M-DQN": "munchausen.csv",
    "TB": "tb.csv",
    "SubTB": "subtb.csv",
}
PANELS = {
    "pearson": "Pearson of log R and exact log P, 950 test molecules",
    "modes_found": "modes found while training (proxy ≥ 7, Tanimoto < 0.7)",
}


def main() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    for agent, file in RUNS.items():
        rows = read_rows(RESULTS / file)
        minutes = [row["cpu_seconds"] / 60 for row in rows]
        for axis, metric in zip(axes, PANELS, strict=True):
            axis.plot(minutes, [row[metric] for row in rows], "o-", ms=3, label=agent)
    for axis, title in zip(axes, PANELS.values(), strict=True):
        axis.set(title=title, xlabel="CPU minutes")
        axis.grid(alpha=0.3)
        axis.legend()
    count = rows[-1]["trajectories"]
    figure.suptitle(f"sEH, β = 10, small network, {count:,.0f} molecules, seed 0")
    figure.savefig(RESULTS / "curves.png", dpi=110)
    print(RESULTS / "curves.png")


if __name__ == "__main__":
    main()
