"""Train on a Ray cluster: a slow reward computed by many workers, trajectories by many collectors.

    python examples/cluster/train.py --workers 32 --collectors 8 --out runs/cluster

Connects to the cluster that it runs on (RAY_ADDRESS, as `ray job submit` sets it), else to a new
one of this machine. Run again, it goes on from its checkpoint, with other numbers if they are
given. The reward sleeps; put yours in its place.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gfn_gym import GFNEnv
from gfn_gym.agents import RayCollectors, TrainingCheckpoint, TrajectoryBalance, exact_metrics
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.rewards import RayWorkers, StringReward, slow_reward_of


def assay(words: list[str]) -> list[float]:
    """log R; stands for docking, folding, a simulation."""
    time.sleep(0.2)
    return [word.count("AC") - 0.5 * word.count("T") for word in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=4, help="calls of the reward at a time")
    parser.add_argument("--cpus-per-call", type=float, default=0.25)
    parser.add_argument("--collectors", type=int, default=2)
    parser.add_argument("--trajectories", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("runs/cluster"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "checkpoint.zip"
    workers = RayWorkers(args.workers, num_cpus=args.cpus_per_call, retries=2)
    if path.exists():
        model, totals = TrajectoryBalance.resume(path, trusted=True), {}  # the reward is code
        saved = slow_reward_of(model.dag)
        assert saved is not None
        saved.workers = workers
    else:
        reward = StringReward(
            assay, on_failure="floor", floor=-10.0, timeout=60, workers=workers,
            journal=args.out / "rewards.jsonl",
        )  # fmt: skip
        env = GFNEnv(Sequence("ACGT", 5, reward=reward))
        model = TrajectoryBalance("auto", env, n_envs=16, learning_rate=3e-3, seed=0, verbose=1)
        totals = {"total_trajectories": args.trajectories}
    model.learn(
        **totals,
        collectors=RayCollectors(
            args.collectors, n_envs=32, max_lag=100, asynchronous_rewards=True
        ),
        callback=TrainingCheckpoint(path, (500, "episode")),
        log_interval=500,
    )
    print(exact_metrics(model)(model.policy.log_probs))
    model.save(args.out / "model")


if __name__ == "__main__":
    main()
