"""The pictures of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from gfn_gym.dag import Floats, States
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import Policy, sample, target_distribution, terminal_distribution
from gfn_gym.graph import enumerate_graph

ZERO, ONE, WRONG = (68, 90, 140), (245, 222, 120), (214, 60, 60)
BINS = 100  # per side, at most


def draw_curve(history: list[dict[str, float]], metrics: list[str], path: Path) -> None:
    """Draw errors against trajectories and CPU seconds; signed ones by their absolute value."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, count in zip(axes, ("trajectories", "cpu_seconds"), strict=True):
        x = [row[count] for row in history]
        for name, style in zip(metrics, ("o-", "s--", "^:"), strict=False):
            if name in history[0]:
                y = [abs(row[name]) for row in history]
                axis.plot(x, y, style, ms=3, alpha=0.8, label=name.replace("_", " "))
        axis.set(yscale="log", xlabel=count.replace("_", " "))
        axis.grid(which="both", alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_metrics(history: list[dict[str, float]], metrics: list[str], path: Path) -> None:
    """Draw metrics against trajectories, each on its own axis."""
    width = 5 * len(metrics)
    figure, axes = plt.subplots(
        ncols=len(metrics), figsize=(width, 4), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], metrics, strict=True):
        axis.plot([row["trajectories"] for row in history], [row[name] for row in history], "o-")
        axis.set(title=name.replace("_", " "), xlabel="trajectories")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_molecules(smiles: Sequence[str], captions: Sequence[str], path: Path) -> None:
    """Draw molecules in rows of five, each above its caption."""
    from rdkit import Chem
    from rdkit.Chem import Draw

    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    image = Draw.MolsToGridImage(
        molecules, molsPerRow=5, subImgSize=(280, 220), legends=list(captions)
    )
    image.save(path)


def draw_distributions(dag: Hypergrid, policy: Policy, path: Path, exact: bool) -> None:
    """Draw target and learnt distribution side by side, over the first two coordinates.

    If ``exact``, both are computed over the whole grid and summed over the other coordinates.
    Otherwise the reward is drawn with the other coordinates at 0, and the learnt distribution is
    estimated from 20,000 samples.
    """
    if exact:
        graph = enumerate_graph(dag)
        cells = graph.states[graph.objects]
        titles = ("target R/Z", "learnt")
        weights = (target_distribution(graph), terminal_distribution(graph, policy))
        planes = [_projection(dag, cells, weight) for weight in weights]
    else:
        samples = sample(dag, policy, 20_000)
        titles = ("R, other coordinates at 0", "20,000 samples")
        planes = [
            _cross_section(dag),
            _projection(dag, samples.states, np.full(len(samples), 1 / 20_000)),
        ]
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for axis, title, plane in zip(axes, titles, planes, strict=True):
        top = max(float(p.max()) for p in planes) if exact else float(plane.max())
        extent = (0, dag.height, 0, dag.height if dag.ndim > 1 else 1)
        image = axis.imshow(plane.T, origin="lower", vmin=0, vmax=top, extent=extent, aspect="auto")
        axis.set(title=title, xlabel="x0", ylabel="x1" if dag.ndim > 1 else "")
        if not exact or axis is axes[-1]:
            figure.colorbar(image, ax=axis)
    figure.suptitle(repr(dag))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _projection(dag: Hypergrid, cells: States, weight: Floats) -> Floats:
    """Sum weights over all coordinates except the first two, in at most BINS × BINS bins."""
    pair = np.stack([cells[:, 0], cells[:, 1] if dag.ndim > 1 else 0 * cells[:, 0]])
    bins = min(dag.height, BINS)
    shape = (bins, bins if dag.ndim > 1 else 1)
    plane = np.zeros(shape)
    np.add.at(plane, tuple(pair.astype(np.int64) * bins // dag.height), weight)
    return plane


def _cross_section(dag: Hypergrid) -> Floats:
    """R at the lower corners of the bins, with the other coordinates at 0."""
    bins = min(dag.height, BINS)
    shape = (bins, bins if dag.ndim > 1 else 1)
    cells = dag.initial_states(shape[0] * shape[1])
    corners = np.arange(bins) * dag.height // bins
    cells[:, 0] = corners.repeat(shape[1])
    if dag.ndim > 1:
        cells[:, 1] = np.tile(corners, bins)
    return np.exp(dag.log_reward(cells)).reshape(shape)


def draw_bit_sequences(dag: BitSequence, objects: States, path: Path) -> None:
    """Draw objects (n, d) as rows of bits, sorted by nearest mode, next to those modes.

    Bits in which an object differs from its mode are red.
    """
    distances = dag.mode_distances(objects)
    order = np.lexsort((distances.min(axis=1), distances.argmin(axis=1)))
    objects, nearest = objects[order], distances.argmin(axis=1)[order]
    bits, modes = dag.bits(objects), dag.bits(dag.modes[nearest])
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained", sharey=True)
    colours = np.where((bits != modes)[..., None], WRONG, np.where(bits[..., None], ONE, ZERO))
    axes[0].imshow(colours, aspect="auto", interpolation="nearest")
    mean = distances.min(axis=1).mean()
    axes[0].set(title=f"{len(objects)} samples, on average {mean:.1f} bits off", xlabel="bit")
    axes[1].imshow(np.where(modes[..., None], ONE, ZERO), aspect="auto", interpolation="nearest")
    axes[1].set(title=f"the mode nearest to each: {len(np.unique(nearest))} modes", xlabel="bit")
    figure.suptitle(repr(dag))
    figure.savefig(path, dpi=120)
    plt.close(figure)
