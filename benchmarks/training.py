"""Training rate: one gradient step on 256 transitions per 16 trajectories, and gfnx's SoftDQN.

    python benchmarks/training.py

Both train for the same number of trajectories on 20^4, network 2×256; rates are transitions
sampled per CPU second during training. GFN Gym runs with the paper's settings (16 environments, new
transitions with their TD error as priority) and with 256 environments.
"""

from __future__ import annotations

import argparse

from arena import OURS, PEERS, RESULTS, Line, median, require_peers, run, save, spread

RATE = "transitions_per_cpu_second"
PAPER = ("--preset", "paper", "--evaluations", 1)
CONTESTANTS = {
    "GFN Gym, paper's settings, 256 environments, new priority max": (
        *PAPER, "--n-envs", 256, "--new-priority", "max",
    ),
    "GFN Gym, paper's settings, 256 environments": (*PAPER, "--n-envs", 256),
    "GFN Gym, paper's settings": PAPER,
}  # fmt: skip
GFNX = "gfnx SoftDQN"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1500, help="of 16 trajectories")
    parser.add_argument("--gfnx-source", help="a checkout of gfnx, to run its own script")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    require_peers()
    lines: list[Line] = []
    for seed in range(args.rounds):
        for name, options in CONTESTANTS.items():
            count = ("--seed", seed, "--trajectories", 16 * args.iterations)
            line = run(OURS, "gfn_gym_soft_dqn.py", *count, *options, core=args.core)
            lines.append({"contestant": name, **line})
        line = run(PEERS, "gfnx_soft_dqn.py", *gfnx_options(args, seed), core=args.core)
        lines.append({"contestant": GFNX, **line})
    path = save("training", lines)
    peer = median([line for line in lines if line["contestant"] == GFNX], RATE)
    print("| | transitions per CPU second: median (lowest–highest) | relative to gfnx |")
    print("| --- | --- | --- |")
    for name in [*CONTESTANTS, GFNX]:
        own = [line for line in lines if line["contestant"] == name]
        print(f"| {name} | {spread(own, RATE)} | {median(own, RATE) / peer:.2f}× |")
    print(f"\nwrote {path}")


def gfnx_options(args: argparse.Namespace, seed: int) -> list[object]:
    RESULTS.mkdir(exist_ok=True)
    source = ["--gfnx-source", args.gfnx_source] if args.gfnx_source else []
    out = RESULTS / "training-gfnx.csv"
    iterations = args.iterations
    return [
        *("--seed", seed, "--iterations", iterations, "--evaluate-every", iterations),
        *("--out", out),
        *source,
    ]


if __name__ == "__main__":
    main()
