"""One turn of a run in its own process, from its checkpoint or from scratch, up to a count."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.callbacks import BaseCallback

import gfn_gym.agents
from experiment import Experiment, Run
from gfn_gym.agents import EvaluationCallback, TrainingCheckpoint


def turn(
    experiment: Experiment, run: Run, seed: int, upto: int, stop: Event, report: Connection
) -> None:
    """Train up to ``upto`` trajectories, or until told to stop; this is all that the process does.

    Sends ``("row", dict)`` for each new row of the CSV, and finally ``("error", message)`` or
    ``("end", None)``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which sets stop
    torch.set_num_threads(1)
    try:
        _train(experiment, run, seed, upto, stop, report)
        report.send(("end", None))
    except Exception as error:
        log = experiment.checkpoint(run, seed).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
        report.send(("error", f"{type(error).__name__}: {error} (see {log})"))


def _train(
    experiment: Experiment, run: Run, seed: int, upto: int, stop: Event, report: Connection
) -> None:
    checkpoint, total = experiment.checkpoint(run, seed), experiment.trajectories
    model = _model(experiment, run, seed)
    model_total = max(total, model._total_trajectories or 0)
    metrics, callbacks = experiment.measure(model)
    evaluation = EvaluationCallback(
        (experiment.every, "episode"), metrics=metrics, monitor=experiment.metric
    )
    everything = [
        *callbacks,
        evaluation,
        # Before the CSV, so that the CSV never has a row that is not in a checkpoint.
        TrainingCheckpoint(checkpoint, (experiment.every, "episode")),
        Curve(evaluation, experiment.csv(run, seed), report),
        # Also if the checkpoint was started with a larger total than is wanted now.
        Pause(checkpoint, min(upto, total) if model_total > min(upto, total) else None, stop),
    ]
    try:
        if checkpoint.exists():
            model.learn(callback=everything)  # to the total that it was started with
        if model._episode_num < total:
            more = total - model._episode_num
            model.learn(total_trajectories=more, reset_num_timesteps=False, callback=everything)
    except Paused:
        pass


def _model(experiment: Experiment, run: Run, seed: int) -> Any:
    """Load the model from its checkpoint, or make it.

    Raises:
        ValueError: there is no such algorithm, or there is a CSV but no checkpoint to resume from.
    """
    algorithm = getattr(gfn_gym.agents, run.agent, None)
    if algorithm is None:
        everything = {name: getattr(gfn_gym.agents, name) for name in gfn_gym.agents.__all__}
        there = [name for name, member in everything.items() if hasattr(member, "learn")]
        raise ValueError(f"gfn_gym.agents has no {run.agent}, only {', '.join(sorted(there))}")
    checkpoint = experiment.checkpoint(run, seed)
    if checkpoint.exists():
        return algorithm.resume(checkpoint, device="cpu", trusted=True)  # written here
    if experiment.rows(run, seed)[1:]:
        path = experiment.csv(run, seed)
        raise ValueError(f"there is no {checkpoint} to resume from: to train again, remove {path}")
    env = gymnasium.make(f"gfn_gym:{run.env}", **run.env_kwargs)
    return algorithm(run.policy, env, preset=run.preset, seed=seed, device="cpu", **run.kwargs)


class Curve(BaseCallback):
    """Writes an evaluation's history to a CSV, and reports new rows."""

    def __init__(self, evaluation: EvaluationCallback, path: Path, report: Connection):
        super().__init__()
        self.evaluation, self.path, self.report = evaluation, path, report
        self._rows = 0  # written so far

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        history = self.evaluation.history
        if len(history) == self._rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(history[0]))
            writer.writeheader()
            writer.writerows(history)
        os.replace(part, self.path)
        for row in history[self._rows :]:
            self.report.send(("row", row))
        self._rows = len(history)

    _on_training_end = _on_rollout_start


class Paused(Exception):
    """A run has written its checkpoint and its turn is over."""


class Pause(BaseCallback):
    """Writes a checkpoint and raises :class:`Paused`, between rollouts.

    It does so after ``upto`` trajectories (None: never), when told to stop, or when the parent is
    gone. It must be the last callback, so that the states of the others are complete.
    """

    def __init__(self, checkpoint: Path, upto: int | None, stop: Event):
        super().__init__()
        self.checkpoint, self.upto, self.stop = checkpoint, upto, stop

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        reached = self.upto is not None and model._episode_num >= self.upto
        parent = multiprocessing.parent_process()
        if reached or self.stop.is_set() or not (parent is None or parent.is_alive()):
            model.save_checkpoint(self.checkpoint)
            raise Paused

    def _on_step(self) -> bool:
        return True
