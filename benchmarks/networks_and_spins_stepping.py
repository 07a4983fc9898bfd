"""Stepping Bayesian networks and Ising models with random actions, masks and P_B included.

    python benchmarks/networks_and_spins_stepping.py     # two minutes

Transitions per CPU second of the simulator that agents step, and of the vector environment, pinned
to one core. Every measurement is kept in benchmarks/results/networks_and_spins_stepping.json.
"""

from __future__ import annotations

import argparse

from arena import OURS, Line, run, save, spread

RATE = "transitions_per_cpu_second"
DOMAINS = ("5 nodes", "20 nodes", "9×9 spins", "9×9 spins, raster")
CONTESTANTS = {
    f"{domain}, {name}": ("--domain", domain, "--api", api)
    for domain in DOMAINS
    for name, api in (("simulator", "simulator"), ("vector environment", "vector"))
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a measurement")
    parser.add_argument("--stop", choices=("uniform", "forced"), default="forced")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    lines: list[Line] = []
    for size in args.sizes:
        for _ in range(args.rounds):
            for name, extra in CONTESTANTS.items():
                options = ("--num-envs", size, "--seconds", args.seconds, "--stop", args.stop)
                line = run(OURS, "gfn_gym_networks_and_spins.py", *options, *extra, core=args.core)
                lines.append({"contestant": name, **line})
    path = save("networks_and_spins_stepping", lines)
    print("| transitions per CPU second |", " | ".join(map(str, args.sizes)), "|")
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
