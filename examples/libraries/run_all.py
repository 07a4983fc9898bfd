"""Runs every library's script in an environment of its own, and writes the table of the docs.

    python examples/libraries/run_all.py               # all: `make libraries`
    python examples/libraries/run_all.py tianshou sb3_ppo
    python examples/libraries/run_all.py --table       # only write the table anew

Needs no packages. The libraries' pins contradict one another, hence a virtual environment each, in
.venv-libraries/; what was found is kept in results.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / ".venv-libraries"
RESULTS = HERE / "results.json"
PAGE = ROOT / "docs" / "libraries.md"
BEGIN, END = "<!-- table: make libraries -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Run:
    """A script with its arguments, its environment, and how it keeps to legal actions."""

    library: str
    algorithm: str
    script: str
    environment: str
    shown: tuple[str, ...]
    legality: str
    arguments: tuple[str, ...] = ()


SB3 = "stable-baselines3"
RUNS = {
    "maskable_ppo": Run(
        "sb3-contrib", "MaskablePPO", "maskable_ppo.py", SB3, ("sb3-contrib",), "masks",
        ("--timesteps", "50000"),
    ),
    "sb3_ppo": Run(
        "Stable-Baselines3", "PPO", "sb3_terminate.py", SB3, (SB3,), "the Terminate variant",
    ),
    "sb3_dqn": Run(
        "Stable-Baselines3", "DQN", "sb3_terminate.py", SB3, (SB3,), "the Terminate variant",
        ("--algorithm", "DQN"),
    ),
    "rllib": Run("RLlib", "PPO", "rllib_ppo.py", "rllib", ("ray",), "masks"),
    "tianshou": Run(
        "Tianshou", "DiscreteSAC", "tianshou_sac.py", "tianshou", ("tianshou",),
        "the Terminate variant",
    ),
    "torchrl": Run("TorchRL", "PPO", "torchrl_ppo.py", "torchrl", ("torchrl",), "masks"),
    "cleanrl": Run(
        "CleanRL", "ppo.py", "cleanrl_scripts.py", "cleanrl", (), "the Terminate variant"
    ),
}  # fmt: skip


def environment(name: str) -> Path:
    """Make an environment from its requirements unless it is there; return its Python."""
    folder, requirements = ENVIRONMENTS / name, HERE / "requirements" / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*install, "-r", str(requirements)], check=True)
        # Without its own dependencies: only the agents need all of them.
        subprocess.run([*install, "--no-deps", "-e", str(ROOT)], check=True)
        stamp.write_text(requirements.read_text())
    return python


def run(name: str) -> dict[str, Any]:
    """Run one script; return versions, total variation before and after, and CPU seconds."""
    this = RUNS[name]
    python = environment(this.environment)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [str(python), "-W", "ignore", str(HERE / this.script), *this.arguments],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ENVIRONMENTS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    found = dict(re.findall(r"^total variation (before|after): ([\d.]+)", done.stdout, re.M))
    return {
        "versions": {package: version(python, package) for package in shown(this)},
        "before": float(found["before"]),
        "after": float(found["after"]),
        "cpu_seconds": round(seconds),
    }


def shown(this: Run) -> tuple[str, ...]:
    return (*this.shown, "gymnasium", "torch")


def version(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip().partition("+")[0]


def table(results: dict[str, Any]) -> str:
    """The results as Markdown, in the order of RUNS."""
    lines = [
        "| library | algorithm | legal actions by | total variation before | after | versions |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in (name for name in RUNS if name in results):
        this, found = RUNS[name], results[name]
        versions = ", ".join(f"{package} {v}" for package, v in found["versions"].items())
        lines.append(
            f"| [{this.library}](../examples/libraries/{this.script}) | {this.algorithm} "
            f"| {this.legality} | {found['before']:.3f} | {found['after']:.3f} | {versions} |"
        )
    return "\n".join(lines)


def write_page(results: dict[str, Any]) -> None:
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(results)}\n\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    unknown = set(args.names) - set(RUNS)
    if unknown:
        parser.error(f"{sorted(unknown)} are not among {list(RUNS)}")
    failed = []
    for name in [] if args.table else args.names or RUNS:
        results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        try:
            results[name] = run(name)
        except (subprocess.CalledProcessError, KeyError) as error:
            print(f"{name} failed: {error!r}", file=sys.stderr)
            failed.append(name)
            continue
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    results = json.loads(RESULTS.read_text())
    write_page(results)
    print(table(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
