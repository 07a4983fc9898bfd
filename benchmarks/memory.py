"""Resident memory of a long training: TB with a learnt P_B and a replay of trajectories, on 20^4.

    python benchmarks/memory.py --replay 20000 --minutes 30
    python benchmarks/memory.py --draw      # docs/memory.png, from the two CSVs that are kept

Writes results/memory/<name>.csv, a row every ten seconds: seconds, cpu_seconds, trajectories, kept
(in the replay), resident_mb, and of glibc's heap in_use_mb (what the program holds) and free_mb
(what it gave back to the allocator and the allocator not to the system). Linux only. What was
measured before replayed trajectories lay in a ring of arrays is in before-20000.csv.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import time
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import torch
from stable_baselines3.common.callbacks import BaseCallback

import gfn_gym  # noqa: F401
from gfn_gym.agents import TrajectoryBalance

RESULTS = Path(__file__).parent / "results" / "memory"
FOREVER = 10**12
MB = 2**20


class Heap(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class MemoryCurve(BaseCallback):
    """Writes a row every ``every`` seconds, and stops the training after ``seconds``."""

    def __init__(self, path: Path, seconds: float, every: float = 10.0):
        super().__init__()
        self.path, self.seconds, self.every = path, seconds, every
        libc = ctypes.CDLL("libc.so.6")
        libc.mallinfo2.restype = Heap
        self.heap = libc.mallinfo2

    def _on_training_start(self) -> None:
        self.file = self.path.open("w", newline="", buffering=1)
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.begun, self.due = time.monotonic(), 0.0
        self.write(list(self.row()))

    def row(self) -> dict[str, Any]:
        model: Any = self.model
        heap = self.heap()
        return {
            "seconds": round(time.monotonic() - self.begun, 1),
            "cpu_seconds": round(time.process_time(), 1),
            "trajectories": model._episode_num,
            "kept": len(model.replay_buffer.kept),
            "resident_mb": round(resident() / MB, 1),
            "in_use_mb": round((heap.uordblks + heap.hblkhd) / MB, 1),
            "free_mb": round(heap.fordblks / MB, 1),
        }

    def write(self, values: list[Any]) -> None:
        self.rows.writerow(values)

    def _on_step(self) -> bool:
        elapsed = time.monotonic() - self.begun
        if elapsed >= self.due:
            self.due = elapsed + self.every
            self.write(list(self.row().values()))
        return elapsed < self.seconds

    def _on_training_end(self) -> None:
        self.file.close()


def draw(path: Path) -> None:
    """Draw resident memory, and what of it is free, before and after."""
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    lines = {"before-20000": "an object for each trajectory", "after-20000": "a ring of arrays"}
    for color, (name, what) in zip(("C3", "C0"), lines.items(), strict=True):
        with (RESULTS / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        x = [int(row["trajectories"]) / 1000 for row in rows]
        for key, style, label in (("resident_mb", "-", "resident"), ("free_mb", ":", "free")):
            y = [float(row[key]) for row in rows]
            axis.plot(x, y, style, color=color, label=f"{what}: {label}")
    axis.axvline(20, color="0.8", zorder=0)
    axis.set(xlabel="thousand trajectories (20 thousand are kept)", ylabel="MB", ylim=(0, None))
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def resident() -> int:
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--replay", type=int, default=20_000, help="trajectories that are kept")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--name", help="of the CSV; default: replay-<replay>")
    parser.add_argument("--draw", action="store_true", help="train nothing, draw the picture")
    args = parser.parse_args()
    if args.draw:
        draw(Path(__file__).parents[1] / "docs" / "memory.png")
        return
    torch.set_num_threads(1)
    env = gymnasium.make("HypergridGFN-v0", ndim=4, height=20)
    model = TrajectoryBalance(
        "MlpPolicy",
        env,
        preset="paper",
        replay_trajectories=args.replay,
        learnt_backward=True,
        seed=0,
        device="cpu",
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{args.name or f'replay-{args.replay}'}.csv"
    model.learn(total_trajectories=FOREVER, callback=MemoryCurve(path, 60 * args.minutes))
    collected = gc.collect()
    before = resident()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    given_back = (before - resident()) / MB
    print(f"{collected} objects were garbage; malloc_trim gave back {given_back:.0f} MB")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
