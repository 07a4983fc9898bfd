"""What rewards cost in training: their share of the CPU time, words and RNA folds.

    python benchmarks/reward_share.py --trajectories 2000

SoftDQN with preset="fast" from scratch, nothing in the cache; log R is what is timed, with the
writing of words, the cache and, for folds, the potential of every state. No worker processes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import torch

from arena import Line, save
from gfn_gym.agents import SoftDQN
from gfn_gym.dag import Floats, States

ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "binding, 8 bases": ("RNABindingGFN-v0", {"length": 8}),
    "binding, 14 bases": ("RNABindingGFN-v0", {"length": 14}),
    "fold, 30 bases": ("RNAFoldGFN-v0", {"potential": "dag"}),
}


class Timed:
    """A function of states that adds up its CPU seconds and the states it was asked for."""

    def __init__(self, function: Callable[[States], Floats]):
        self.function, self.seconds, self.asked = function, 0.0, 0

    def __call__(self, states: States) -> Floats:
        begin = time.process_time()
        values = self.function(states)
        self.seconds += time.process_time() - begin
        self.asked += len(states)
        return values


def measure(id: str, kwargs: dict[str, Any], trajectories: int) -> Line:
    """Train on one environment, and return what its reward took."""
    env = gymnasium.make(f"gfn_gym:{id}", **kwargs)
    dag: Any = env.unwrapped.dag  # type: ignore[attr-defined]
    reward = dag.log_reward = Timed(dag.log_reward)
    model = SoftDQN("auto", env, preset="fast", seed=0, device="cpu")
    begin = time.process_time()
    model.learn(total_trajectories=trajectories)
    total = time.process_time() - begin
    return {
        "trajectories": model._episode_num,
        "cpu_seconds": total,
        "reward_seconds": reward.seconds,
        "rewards": reward.asked,
        "share": reward.seconds / total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trajectories", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[Line] = []
    print("| | trajectories | CPU s | in rewards | share |")
    print("| --- | --- | --- | --- | --- |")
    for name, (id, kwargs) in ENVIRONMENTS.items():
        line = measure(id, kwargs, args.trajectories)
        lines.append({"environment": name, **line})
        print(
            f"| {name} | {line['trajectories']:,} | {line['cpu_seconds']:.1f} | "
            f"{line['reward_seconds']:.1f} | {line['share']:.0%} |"
        )
    print(f"\nwrote {save('reward_share', lines)}")


if __name__ == "__main__":
    main()
