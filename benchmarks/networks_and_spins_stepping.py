"""Stepping Bayesian networks and Ising models with random actions, masks and P_B included.

    python benchmarks/networks_and_spins_stepping.py             # two minutes
    python benchmarks/networks_and_spins_stepping.py --peers     # beside gfnx; ten minutes

Transitions per CPU second of the simulator that agents step, and of the vector environment, pinned
to one core. Every measurement is kept in benchmarks/results/networks_and_spins_stepping.json, with
--peers in networks_and_spins_peers.json. gfnx has no limit on parents and no raster order, so only
five nodes and 10×10 spins are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from arena import OURS, PEERS, Line, require_peers, run, save, spread
from gfn_gym.envs.bayesian_network import erdos_renyi_data

RATE = "transitions_per_cpu_second"
DOMAINS = ("5 nodes", "20 nodes", "9×9 spins", "9×9 spins, raster")
COMPARED = ("5 nodes", "10×10 spins")
APIS = {"simulator": "simulator", "vector environment": "vector"}
MODES = {"gfnx, forward_rollout": "rollout", "gfnx, our scan over its step": "scan"}
SCRIPTS = {OURS: "gfn_gym_networks_and_spins.py", PEERS: "gfnx_networks_and_spins.py"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a measurement")
    parser.add_argument("--stop", choices=("uniform", "forced"), default="forced")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--peers", action="store_true", help="compare with gfnx")
    args = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        contestants = chosen(args.peers, Path(folder))
        for size in args.sizes:
            for _ in range(args.rounds):
                for name, (python, extra) in contestants.items():
                    options = ("--num-envs", size, "--seconds", args.seconds, "--stop", args.stop)
                    line = run(python, SCRIPTS[python], *options, *extra, core=args.core)
                    lines.append({"contestant": name, **line})
    path = save(f"networks_and_spins_{'peers' if args.peers else 'stepping'}", lines)
    print("| transitions per CPU second |", " | ".join(map(str, args.sizes)), "|")
    print("| --- |" + " --- |" * len(args.sizes))
    for name in contestants:
        cells = [
            spread([line for line in lines if (line["contestant"], line["num_envs"]) == key], RATE)
            for key in ((name, size) for size in args.sizes)
        ]
        print(f"| {name} |", " | ".join(cells), "|")
    print(f"\nwrote {path}")


def chosen(peers: bool, folder: Path) -> dict[str, tuple[Path | str, tuple[str, ...]]]:
    """Contestants by name: their Python, and what to tell their script."""
    found: dict[str, tuple[Path | str, tuple[str, ...]]] = {
        f"{domain}, {name}": (OURS, ("--domain", domain, "--api", api))
        for domain in (COMPARED if peers else DOMAINS)
        for name, api in APIS.items()
    }
    if peers:
        require_peers()
        data = folder / "data.npy"
        np.save(data, erdos_renyi_data()[0])
        of_domain = (("--data", str(data)), ("--side", "10"))
        for domain, extra in zip(COMPARED, of_domain, strict=True):
            for name, mode in MODES.items():
                found[f"{domain}, {name}"] = (PEERS, (*extra, "--mode", mode))
    return found


if __name__ == "__main__":
    main()
