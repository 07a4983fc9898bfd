"""Stepping: the native vector environment, torchgfn's step loop and gfnx's rollout.

    python benchmarks/stepping.py            # all sizes, five rounds, uniform stop

Contestants take turns, each in its own process, so that a drift of the machine's speed affects them
all. Medians are printed, and every measurement is written to benchmarks/results/stepping.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arena import OURS, PEERS, Line, median, require_peers, run, save, spread

CONTESTANTS: dict[str, tuple[Path | str, str, tuple[str, ...]]] = {
    "GFN Gym, NEXT_STEP": (OURS, "gfn_gym_stepping.py", ()),
    "GFN Gym, SAME_STEP": (OURS, "gfn_gym_stepping.py", ("--autoreset", "SameStep")),
    "torchgfn step loop": (PEERS, "torchgfn_stepping.py", ()),
    "torchgfn, lean loop": (PEERS, "torchgfn_stepping.py", ("--loop", "lean")),
    "gfnx forward_rollout": (PEERS, "gfnx_stepping.py", ()),
    "(gfnx, our scan over its step)": (PEERS, "gfnx_stepping.py", ("--mode", "scan")),
}
RATE = "transitions_per_cpu_second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a measurement")
    parser.add_argument("--stop", choices=("uniform", "forced"), default="uniform")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    require_peers()
    lines: list[Line] = []
    for size in args.sizes:
        for _ in range(args.rounds):
            for name, (python, script, extra) in CONTESTANTS.items():
                options = ("--num-envs", size, "--seconds", args.seconds, "--stop", args.stop)
                line = run(python, script, *options, *extra, core=args.core)
                lines.append({"contestant": name, **line})
    name = "stepping" if args.stop == "uniform" else f"stepping-{args.stop}"
    path = save(name, lines)
    table(lines, args.sizes)
    print(f"\nwrote {path}")


def table(lines: list[Line], sizes: list[int]) -> None:
    print(
        "| transitions per CPU second: median (lowest–highest) |", " | ".join(map(str, sizes)), "|"
    )
    print("| --- |" + " --- |" * len(sizes))
    for name in CONTESTANTS:
        cells = [spread(of(lines, name, size), RATE) for size in sizes]
        print(f"| {name} |", " | ".join(cells), "|")
    best = [max(median(of(lines, n, s), RATE) for n in list(CONTESTANTS)[:2]) for s in sizes]
    for name in list(CONTESTANTS)[2:]:
        ratios = [
            f"{ours / median(of(lines, name, size), RATE):.1f}×"
            for ours, size in zip(best, sizes, strict=True)
        ]
        print(f"| ours (better mode) over {name} |", " | ".join(ratios), "|")


def of(lines: list[Line], name: str, size: int) -> list[Line]:
    return [line for line in lines if line["contestant"] == name and line["num_envs"] == size]


if __name__ == "__main__":
    main()
