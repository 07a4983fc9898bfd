"""Shared by all contestants' scripts: one thread, CPU seconds, one line of JSON.

Most of them run as files in the peers' virtual environment, where gfn_gym is not installed, so
this module may import only the standard library.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

NDIM = 4
HEIGHT = 20
REWARD = (1e-3, 0.5, 2.0)

SINGLE_THREAD = {
    "JAX_PLATFORMS": "cpu",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def use_one_thread() -> None:
    """Tell every numerical library to use one thread.

    Call this before torch is imported and before jax runs its first computation: both read
    these variables once.
    """
    os.environ.update(SINGLE_THREAD)


@dataclass
class Measurement:
    """What a timed loop has done."""

    transitions: int
    cpu_seconds: float
    wall_seconds: float


def measure(run: Callable[[], int], seconds: float) -> Measurement:
    """Call `run`, which returns the number of transitions it made, for `seconds` of CPU time.

    The first two calls are a warm-up and are not counted (compilation, allocation). CPU time is
    that of the whole process, all threads summed, so that a library that helps itself to more
    threads gains nothing.
    """
    run()
    run()
    transitions = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < seconds:
        transitions += run()
    return Measurement(transitions, time.process_time() - cpu, time.perf_counter() - wall)


def positive(text: str) -> int:
    """An argparse type: a whole number of at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def stepping_arguments(description: str | None) -> argparse.ArgumentParser:
    """The arguments that both stepping scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-envs", type=positive, default=256, help="environments side by side")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU seconds to measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stop",
        choices=("uniform", "forced"),
        default="uniform",
        help="uniform: stop is drawn like any legal action (short episodes); "
        "forced: stop only where nothing else is legal (episodes of 77 transitions)",
    )
    return parser


def report(library: str, what: str, num_envs: int, measured: Measurement) -> None:
    """Print the result as one line of JSON, which is all that a script writes to stdout."""
    line = {
        "library": library,
        "version": version(library),
        "what": what,
        "num_envs": num_envs,
        "transitions": measured.transitions,
        "cpu_seconds": round(measured.cpu_seconds, 4),
        "wall_seconds": round(measured.wall_seconds, 4),
        "transitions_per_cpu_second": round(measured.transitions / measured.cpu_seconds, 1),
    }
    print(json.dumps(line), flush=True)
