"""Runs contestants in turn, as subprocesses pinned to one core, and saves their measurements."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
OURS = sys.executable
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"

PEERS_VERSIONS = """
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("torchgfn", "gfnx", "torch", "jax", "numpy")))
"""

Line = dict[str, Any]


def run(python: Path | str, script: str, *args: object, core: int = 0) -> Line:
    """Run a contestant's script on one core; return its line of JSON.

    Raises:
        SystemExit: it failed; the message has its stderr.
    """
    pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
    command = [*pin, str(python), str(HERE / "contestants" / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def require_peers() -> None:
    """Exit with a message if the peers are not installed."""
    if not PEERS.exists():
        raise SystemExit("the peers are not installed: run `make peers` first")


def median(lines: Sequence[Line], key: str) -> float:
    return statistics.median(line[key] for line in lines)


def spread(lines: Sequence[Line], key: str) -> str:
    """The median, the lowest and the highest."""
    values = sorted(line[key] for line in lines)
    return f"{statistics.median(values):,.0f} ({values[0]:,.0f}–{values[-1]:,.0f})"


def save(name: str, lines: Sequence[Line]) -> Path:
    """Write every single measurement, with the machine and the versions, as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": " ".join(["python", *sys.argv]),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": output("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        "versions": {name: version(name) for name in ("gfn-gym", "numpy", "torch", "gymnasium")},
        "peers": output(str(PEERS), "-c", PEERS_VERSIONS),
    }
    path.write_text(json.dumps({"about": about, "measurements": list(lines)}, indent=1) + "\n")
    return path


def output(*command: str) -> str | None:
    """What a command prints, or None if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for row in info.read_text().splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor()
