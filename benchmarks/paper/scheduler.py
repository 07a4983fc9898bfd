"""Trains an experiment's runs in parallel processes, taking turns, those furthest behind first."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import gfn_gym
import worker
from experiment import Experiment, Row, Run

TURN = 5  # evaluations; then it is the turn of a run that is further behind


@dataclass(eq=False)
class Job:
    """A run with a seed, and its process during its turn."""

    run: Run
    seed: int
    count: int  # trajectories so far, rounded down to an evaluation
    process: Any = None
    report: Connection | None = None
    ended = False  # whether its turn ended as planned
    failed = False

    def __str__(self) -> str:
        return f"{self.run.name}, seed {self.seed}"


def train(experiment: Experiment, only: Sequence[str] = (), workers: int | None = None) -> bool:
    """Train whatever is not finished; return whether everything is now.

    Args:
        experiment: what to train; its ``trajectories`` and ``seeds`` say how far.
        only: names of the runs to train; all by default.
        workers: processes at a time; None: as many as there are cores.

    A run that fails is reported, and the others go on. On Ctrl-C or SIGTERM each process writes a
    checkpoint and ends; a second one ends them at once, leaving the last checkpoint.

    Raises:
        SystemExit: ``only`` names an unknown run, or a run has a CSV that was made with other
            settings.
    """
    runs = chosen(experiment, only)
    record_about(experiment, runs)
    seeded = [(run, seed) for seed in experiment.seeds for run in runs]
    jobs = [Job(run, seed, experiment.count(run, seed)) for run, seed in seeded]
    left = sum(not done(experiment, job) for job in jobs)
    print(f"{experiment.name}: {left} of {len(jobs)} runs to train, "
          f"to {experiment.trajectories:,} trajectories", flush=True)  # fmt: skip
    take_turns(experiment, jobs, workers or cores())
    failed = [str(job) for job in jobs if job.failed]
    if failed:
        print(f"failed: {'; '.join(failed)}")
    if not all(done(experiment, job) for job in jobs):
        print("stopped; run the same command again to continue")
        return False
    return not failed


def take_turns(experiment: Experiment, jobs: Sequence[Job], workers: int) -> None:
    """Run the jobs in processes until all are done, or until interrupted."""
    context = processes()
    stop = context.Event()
    running: list[Job] = []
    with Interrupts() as interrupts:
        while True:
            waiting = [job for job in jobs if not done(experiment, job) and job not in running]
            while waiting and len(running) < workers and not stop.is_set():
                # Ties go to the first, so that every run trains its first seed first.
                job = min(waiting, key=lambda job: job.count // (TURN * experiment.every))
                waiting.remove(job)
                start(experiment, job, context, stop)
                running.append(job)
            if not running:
                return
            wait([job.report for job in running if job.report is not None], timeout=0.5)
            running = [job for job in running if not listen(experiment, job)]
            if interrupts.first is not None and not stop.is_set():
                print("stopping: each run writes its checkpoint first", flush=True)
                stop.set()
            if interrupts.again:
                for job in running:
                    job.process.terminate()


def chosen(experiment: Experiment, only: Sequence[str]) -> list[Run]:
    names = [run.name for run in experiment.runs]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise SystemExit(f"--only {' '.join(unknown)}: the runs are {', '.join(names)}")
    return [run for run in experiment.runs if not only or run.name in only]


def done(experiment: Experiment, job: Job) -> bool:
    """Whether a job needs no further turn."""
    return job.failed or job.count >= experiment.trajectories


# ---- processes ------------------------------------------------------------------------------


def processes() -> Any:
    """How to start processes: where possible, by forking one that has imported torch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # The first optimizer imports the last of them, which takes each process a second.
    modules = ["gfn_gym.agents", "matplotlib.pyplot", "tyro", "torch._dynamo"]
    context.set_forkserver_preload(modules)
    return context


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start(experiment: Experiment, job: Job, context: Any, stop: Any) -> None:
    """Give a job its turn."""
    upto = job.count + TURN * experiment.every
    job.report, ours = context.Pipe(duplex=False)
    job.ended = False
    job.process = context.Process(
        target=worker.turn, args=(experiment, job.run, job.seed, upto, stop, ours)
    )
    job.process.start()
    ours.close()  # the process has its own copy; wait() returns once that is closed too


def listen(experiment: Experiment, job: Job) -> bool:
    """Print what a job reports; return whether its process has ended."""
    assert job.report is not None
    while job.report.poll():
        try:
            kind, content = job.report.recv()
        except EOFError:
            job.report.close()
            job.process.join()
            if not job.ended and not job.failed:
                job.failed = True
                say(job, f"its process ended with code {job.process.exitcode}")
            return True
        if kind == "row":
            job.count = int(content["trajectories"]) // experiment.every * experiment.every
            say(job, progress(experiment, content))
        elif kind == "error":
            job.failed = True
            say(job, content)
        else:
            job.ended = True
    return False


class Interrupts:
    """Counts Ctrl-C and SIGTERM instead of letting them end this process.

    One key press may arrive twice, through the terminal and through a parent, so signals within
    two seconds count as one.

    Attributes:
        first: when the first one came, by the monotonic clock; None before.
        again: whether another one has come.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.again = False

    def __enter__(self) -> Interrupts:
        kinds = (signal.SIGINT, signal.SIGTERM)
        self._before = {kind: signal.signal(kind, self._come) for kind in kinds}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _come(self, *_: object) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.again = now - self.first > 2


# ---- messages -------------------------------------------------------------------------------


def say(job: Job, message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {job!s:24} {message}", flush=True)


def progress(experiment: Experiment, row: Row) -> str:
    name = experiment.metric
    return (
        f"{row['trajectories']:>9,.0f} of {experiment.trajectories:,} trajectories, "
        f"{row['cpu_seconds']:,.0f} CPU s, {name.replace('_', ' ')} {row[name]:.4f}"
    )


def status(experiment: Experiment) -> None:
    """Print how far the CSV of each run and seed has come."""
    for run in experiment.runs:
        for seed in experiment.all_seeds(run) or experiment.seeds:
            rows = experiment.rows(run, seed)
            message = progress(experiment, rows[-1]) if rows else "not started"
            print(f"{run.name}, seed {seed}: {message}")


def record_about(experiment: Experiment, runs: Sequence[Run]) -> None:
    """Record settings and command next to the CSVs; refuse to mix two settings in one CSV.

    Raises:
        SystemExit: a run has a CSV that was made with other settings.
    """
    path = experiment.folder / "about.json"
    about: dict[str, Any] = {"commands": [], "runs": {}}
    if path.exists():
        about = json.loads(path.read_text())
    for run in runs:
        settings = json.loads(json.dumps(asdict(run), default=repr))
        before = about["runs"].get(run.name, settings)
        changed = {k: (before.get(k), v) for k, v in settings.items() if before.get(k) != v}
        if changed.keys() - {"label", "at"} and experiment.all_seeds(run):
            raise SystemExit(
                f"{path.parent}/{run.name}-*.csv were made with other settings (then, now): "
                f"{changed}; to train again, remove them and {run.name}-*.zip in "
                f"{experiment.checkpoints / experiment.domain}"
            )
        about["runs"][run.name] = settings
    command = f"python {shlex.join(sys.argv)}"
    about["commands"].append(f"{time.strftime('%Y-%m-%d %H:%M')} {gfn_gym.__version__}: {command}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about, indent=1) + "\n")
