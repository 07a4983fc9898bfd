"""Runs the SoftDQN script of a gfnx checkout and reads what it prints.

The script (baselines/soft_dqn_hypergrid.py) runs unchanged in its own process, with the checkout's
package before the installed one, since the two change together. Hydra overrides
set the grid, the seed, the number of iterations and where its checkpoint goes, and switch its
online logging off.

How its output is read, as far as that goes:
- At every evaluation it logs `Step <index>` and a dictionary with 'eval/tv', an *empirical*
  distance over its last 200,000 samples, which it keeps apart here as such.
- CPU seconds are those of its process (Linux's /proc) when that line arrives, counted from
  the line of step 0, so that imports and compilation are left out. Its own metrics and logging,
  a few per cent, are in.
- It does not say how many transitions it made.
- The exact distance can only be had from the network that it saves when it ends, so only the
  last row has one. For a curve, run it with different numbers of iterations: one seed gives
  the same run.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import HEIGHT, NDIM, SINGLE_THREAD

SCRIPT = Path("baselines") / "soft_dqn_hypergrid.py"
N_TRAJECTORIES = 16
STEP_LINE = re.compile(r"\bStep (\d+)\s*$")
DISTANCE = re.compile(r"'eval/tv': ([-+.\deE]+|nan)")


class ScriptError(RuntimeError):
    """The script could not be found, failed, or printed something that this module cannot read."""


def find_script(source: Path) -> Path:
    """The script in a checkout, or an error that says what was looked for."""
    script = source.resolve() / SCRIPT
    if not script.is_file():
        raise ScriptError(f"no {SCRIPT} in {source}: is it a checkout of gfnx's repository?")
    return script


def command(script: Path, folder: Path, seed: int, iterations: int, every: int) -> list[str]:
    """The command line; `++` sets an option whether or not the script's configuration has it."""
    options = {
        "seed": seed,
        "num_train_steps": iterations,
        "num_envs": N_TRAJECTORIES,
        "environment.dim": NDIM,
        "environment.side": HEIGHT,
        "environment.reward": "easy",
        "logging.eval_each": every,
        "logging.use_writer": "false",
        "logging.checkpoint_dir": folder / "checkpoint",
        "hydra.run.dir": folder / "hydra",
    }
    return [sys.executable, str(script), *(f"++{key}={value}" for key, value in options.items())]


def cpu_seconds_of(pid: int) -> float:
    """User and system time of a running process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_rows(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """A row per evaluation, as the lines arrive."""
    assert process.stdout is not None
    start: float | None = None
    index, cpu_seconds = 0, 0.0
    for line in process.stdout:
        if step := STEP_LINE.search(line):
            now = cpu_seconds_of(process.pid)
            start = now if start is None else start
            index, cpu_seconds = int(step[1]), now - start
        elif start is not None and (distance := DISTANCE.search(line)):
            yield {
                "iteration": index + 1,
                "trajectories": (index + 1) * N_TRAJECTORIES,
                "transitions": None,
                "cpu_seconds": round(cpu_seconds, 3),
                "total_variation": None,
                "empirical_total_variation": float(distance[1]),
            }


def run_script(
    source: Path, folder: Path, seed: int, iterations: int, every: int
) -> list[dict[str, Any]]:
    """Train with the checkout's script; its checkpoint is in `folder` afterwards."""
    script = find_script(source)
    paths = [str(script.parents[1] / "src"), str(script.parents[1])]
    if "PYTHONPATH" in os.environ:
        paths.append(os.environ["PYTHONPATH"])
    errors = folder / "stderr.txt"
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command(script, folder, seed, iterations, every),
            cwd=folder,
            env={**os.environ, **SINGLE_THREAD, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        rows = list(read_rows(process))
    if process.returncode:
        tail = errors.read_text()[-2000:]
        raise ScriptError(f"{script} ended with exit code {process.returncode}:\n{tail}")
    if not rows:
        raise ScriptError(f"{script} printed no evaluations in the form that is read here")
    return rows


def saved_layers(folder: Path) -> list[dict[str, Any]]:
    """The trained network's layers, each with its weight and bias, from the checkpoint."""
    import orbax.checkpoint

    checkpoint = folder / "checkpoint" / "model"
    if not checkpoint.is_dir():
        raise ScriptError(f"the script left no checkpoint in {checkpoint}")
    model = orbax.checkpoint.StandardCheckpointer().restore(checkpoint)
    return [{key: layer[key] for key in ("weight", "bias")} for layer in model["network"]["layers"]]
