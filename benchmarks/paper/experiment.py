"""An experiment is data: named runs, what is measured of them, and the panels of its figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKPOINTS = HERE.parents[1] / "runs" / "figures"

Row = dict[str, float]
Measure = Callable[[Any], tuple[Callable[[Any], Row], list[Any]]]
"""From a model to the metrics of its policy, and the callbacks that they need."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A curve: an algorithm on an environment."""

    name: str
    """In file names and on the command line."""
    label: str
    """In legends; those of one label are one line of a panel over ``at``."""
    agent: str
    """The class, by its name in gfn_gym.agents."""
    env: str
    """The environment's id."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    policy: str = "MlpPolicy"
    """The networks."""
    preset: str = "paper"
    """Settings of gfn_gym.agents.presets."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the agent; they win over the preset's."""
    at: float = math.nan
    """Where the run stands on the x axis of a panel over a parameter."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A part of the figure: a metric while training, or at its end over the runs' ``at``."""

    metric: str
    """The column of the CSVs; its size where it is signed."""
    title: str
    """Above the panel."""
    label: str = ""
    """Of the metric's axis; by default its name."""
    runs: Sequence[str] | None = None
    """Names of the runs to draw; None: all."""
    over: str | None = None
    """What ``at`` is; then the last values are drawn over it."""
    log: bool = True
    """Whether the metric's axis is logarithmic."""
    log_x: bool = False
    """Whether that of the trajectories is: where runs are of very different lengths."""
    floor: str | None = None
    """A column drawn in grey, once: what a perfect sampler would have."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs that are compared, and how."""

    name: str
    """Of its picture."""
    domain: str
    """Of its folder. Experiments of one domain share the runs of one name, trained but once."""
    title: str
    """Of the figure; the count of trajectories is appended."""
    runs: Sequence[Run]
    """The curves, in the legend's order."""
    panels: Sequence[Panel]
    """What is drawn."""
    measure: Measure
    """What is measured; a function of a module, since workers import it."""
    metric: str
    """The metric that is printed while training."""
    trajectories: int
    """How many a run trains on, a multiple of ``every``."""
    every: int
    """Trajectories between two evaluations; whole iterations, i.e. a multiple of train_freq's."""
    seeds: Sequence[int] = (0, 1, 2)
    """Each run is repeated with these."""
    columns: int = 2
    """Panels beside each other."""
    results: Path = HERE / "results"
    """Where the folder with CSVs and figure goes."""
    checkpoints: Path = CHECKPOINTS
    """Where the folder with checkpoints goes."""

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names):
            raise ValueError(f"runs={names} must have different names")
        if self.trajectories <= 0 or self.trajectories % self.every:
            # So training ends where an evaluation is due, and going on from there is exact, but
            # for what is scheduled over the total.
            raise ValueError(f"trajectories={self.trajectories} must be a multiple of {self.every}")

    @property
    def folder(self) -> Path:
        return self.results / self.domain

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.name}.png"

    def csv(self, run: Run, seed: int) -> Path:
        return self.folder / f"{run.name}-{seed}.csv"

    def checkpoint(self, run: Run, seed: int) -> Path:
        return self.checkpoints / self.domain / f"{run.name}-{seed}.zip"

    def rows(self, run: Run, seed: int) -> list[Row]:
        """The CSV; empty where there is none yet."""
        path = self.csv(run, seed)
        return read_rows(path) if path.exists() else []

    def count(self, run: Run, seed: int) -> int:
        """How many trajectories the CSV has come to, in whole steps of ``every``."""
        rows = self.rows(run, seed)
        return int(rows[-1]["trajectories"]) // self.every * self.every if rows else 0

    def all_seeds(self, run: Run) -> list[int]:
        """The seeds that have a CSV, also those of an earlier command line."""
        found = [path.stem.rpartition("-") for path in self.folder.glob(f"{run.name}-*.csv")]
        return sorted(int(seed) for name, _, seed in found if name == run.name)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV of numbers."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def quick_version(experiment: Experiment, **changes: Any) -> Experiment:
    """The same with other settings, all of whose files are with the checkpoints."""
    named = {"domain": f"{experiment.domain}_quick", "title": f"{experiment.title}, quick version"}
    return replace(experiment, **{"results": experiment.checkpoints, **named, **changes})
