"""Stepping molecules: random trajectories of the paper's blocks, rows and P_B included.

    python benchmarks/molecule_stepping.py     # a minute; downloads the blocks if needed

Trajectories per CPU second of the simulator that the agents use, and of the vector environment,
pinned to one core. Every measurement is written to benchmarks/results/molecule_stepping.json.
"""

from __future__ import annotations

import argparse

from arena import OURS, Line, run, save, spread

RATE = "trajectories_per_cpu_second"
CONTESTANTS = {
    "simulator": (),
    "vector environment, rows": ("--api", "vector"),
    "vector environment, one-hot": ("--api", "vector", "--observation", "onehot"),
    "simulator, our own blocks": ("--blocks", ""),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a measurement")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    lines: list[Line] = []
    for size in args.sizes:
        for _ in range(args.rounds):
            for name, extra in CONTESTANTS.items():
                options = ("--num-envs", size, "--seconds", args.seconds, *extra)
                line = run(OURS, "gfn_gym_molecules.py", *options, core=args.core)
                lines.append({"contestant": name, **line})
    path = save("molecule_stepping", lines)
    print("| trajectories per CPU second |", " | ".join(map(str, args.sizes)), "|")
    print("| --- |" + " --- |" * len(args.sizes))
    for name in CONTESTANTS:
        cells = [
            spread([line for line in lines if (line["contestant"], line["num_envs"]) == key], RATE)
            for key in ((name, size) for size in args.sizes)
        ]
        print(f"| {name} |", " | ".join(cells), "|")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
