"""Trainings killed by SIGKILL at random moments, again and again, and resumed: ``make chaos``.

    python tests/kills.py 40 --seed 0

A training is killed until it reaches its end; the model that it ends with must be, bit for bit,
that of one which was never killed. Needs fork.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from resume_worker import TOTALS, make_model

import gfn_gym.agents
from gfn_gym.agents import TrainingCheckpoint

ALGORITHMS = (
    *("SoftDQN", "MunchausenDQN", "TrajectoryBalance"),
    *("SoftActorCritic", "FlowMatching"),
)
MOST_KILLS = 4  # of one training


def train(folder: Path, algorithm: str, unit: str) -> None:
    """Train from the beginning, or from the checkpoint that there is; write what comes out."""
    th.set_num_threads(1)
    path = folder / "checkpoint.zip"
    callback = TrainingCheckpoint(path, (15, "episode"))
    if path.exists():
        model = getattr(gfn_gym.agents, algorithm).resume(path)
        model.learn(callback=callback)
    else:
        model = make_model(algorithm)
        model.learn(**TOTALS[unit], callback=callback)
    outcome = {
        "networks": model.policy.state_dict(),
        "generators": repr(model.policy.generator.bit_generator.state),
        "replay": np.array(model.replay_buffer.generator.random(8)),
        "counted": (model.num_timesteps, model._episode_num, model._n_updates),
    }
    th.save(outcome, folder / "outcome.tmp")
    os.replace(folder / "outcome.tmp", folder / "outcome.pt")


def start(folder: Path, algorithm: str, unit: str) -> Any:
    process = multiprocessing.get_context("fork").Process(
        target=train, args=(folder, algorithm, unit)
    )
    process.start()
    return process


def never_killed(folder: Path, algorithm: str, unit: str) -> tuple[dict[str, Any], float]:
    """What comes out of a training that is let be, and how long it takes."""
    folder.mkdir()
    begun = time.monotonic()
    start(folder, algorithm, unit).join()
    return outcome_in(folder), time.monotonic() - begun


def outcome_in(folder: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = th.load(folder / "outcome.pt", weights_only=False)
    return outcome


def kill_until_it_ends(
    folder: Path, algorithm: str, unit: str, seconds: float, chance: random.Random
) -> dict[str, int]:
    """Kill a training at random moments of the ``seconds`` that it takes; let the last one end."""
    folder.mkdir()
    count = {"kills": 0, "before the first checkpoint": 0, "while one was written": 0}
    while not (folder / "outcome.pt").exists():
        process = start(folder, algorithm, unit)
        last = count["kills"] == MOST_KILLS
        process.join(None if last else chance.uniform(0, seconds))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            files = {path.name for path in folder.iterdir()}
            count["kills"] += 1
            count["before the first checkpoint"] += "checkpoint.zip" not in files
            count["while one was written"] += bool(
                files - {"checkpoint.zip", "checkpoint.zip.lock"}
            )
        elif process.exitcode:
            raise SystemExit(f"{algorithm}, {unit}: the resumed training failed, see {folder}")
    return count


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, th.Tensor):
        return a.equal(b)
    return bool(np.array_equal(a, b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kills", type=int, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON for the counts")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    total: dict[str, int] = {"trainings": 0, "resumed bit for bit": 0}
    known: dict[tuple[str, str], tuple[dict[str, Any], float]] = {}
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    while total.get("kills", 0) < args.kills:
        algorithm, unit = chance.choice(ALGORITHMS), chance.choice(list(TOTALS))
        if (algorithm, unit) not in known:
            known[algorithm, unit] = never_killed(folder / f"{algorithm}-{unit}", algorithm, unit)
        right, seconds = known[algorithm, unit]
        own = folder / str(total["trainings"])
        count = kill_until_it_ends(own, algorithm, unit, seconds, chance)
        for name, number in count.items():
            total[name] = total.get(name, 0) + number
        total["trainings"] += 1
        if not same(outcome_in(own), right):
            raise SystemExit(f"{algorithm}, {unit}: not the same numbers after {count}: {own}")
        total["resumed bit for bit"] += 1
        print(algorithm, unit, count, flush=True)
    shutil.rmtree(folder)
    print(json.dumps(total))
    if args.out is not None:
        args.out.write_text(json.dumps({**total, "seed": args.seed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
