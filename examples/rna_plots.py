"""The pictures of the example of RNA folds."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from gfn_gym.dag import Floats
from gfn_gym.envs.rna.fold_metrics import Structures

LEAST = 1e-4  # the smallest probability of a dot plot
EXACT, LEARNT = (0.16, 0.27, 0.55), (0.84, 0.42, 0.16)


def draw_dot_plot(
    sequence: str, exact: Floats, learnt: Floats, pairs: np.ndarray, path: Path, title: str
) -> None:
    """Draw base pair probabilities (P,) of pairs (P, 2): exact above the diagonal, learnt below.

    As in RNA dot plots the area of a square is the probability; its colour has it on a
    logarithmic scale.
    """
    n = len(sequence)
    figure, axis = plt.subplots(figsize=(7.2, 6.4), layout="constrained")
    axis.plot([0.5, n + 0.5], [0.5, n + 0.5], color="0.6", lw=1)
    first, second = pairs[:, 0] + 1, pairs[:, 1] + 1
    side = (axis.get_window_extent().width * 0.85 / (n + 1)) * 72 / figure.dpi  # points a base
    for probabilities, x, y in ((exact, second, first), (learnt, first, second)):
        seen = probabilities >= LEAST
        dots = axis.scatter(
            x[seen], y[seen], s=np.maximum(side**2 * probabilities[seen], 1.0), marker="s",
            c=probabilities[seen], cmap="viridis_r", norm=LogNorm(LEAST, 1.0),
        )  # fmt: skip
    axis.set(xlim=(0.5, n + 0.5), ylim=(n + 0.5, 0.5), aspect="equal", title=title)
    axis.text(0.97, 0.97, "exact", transform=axis.transAxes, ha="right", va="top", color="0.3")
    axis.text(0.03, 0.03, "learnt", transform=axis.transAxes, ha="left", va="bottom", color="0.3")
    _bases(axis, sequence)
    axis.grid(color="0.93", lw=0.5)
    axis.set_axisbelow(True)
    figure.colorbar(dots, ax=axis, label="probability of the base pair", shrink=0.8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bases(axis: Axes, sequence: str) -> None:
    """The sequence along both axes; with many bases, numbers."""
    n = len(sequence)
    if n <= 80:
        size = 9 if n <= 40 else 6
        axis.set_xticks(range(1, n + 1), list(sequence), fontsize=size)
        axis.set_yticks(range(1, n + 1), list(sequence), fontsize=size)
        axis.tick_params(length=0, top=True, labeltop=True, right=True, labelright=True)
    else:
        axis.set(xlabel="base", ylabel="base")


def draw_structures(found: Structures, path: Path) -> None:
    """Draw structures in dot-bracket with bars of their exact and learnt probabilities."""
    rows = np.arange(len(found))
    width = 4.5 + 0.085 * len(found.structures[0])
    figure, axis = plt.subplots(figsize=(width, 0.8 + 0.32 * len(found)), layout="constrained")
    axis.barh(rows - 0.2, found.probabilities, 0.38, color=EXACT, label="exact")
    axis.barh(rows + 0.2, found.frequencies, 0.38, color=LEARNT, label="sampled")
    labels = [
        f"{text}  {energy:6.2f}"
        for text, energy in zip(found.structures, found.energies, strict=True)
    ]
    axis.set_yticks(rows, labels, family="monospace", fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="probability", title="the most probable structures, kcal/mol")
    axis.legend()
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
