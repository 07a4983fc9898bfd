"""What a GPU brings: gradient steps, collecting and evaluation on each device, wall clock.

    python benchmarks/gpu.py                        # every device there is; one core besides
    python benchmarks/gpu.py --devices cpu --only grid --seconds 1

Environments step as batches of arrays on the CPU whatever the device, so a GPU speeds up the
networks alone. The table says which share of collecting that leaves: where the environments take
more than half of a step, a faster network cannot double the rate any more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import gfn_gym
from arena import Line, save
from gfn_gym import GFNEnv
from gfn_gym.agents import SoftDQN
from gfn_gym.dag import Floats, States
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.mdp import sample_legal_actions


@dataclass(frozen=True)
class Case:
    """A domain with a network.

    Attributes:
        make: its DAG.
        policy: the architecture.
        kwargs: its settings.
    """

    make: Callable[[], Any]
    policy: str
    kwargs: dict[str, Any]


def no_reward(states: States) -> Floats:
    """Rewards cost the same on every device."""
    return np.zeros(len(states))


CASES = {
    "grid": Case(Hypergrid, "MlpPolicy", {}),
    "grid, 4 × 1024": Case(Hypergrid, "MlpPolicy", {"net_arch": [1024] * 4}),
    "bits, the paper's network": Case(lambda: BitSequence(120, 8), "TransformerPolicy", {}),
    "molecules, the paper's network": Case(
        lambda: Molecule(reward=no_reward), "BlockTreePolicy", {}
    ),
}


def main() -> None:
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs="+", default=there, choices=["cpu", "cuda"])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--name", default="gpu", help="of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        {"case": name, "device": device, "size": size, **measure(CASES[name], device, size, args)}
        for name in args.only
        for size in args.sizes
        for device in args.devices
    ]
    print(f"\nwrote {save(args.name, lines)}\n\n{table(lines)}")


def measure(case: Case, device: str, size: int, args: argparse.Namespace) -> Line:
    """Times of a step of ``size`` environments and of a gradient step on ``size`` transitions."""
    model = SoftDQN(
        case.policy, GFNEnv(case.make()), n_envs=size, batch_size=size, buffer_size=64 * size,
        learning_starts=0, new_priority="max", seed=0, device=device, policy_kwargs=case.kwargs,
        train_freq=1,
    )  # fmt: skip
    model.learn(total_timesteps=16 * size)  # fills the replay, and warms up
    env = model.env
    simulator, generator = env.simulator, model.policy.generator
    states = simulator.states
    line = {
        "act_ms": milliseconds(lambda: model._sample_action(0, n_envs=size), device, args.seconds),
        "environments_ms": milliseconds(
            lambda: env.step_states(sample_legal_actions(simulator.mask, generator)),
            device,
            args.seconds,
        ),
        "gradient_step_ms": milliseconds(lambda: model.train(1, size), device, args.seconds),
        "evaluate_ms": milliseconds(lambda: model.policy.log_probs(states), device, args.seconds),
    }
    print(device, size, {name: round(value, 3) for name, value in line.items()}, flush=True)
    return line


def milliseconds(step: Callable[[], object], device: str, seconds: float) -> float:
    """Wall time of a step, the mean over at least two and over ``seconds``."""
    for _ in range(3):
        step()
    wait(device)
    start, n = time.perf_counter(), 0
    while n < 2 or time.perf_counter() - start < seconds:
        step()
        n += 1
    wait(device)
    return 1e3 * (time.perf_counter() - start) / n


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(lines: list[Line]) -> str:
    """A row per case, size and device, as Markdown."""
    rows = [
        "| | size | device | act, ms | environments, ms | their share | gradient step, ms | "
        "evaluate, ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        share = line["environments_ms"] / (line["environments_ms"] + line["act_ms"])
        rows.append(
            f"| {line['case']} | {line['size']} | {line['device']} | {line['act_ms']:.2f} | "
            f"{line['environments_ms']:.2f} | {share:.0%} | {line['gradient_step_ms']:.2f} | "
            f"{line['evaluate_ms']:.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(f"GFN Gym {gfn_gym.__version__}, torch {torch.__version__}")
    main()
