"""The command line of a figure's script.

    python benchmarks/paper/FIGURE.py train            # hours; --help lists the options
    python benchmarks/paper/FIGURE.py train --quick    # its small version, within ten minutes
    python benchmarks/paper/FIGURE.py draw             # from the CSVs alone
    python benchmarks/paper/FIGURE.py status           # a line per run

``train`` resumes where it was stopped, and trains further if ``--trajectories`` is raised; finished
runs are not repeated. Training further is exact except for what is scheduled over the total, here
the learning rate of a P_B learnt by M-DQN or SoftDQN: start those runs with the total you want.
``results/DOMAIN/`` has a CSV per run and seed, the figure, and ``about.json`` with settings and
commands. Checkpoints, and everything of the small version, are in ``runs/figures/``. Figures of one
domain share runs with the same name, so train them one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tyro

from drawing import draw
from experiment import Experiment
from scheduler import status, train


@dataclass(kw_only=True)
class Train:
    """Train or resume all runs, and draw the figure."""

    quick: bool = False
    """The small version, to see that everything works."""
    trajectories: int | None = None
    """Trajectories to train on; if more than before, resumes from the checkpoints."""
    seeds: tuple[int, ...] | None = None
    """Seeds to run."""
    only: tuple[str, ...] = ()
    """Names of the runs to train."""
    workers: int | None = None
    """Processes at a time, with one thread each; by default the number of cores."""


@dataclass(kw_only=True)
class Draw:
    """Draw the figure from the CSVs alone."""

    quick: bool = False
    """Draw the small version's figure."""


@dataclass(kw_only=True)
class Status:
    """Print how far each run has got."""

    quick: bool = False
    """Show the small version's runs."""


def run_command(experiment: Experiment, quick: Experiment) -> None:
    """The command line of a figure's script."""
    commands = {"train": Train, "draw": Draw, "status": Status}
    args: Any = tyro.extras.subcommand_cli_from_dict({**commands})
    chosen = quick if args.quick else experiment
    if isinstance(args, Train):
        given: dict[str, Any] = {"trajectories": args.trajectories, "seeds": args.seeds}
        try:
            chosen = replace(chosen, **{k: v for k, v in given.items() if v is not None})
        except ValueError as error:
            raise SystemExit(str(error)) from error
        done = train(chosen, args.only, args.workers)
        print(draw(chosen))
        raise SystemExit(0 if done else 1)
    if isinstance(args, Draw):
        print(draw(chosen))
    else:
        status(chosen)
