"""The command line of a figure's script.

    python benchmarks/paper/FIGURE.py train            # hours; --help lists the options
    python benchmarks/paper/FIGURE.py train --quick    # its small version, within ten minutes
    python benchmarks/paper/FIGURE.py draw             # from the CSVs alone
    python benchmarks/paper/FIGURE.py status           # a line per run

``train`` goes on where it was stopped, and further where ``--trajectories`` is raised; what is
finished is not run again. Going further is exact but for what is scheduled over the total, here the
learning rate of a P_B that M-DQN or SoftDQN learn: begin those runs with the total that is wanted.
``results/DOMAIN/`` keeps a CSV per run and seed, the figure, and ``about.json`` with settings and
commands; checkpoints, and all of the small version, are in ``runs/figures/``. Figures of one domain
share runs of one name: train them one after another.
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
    """Train all runs, or go on with them, and draw the figure."""

    quick: bool = False
    """The small version, to see that everything works."""
    trajectories: int | None = None
    """How many trajectories to train on; more than before goes on from the checkpoints."""
    seeds: tuple[int, ...] | None = None
    """Seeds of the runs."""
    only: tuple[str, ...] = ()
    """Names of the runs to train."""
    workers: int | None = None
    """Processes at a time, of one thread each; by default as many as there are cores."""


@dataclass(kw_only=True)
class Draw:
    """Draw the figure from the CSVs alone."""

    quick: bool = False
    """That of the small version."""


@dataclass(kw_only=True)
class Status:
    """Print how far each run has come."""

    quick: bool = False
    """Those of the small version."""


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
