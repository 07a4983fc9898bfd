"""Stepping words and structures of RNA, P_B included, and what their rewards cost.

    python benchmarks/sequence_stepping.py     # four minutes

Transitions per CPU second of the simulator that agents step, and of the vector environment, with
log R = 0; and rewards per CPU second, apart; pinned to one core. Every measurement is kept in
benchmarks/results/sequence_stepping.json.
"""

from __future__ import annotations

import argparse

from arena import OURS, Line, run, save, spread

RATE = "transitions_per_cpu_second"
DAGS = (
    "binding, any order",
    "binding, append",
    "binding, both ends",
    "fold, 30 bases",
    "fold, 60 bases",
)
REWARD_BATCH = 256
REWARDED = ("binding, any order", "fold, 30 bases", "fold, 60 bases")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a measurement")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    lines: list[Line] = []

    def measure(what: str, dag: str, size: int) -> None:
        options = ("--what", what, "--dag", dag, "--num-envs", size, "--seconds", args.seconds)
        line = run(OURS, "gfn_gym_sequences.py", *options, core=args.core)
        lines.append({"contestant": f"{dag}, {what}", **line})

    for _ in range(args.rounds):
        for dag in DAGS:
            for size in args.sizes:
                measure("simulator", dag, size)
                measure("vector", dag, size)
        for dag in REWARDED:
            measure("reward", dag, REWARD_BATCH)
    path = save("sequence_stepping", lines)
    print("| transitions per CPU second |", " | ".join(map(str, args.sizes)), "|")
    print("| --- |" + " --- |" * len(args.sizes))
    for name in (f"{dag}, {what}" for dag in DAGS for what in ("simulator", "vector")):
        print(f"| {name} |", " | ".join(rate(lines, name, size) for size in args.sizes), "|")
    print("\n| rewards per CPU second | |\n| --- | --- |")
    for dag in REWARDED:
        print(f"| {dag} | {rate(lines, f'{dag}, reward', REWARD_BATCH)} |")
    print(f"\nwrote {path}")


def rate(lines: list[Line], name: str, size: int) -> str:
    key = (name, size)
    return spread([line for line in lines if (line["contestant"], line["num_envs"]) == key], RATE)


if __name__ == "__main__":
    main()
