"""Shared by the hypergrid figures: 20⁴, the paper's million trajectories, the panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from algorithms import BASELINES, OURS, make_run
from experiment import Experiment, Panel, Run, quick_version
from measures import exact

IDS = {"standard": "HypergridGFN-v0", "hard": "HypergridGFN-Hard-v0"}
UNIFORM, LEARNT = "P_B uniform", "P_B learnt, except for SoftDQN and M-DQN"


def distance_panels(runs: Sequence[Run], title: str, log_x: bool = False) -> list[Panel]:
    """The exact distance, and the paper's empirical one with its floor."""
    names = [run.name for run in runs]
    exact = Panel(
        metric="total_variation",
        title=title,
        label="exact total variation",
        runs=names,
        log_x=log_x,
    )
    empirical = Panel(
        metric="empirical_l1_mean",
        title=title,
        label="mean |p̂ − R/Z|, last 200,000 objects",
        runs=names,
        floor="perfect_l1_mean",
        log_x=log_x,
    )
    return [exact, empirical]


def grid_experiment(name: str, title: str, runs: list[Run], panels: list[Panel]) -> Experiment:
    """An experiment with the paper's settings."""
    return Experiment(
        name=name,
        domain="hypergrid",
        title=title,
        runs=runs,
        panels=panels,
        measure=exact,
        metric="total_variation",
        trajectories=1_000_000,
        every=10_000,
    )


def small(experiment: Experiment) -> Experiment:
    """The small version: 8⁴ cells, two seeds, a thousand iterations."""
    runs = [replace(r, env_kwargs={**r.env_kwargs, "height": 8}) for r in experiment.runs]
    title = experiment.title.replace("20⁴", "8⁴")
    changes = {"trajectories": 16_000, "every": 1_600, "seeds": (0, 1)}
    return quick_version(replace(experiment, title=title), runs=runs, **changes)


def grid_run(algorithm: str, reward: str, **others: Any) -> Run:
    """A run of one of ``algorithms.AGENTS`` with a reward from ``IDS``.

    It uses 64 environments, which halves the CPU time and keeps the paper's 16 trajectories per
    gradient step. TB and PPO use the paper's 16, since they suffer most from trajectories that an
    earlier policy started.
    """
    suffix = f"-{reward}" + others.pop("suffix", "")
    n_envs = 16 if algorithm in ("TB", "PPO") else 64
    others["kwargs"] = {"n_envs": n_envs, **others.get("kwargs", {})}
    return make_run(algorithm, IDS[reward], suffix=suffix, **others)


def comparison(reward: str) -> Experiment:
    """All algorithms, the baselines with uniform and learnt P_B, as in the paper's figures."""
    ours = [grid_run(algorithm, reward) for algorithm in OURS]
    baselines = [grid_run(algorithm, reward) for algorithm in BASELINES]
    learnt = [grid_run(algorithm, reward, learnt=True) for algorithm in BASELINES]
    panels = distance_panels([*ours, *baselines], UNIFORM) + distance_panels(
        [*ours, *learnt], LEARNT
    )
    title = f"Hypergrid 20⁴, {reward} reward"
    return grid_experiment(f"grid_{reward}", title, [*ours, *baselines, *learnt], panels)
