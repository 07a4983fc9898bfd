"""The pictures of the Bayesian networks' example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import networkx  # type: ignore[import-untyped]
import numpy as np
from matplotlib.axes import Axes

from gfn_gym.dag import Floats

WRITTEN = 14  # nodes up to which the numbers are written into the heat map
SHOWN = 0.2  # least probability of an edge that is drawn as an arrow


def draw_edges(names: Sequence[str], panels: dict[str, Floats], path: Path) -> None:
    """Draw edge probabilities (d, d) of one or several methods, as heat maps and as graphs.

    Args:
        names: of the nodes.
        panels: title → probabilities, [i, j] of the edge i → j.
        path: the picture.
    """
    count = len(panels)
    figure, axes = plt.subplots(
        2, count, figsize=(5.2 * count, 9.6), squeeze=False, layout="constrained"
    )
    for column, (title, edges) in enumerate(panels.items()):
        _heat_map(axes[0, column], names, edges, title)
        _graph(axes[1, column], names, edges)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_agreement(exact: Floats, panels: dict[str, Floats], path: Path) -> None:
    """Draw the methods' edge probabilities over the exact ones, (d, d) each."""
    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    others = ~np.eye(len(exact), dtype=bool)
    axis.plot([0, 1], [0, 1], color="grey", lw=1)
    for title, edges in panels.items():
        error = np.abs(edges - exact)[others]
        label = f"{title}: at most {error.max():.3f} off, on average {error.mean():.4f}"
        axis.plot(exact[others], edges[others], "o", ms=4, alpha=0.7, label=label)
    axis.set(xlabel="exact probability of an edge", ylabel="estimate", aspect="equal")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _heat_map(axis: Axes, names: Sequence[str], edges: Floats, title: str) -> None:
    axis.imshow(edges, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=90)
    axis.set_yticks(ticks, names)
    axis.set(title=title, xlabel="to", ylabel="from")
    if len(names) <= WRITTEN:
        for i, j in np.ndindex(edges.shape):
            colour = "white" if edges[i, j] > 0.6 else "black"
            text = "" if i == j else f"{edges[i, j]:.2f}"
            size = 10 if len(names) <= 8 else 6
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def _graph(axis: Axes, names: Sequence[str], edges: Floats) -> None:
    """Arrows as wide as their edges are probable."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    for i, j in np.argwhere(edges >= SHOWN):
        graph.add_edge(names[i], names[j], probability=float(edges[i, j]))
    places = networkx.circular_layout(graph)
    small = len(names) > 8
    networkx.draw_networkx_nodes(
        graph, places, ax=axis, node_size=500 if small else 1100, node_color="#445a8c"
    )
    networkx.draw_networkx_labels(
        graph, places, ax=axis, font_color="white", font_size=7 if small else 10
    )
    probabilities = [data["probability"] for _, _, data in graph.edges(data=True)]
    networkx.draw_networkx_edges(
        graph,
        places,
        ax=axis,
        width=[4 * p for p in probabilities],
        edge_color=[(0.2, 0.2, 0.2, 0.25 + 0.75 * p) for p in probabilities],
        node_size=500 if small else 1100,
        arrowsize=16,
        connectionstyle="arc3,rad=0.08",  # so that both directions are seen
    )
    axis.set_title(f"edges of probability {SHOWN:g} and more", fontsize="small")
    axis.axis("off")
