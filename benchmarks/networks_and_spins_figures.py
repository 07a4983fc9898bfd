"""Draws networks_and_spins_training.py's figure, and prints its table, from the CSVs alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from networks_and_spins_aims import AIMS, NETWORKS, SPINS, Aim

COLUMNS = (
    "cpu_seconds", "samples", "total_variation", "edge_error_max", "edge_error_mean",
    "log_z_error", "energy_error", "energy_distance", "energy_floor",
    "magnetisation_distance", "magnetisation_floor",
)  # fmt: skip


def draw_all(folder: Path) -> None:
    """Draw curves.png and print table.csv of a folder as Markdown."""
    panels = {
        "exact total variation, five nodes": ("total_variation", NETWORKS),
        "|V(s0) − log Z|, networks": ("log_z_error", NETWORKS),
        "exact total variation, 4×4 spins": ("total_variation", SPINS),
        "|V(s0) − log Z|, spins": ("log_z_error", SPINS),
    }
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    for axis, (title, (metric, aims)) in zip(axes.flat, panels.items(), strict=True):
        draw_curves(axis, folder, metric, aims)
        axis.set(title=title, xlabel="CPU seconds of training", yscale="log")
        axis.grid(which="both", alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.savefig(folder / "curves.png", dpi=110)
    plt.close(figure)
    print_table(folder)
    print(f"\nwrote {folder / 'curves.png'}")


def draw_curves(axis: Axes, folder: Path, metric: str, aims: Sequence[Aim]) -> None:
    """A metric over CPU seconds, a line for each seed of the aims that have it."""
    for number, aim in enumerate(aims):
        for path in sorted(folder.glob(f"{aim.name}-[0-9]*.csv")):
            if path.stem.removeprefix(f"{aim.name}-").isdigit():
                rows = read(path)
                values = [abs(float(row.get(metric) or math.nan)) for row in rows]
                if not all(map(math.isnan, values)):
                    seconds = [float(row["cpu_seconds"]) for row in rows]
                    axis.plot(seconds, values, "o-", ms=3, color=f"C{number}", label=path.stem)


def print_table(folder: Path) -> None:
    rows = read(folder / "table.csv")
    columns = [name for name in COLUMNS if any(row.get(name) for row in rows)]
    print("| | method | seed |", " | ".join(name.replace("_", " ") for name in columns), "|")
    print("| --- |" + " --- |" * (2 + len(columns)))
    order = [aim.name for aim in AIMS]
    for row in sorted(rows, key=lambda row: order.index(row["aim"])):
        cells = [f"{float(row[name]):.4g}" if row.get(name) else "" for name in columns]
        print(f"| {row['aim']} | {row['method']} | {row['seed']} |", " | ".join(cells), "|")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
