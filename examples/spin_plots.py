"""The pictures of the Ising model's example."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from gfn_gym.dag import Floats, States
from gfn_gym.envs.ising import Ising

COLOURS = ListedColormap([(68 / 255, 90 / 255, 140 / 255), (245 / 255, 222 / 255, 120 / 255)])
SIDE = 4  # samples a side of a panel


def draw_spins(dag: Ising, samples: dict[str, States], path: Path) -> None:
    """Draw some samples of every method side by side: blue down, yellow up."""
    figure, axes = plt.subplots(
        1, len(samples), figsize=(4.4 * len(samples), 4.8), squeeze=False, layout="constrained",
        gridspec_kw={"wspace": 0.08},
    )  # fmt: skip
    side = dag.L or int(np.ceil(np.sqrt(dag.n_spins)))
    for axis, (title, states) in zip(axes[0], samples.items(), strict=True):
        wall = np.full((SIDE * (side + 1) - 1, SIDE * (side + 1) - 1), np.nan)
        for place, state in enumerate(states[: SIDE**2]):
            row, column = (k * (side + 1) for k in divmod(place, SIDE))
            cells = np.full(side**2, np.nan)
            cells[: dag.n_spins] = state
            wall[row : row + side, column : column + side] = cells.reshape(side, side)
        axis.imshow(wall, cmap=COLOURS, vmin=0, vmax=1)
        axis.set_title(title)
        axis.axis("off")
    figure.suptitle(repr(dag))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_histograms(
    dag: Ising,
    exact: dict[str, tuple[Floats, Floats] | None],
    samples: dict[str, States],
    path: Path,
) -> None:
    """Draw the samples' energies and magnetisations over the exact distributions, where known."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    for axis, (name, distribution) in zip(axes, exact.items(), strict=True):
        measure = dag.energy if name == "energy" else dag.magnetisation
        for title, states in samples.items():
            values, counts = np.unique(np.round(measure(states), 9), return_counts=True)
            axis.plot(values, counts / len(states), "o", ms=4, alpha=0.7, label=title)
        if distribution is not None:
            seen = distribution[1] > 1e-6
            axis.plot(
                distribution[0][seen], distribution[1][seen], "k-", lw=1, zorder=0, label="exact"
            )
        axis.set(xlabel=name, ylabel="probability")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(repr(dag))
    figure.savefig(path, dpi=110)
    plt.close(figure)
