"""Print the comparison's table, algorithm × domain, as Markdown from the CSVs under results/.

    python benchmarks/paper/comparison_table.py

A cell has the lowest and the highest value of the seeds at the column's number of trajectories, and
their mean CPU minutes of training. For a shorter run it says how many trajectories it reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import bits_exact
import grid_hard
import grid_later_algorithms
import grid_learnt_backward
import grid_standard
import molecule_curves
from experiment import Experiment, Row, Run, read_rows

ALGORITHMS = ("SoftDQN", "M-DQN", "PPO", "SubTB", "DB", "TB", "SAC", "FM")
UNIFORM, LEARNT = "{}", "{}, learnt P_B"


@dataclass(frozen=True)
class Column:
    """A domain and where its runs are."""

    title: str
    experiments: tuple[Experiment, ...]
    label: str
    suffix: str
    """The end of its runs' names."""
    count: int


COLUMNS = [
    Column(
        f"20⁴ {reward}, {p_b} P_B",
        (grid_later_algorithms.EXPERIMENT, grid_learnt_backward.EXPERIMENT, figure.EXPERIMENT),
        label,
        f"-{reward}",
        200_000,
    )
    for p_b, label in (("uniform", UNIFORM), ("learnt", LEARNT))
    for reward, figure in (("standard", grid_standard), ("hard", grid_hard))
]
COLUMNS.append(Column("bits, n = 16, k = 4", (bits_exact.EXPERIMENT,), UNIFORM, "", 32_000))
MOLECULES = "molecules, sEH: Pearson", 200_000


def main() -> None:
    counts = [column.count for column in COLUMNS] + [MOLECULES[1]]
    titles = [column.title for column in COLUMNS] + [MOLECULES[0]]
    print("| | " + " | ".join(titles) + " |")
    print("| --- |" + " --- |" * len(titles))
    print("| *trajectories* | " + " | ".join(f"{count:,}" for count in counts) + " |")
    for algorithm in ALGORITHMS:
        cells = [grid_cell(column, algorithm) for column in COLUMNS] + [molecule_cell(algorithm)]
        print(f"| {algorithm} | " + " | ".join(cells) + " |")


def grid_cell(column: Column, algorithm: str) -> str:
    """The exact total variation of the seeds that were trained."""
    found = [
        (experiment, run)
        for experiment in column.experiments
        for run in experiment.runs
        if run.label == column.label.format(algorithm) and run.name.endswith(column.suffix)
    ]
    return cell(seeds(*found[0], column.count), "total_variation", column.count) if found else "–"


def molecule_cell(algorithm: str) -> str:
    path = molecule_curves.RESULTS / molecule_curves.RUNS.get(algorithm, "")
    rows = read_rows(path) if path.is_file() else []
    return cell([rows] if rows else [], "pearson", MOLECULES[1])


def seeds(experiment: Experiment, run: Run, count: int) -> list[list[Row]]:
    """Each seed's rows up to ``count`` trajectories."""
    curves = [experiment.rows(run, seed) for seed in experiment.all_seeds(run)]
    every = experiment.every
    return [
        [row for row in rows if row["trajectories"] // every * every <= count] for rows in curves
    ]


def cell(curves: list[list[Row]], metric: str, count: int) -> str:
    """The metric's last values and the CPU minutes."""
    last = [rows[-1] for rows in curves if rows]
    if not last:
        return "–"
    least, largest = (f"{of(row[metric] for row in last):.3f}" for of in (min, max))
    values = least if least == largest else f"{least}–{largest}"
    minutes = sum(row["cpu_seconds"] for row in last) / len(last) / 60
    reached = min(row["trajectories"] for row in last)
    behind = f" at {reached:,.0f}" if reached < 0.99 * count else ""
    return f"{values}, {minutes:.1f} min{behind}"


if __name__ == "__main__":
    main()
