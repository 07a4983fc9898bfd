"""An experiment is data: named runs, what to measure, and the panels of its figure."""

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
"""From a model to its policy's metrics, and the callbacks that they need."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A curve: an algorithm on an environment."""

    name: str
    """Name in file names and on the command line."""
    label: str
    """Label in legends; runs with the same label form one line of a panel over ``at``."""
    agent: str
    """The class's name in gfn_gym.agents."""
    env: str
    """The environment's id."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for the environment."""
    policy: str = "MlpPolicy"
    """The policy's name."""
    preset: str = "paper"
    """Name of the settings in gfn_gym.agents.presets."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for the agent; they override the preset's."""
    at: float = math.nan
    """The run's x value in a panel over a parameter."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Part of a figure: a metric during training, or its last value against the runs' ``at``."""

    metric: str
    """The CSVs' column; if it is signed, its absolute value is drawn."""
    title: str
    """Title above the panel."""
    label: str = ""
    """Label of the metric's axis; by default the metric's name."""
    runs: Sequence[str] | None = None
    """Names of the runs to draw; None: all."""
    over: str | None = None
    """The name of the parameter ``at``; if given, last values are drawn against it."""
    log: bool = True
    """Whether the metric's axis is logarithmic."""
    log_x: bool = False
    """Whether the trajectories' axis is logarithmic, for runs of very different lengths."""
    floor: str | None = None
    """A column drawn once, in grey: what a perfect sampler would have."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs to compare, and how."""

    name: str
    """The picture's file name."""
    domain: str
    """Its folder. Experiments of one domain share runs with the same name, trained only once."""
    title: str
    """The figure's title; the number of trajectories is appended."""
    runs: Sequence[Run]
    """The curves, in the legend's order."""
    panels: Sequence[Panel]
    """The panels to draw."""
    measure: Measure
    """What to measure; must be a module's function, since workers import it."""
    metric: str
    """The metric to print during training."""
    trajectories: int
    """Trajectories per run, a multiple of ``every``."""
    every: int
    """Trajectories between two evaluations, a multiple of those in train_freq."""
    seeds: Sequence[int] = (0, 1, 2)
    """Each run is repeated with each of these."""
    columns: int = 2
    """Panels per row."""
    results: Path = HERE / "results"
    """Where to put the folder with CSVs and figure."""
    checkpoints: Path = CHECKPOINTS
    """Where to put the folder with checkpoints."""

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names):
            raise ValueError(f"runs={names} must have different names")
        if self.trajectories <= 0 or self.trajectories % self.every:
            # This way training ends at an evaluation, and continuing from there is exact, except
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
        """The CSV's rows; none if there is no CSV yet."""
        path = self.csv(run, seed)
        return read_rows(path) if path.exists() else []

    def count(self, run: Run, seed: int) -> int:
        """The trajectories that the CSV has reached, in whole steps of ``every``."""
        rows = self.rows(run, seed)
        return int(rows[-1]["trajectories"]) // self.every * self.every if rows else 0

    def all_seeds(self, run: Run) -> list[int]:
        """The seeds that have a CSV, including those of earlier command lines."""
        found = [path.stem.rpartition("-") for path in self.folder.glob(f"{run.name}-*.csv")]
        return sorted(int(seed) for name, _, seed in found if name == run.name)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV of numbers."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def quick_version(experiment: Experiment, **changes: Any) -> Experiment:
    """The experiment with other settings, with all its files next to the checkpoints."""
    named = {"domain": f"{experiment.domain}_quick", "title": f"{experiment.title}, quick version"}
    return replace(experiment, **{"results": experiment.checkpoints, **named, **changes})
