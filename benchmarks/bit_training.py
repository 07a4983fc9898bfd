"""Training rate on bit sequences, n = 120 and k = 8, compared with gfnx's trajectory balance.

    python benchmarks/bit_training.py

One iteration is 16 trajectories and a gradient step: on 256 replayed transitions for GFN Gym, on
the 240 transitions of the trajectories for gfnx. Rates are iterations per CPU second, pinned to
one core.
"""

from __future__ import annotations

import argparse

from arena import OURS, PEERS, Line, median, require_peers, run, save

RATE = "iterations_per_cpu_second"
CONTESTANTS = {
    "GFN Gym M-DQN, paper's settings": (),
    "GFN Gym M-DQN, paper's settings, 64 environments": ("--n-envs", 64),
    "GFN Gym SoftDQN, paper's settings, 64 environments": ("--agent", "soft", "--n-envs", 64),
}
GFNX = "gfnx TB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    require_peers()
    lines: list[Line] = []
    for seed in range(args.rounds):
        count = ("--seed", seed, "--iterations", args.iterations)
        for name, options in CONTESTANTS.items():
            line = run(OURS, "gfn_gym_bits.py", *count, *options, core=args.core)
            lines.append({"contestant": name, **line})
        line = run(PEERS, "gfnx_bit_tb.py", *count, core=args.core)
        lines.append({"contestant": GFNX, **line})
    path = save("bit_training", lines)
    peer = median([line for line in lines if line["contestant"] == GFNX], RATE)
    print("| | iterations per CPU second: median (lowest–highest) | relative to gfnx |")
    print("| --- | --- | --- |")
    for name in [*CONTESTANTS, GFNX]:
        rates = sorted(line[RATE] for line in lines if line["contestant"] == name)
        middle = median([line for line in lines if line["contestant"] == name], RATE)
        print(f"| {name} | {middle:.2f} ({rates[0]:.2f}–{rates[-1]:.2f}) | {middle / peer:.2f}× |")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
