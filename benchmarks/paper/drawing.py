"""Draws an experiment's figure from its CSVs alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from experiment import Experiment, Panel, Row, Run

STYLES = ("-", "--", "-.", ":")


def draw(experiment: Experiment) -> Path:
    """Draw the figure; return its path.

    Lines are means over the seeds that have reached a count, and shaded areas go from the lowest
    to the highest. The title says how many trajectories were reached, and the legend where shorter
    runs, or some of their seeds, end. A panel of which no run has begun is left out.
    """
    panels = [panel for panel in experiment.panels if has_begun(experiment, panel)]
    panels = panels or list(experiment.panels)
    columns = min(experiment.columns, len(panels))
    n_rows = math.ceil(len(panels) / columns)
    size = (5.6 * columns, 3.9 * n_rows + 0.3)
    figure, axes = plt.subplots(n_rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        draw_panel(experiment, panel, axis)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(f"{experiment.title}: {reached(experiment)}")
    experiment.folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(experiment.picture, dpi=110)
    plt.close(figure)
    return experiment.picture


def draw_panel(experiment: Experiment, panel: Panel, axis: Axes) -> None:
    runs = runs_of(experiment, panel)
    if panel.over is None:
        draw_floor(experiment, runs, panel, axis)
        draw_curves(experiment, runs, panel, axis)
        axis.set_xscale("log" if panel.log_x else "linear")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        draw_last(experiment, runs, panel, axis)
    axis.set(title=panel.title, xlabel=panel.over or "trajectories")
    axis.set_ylabel(panel.label or panel.metric.replace("_", " "))
    axis.set_yscale("log" if panel.log else "linear")
    axis.grid(which="both", alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize="small")


def draw_curves(experiment: Experiment, runs: list[Run], panel: Panel, axis: Axes) -> None:
    """A metric against trajectories, one line per run."""
    longest = max(counts(experiment), default=0)
    for number, run in enumerate(runs):
        curves = seed_values(experiment, run, panel.metric)
        if not curves:
            continue
        points = gather(chain.from_iterable(curves))
        ends = sorted({values[-1][0] for values in curves})
        label = run.label
        if ends[0] < longest:
            label += f" ({' to '.join(f'{end:,}' for end in ends)})"
        style, color = STYLES[number // 10 % len(STYLES)], f"C{number}"
        draw_spread(axis, points, style, color, label)


def draw_last(experiment: Experiment, runs: list[Run], panel: Panel, axis: Axes) -> None:
    """The last value of a metric against the runs' parameter, one line per label."""
    for number, label in enumerate(dict.fromkeys(run.label for run in runs)):
        points = gather(
            (run.at, values[-1][1])
            for run in runs
            if run.label == label
            for values in seed_values(experiment, run, panel.metric)
        )
        if points:
            draw_spread(axis, points, "o-", f"C{number}", label)
    axis.set_xticks(sorted({run.at for run in runs}))


def draw_spread(
    axis: Axes, points: dict[float, list[float]], style: str, color: str, label: str
) -> None:
    x = sorted(points)
    mean = [sum(points[at]) / len(points[at]) for at in x]
    axis.plot(x, mean, style, color=color, ms=4, lw=1.5, label=label)
    least, largest = [min(points[at]) for at in x], [max(points[at]) for at in x]
    axis.fill_between(x, least, largest, color=color, alpha=0.15, lw=0)


def draw_floor(experiment: Experiment, runs: list[Run], panel: Panel, axis: Axes) -> None:
    """What a perfect sampler would have after the same number of trajectories."""
    if panel.floor is None:
        return
    of_runs = (seed_values(experiment, run, panel.floor) for run in runs)
    curves = [gather(chain.from_iterable(curves)) for curves in of_runs]
    points = max(curves, key=len, default={})
    if points:
        x = sorted(points)
        y = [points[at][0] for at in x]
        axis.plot(x, y, color="grey", ls=":", lw=1.5, label="perfect sampler")


# ---- numbers --------------------------------------------------------------------------------


def runs_of(experiment: Experiment, panel: Panel) -> list[Run]:
    """The runs that a panel draws."""
    names = [run.name for run in experiment.runs] if panel.runs is None else panel.runs
    return [run for run in experiment.runs if run.name in names]


def has_begun(experiment: Experiment, panel: Panel) -> bool:
    """Whether there is anything to draw."""
    return any(experiment.all_seeds(run) for run in runs_of(experiment, panel))


def seed_values(experiment: Experiment, run: Run, metric: str) -> list[list[tuple[int, float]]]:
    """Per seed, pairs of trajectories (in steps of ``every``) and the metric's absolute value."""
    curves = []
    for seed in experiment.all_seeds(run):
        values = [pair(experiment, row, metric) for row in experiment.rows(run, seed)]
        kept = [(count, value) for count, value in values if math.isfinite(value)]
        if kept:
            curves.append(kept)
    return curves


def pair(experiment: Experiment, row: Row, metric: str) -> tuple[int, float]:
    count = int(row["trajectories"]) // experiment.every * experiment.every
    return count, abs(row.get(metric, math.nan))


def gather(pairs: Iterable[tuple[float, float]]) -> dict[float, list[float]]:
    """The values at each x."""
    points: dict[float, list[float]] = {}
    for at, value in pairs:
        points.setdefault(at, []).append(value)
    return points


def counts(experiment: Experiment) -> list[int]:
    """The trajectories that each run and seed has reached."""
    pairs = [(run, seed) for run in experiment.runs for seed in experiment.all_seeds(run)]
    return [experiment.count(run, seed) for run, seed in pairs]


def reached(experiment: Experiment) -> str:
    """The largest number of trajectories, and the largest number of seeds."""
    seeds = max((len(experiment.all_seeds(run)) for run in experiment.runs), default=0)
    if not seeds:
        return "nothing trained yet"
    seeds_words = f"{seeds} seed" + "s" * (seeds > 1)
    found = counts(experiment)
    up_to = "up to " if min(found) < max(found) else ""
    return f"{up_to}{max(found):,} trajectories, {seeds_words}"
