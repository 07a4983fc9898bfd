"""Convergence on 20^4: CPU seconds and trajectories until the exact total variation stays low.

    python benchmarks/convergence.py                  # three seeds; hours of one core
    python benchmarks/convergence.py --horizons 14500 --gfnx-iterations 5000

GFN Gym's learning rate decays over the training, so every horizon is a run of its own; gfnx trains
at its published constant rate, one run for all. Contestants take turns seed by seed. A run whose
CSV exists in benchmarks/results/convergence/ is not repeated (delete the CSV to repeat it), so an
interrupted benchmark resumes where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from arena import OURS, PEERS, RESULTS, Line, require_peers, run, save

THRESHOLDS = (0.1, 0.05, 0.02)
Curve = list[dict[str, float]]


def main() -> None:
    args = arguments()
    if args.gfnx_iterations:
        if args.reward != "standard":
            raise SystemExit("gfnx runs on the standard reward only: add --gfnx-iterations 0")
        require_peers()
    folder = RESULTS / "convergence"
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for seed in args.seeds:
        for horizon in args.horizons:
            for agent in args.agents:
                out = folder / f"{args.reward}-{agent}-{args.preset}-{horizon}-seed{seed}.csv"
                what = ("--agent", agent, "--preset", args.preset, "--reward", args.reward)
                count = ("--trajectories", horizon, "--evaluations", args.evaluations)
                name = f"GFN Gym {agent} {args.preset}, horizon {horizon:,}"
                script = "gfn_gym_soft_dqn.py"
                options = (*what, *count, "--seed", seed, "--out", out)
                line = once(OURS, script, out, options, args.core)
                lines.append({"contestant": name, "seed": seed, **line})
        if args.gfnx_iterations:
            out = folder / f"standard-gfnx-{args.gfnx_iterations}-seed{seed}.csv"
            every = ("--iterations", args.gfnx_iterations, "--evaluate-every", 125)
            gfnx = ("--seed", seed, *every, "--out", out)
            script = "gfnx_soft_dqn.py"
            line = once(PEERS, script, out, gfnx, args.core)
            lines.append({"contestant": "gfnx SoftDQN", "seed": seed, **line})
        path = save(f"convergence-{args.reward}-{args.preset}", lines)
        table(lines)
    print(f"\nwrote {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--horizons", type=int, nargs="+", default=[14_500, 60_000, 240_000])
    parser.add_argument("--agents", nargs="+", default=["soft"], choices=["soft", "munchausen"])
    parser.add_argument("--preset", default="fast", choices=["fast", "paper"])
    parser.add_argument("--reward", default="standard", choices=["standard", "hard"])
    parser.add_argument("--gfnx-iterations", type=int, default=15_000, help="0 leaves gfnx out")
    parser.add_argument("--evaluations", type=int, default=60, help="points of a curve")
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


def once(
    python: Path | str, script: str, out: Path, options: tuple[object, ...], core: int
) -> Line:
    """Run a contestant unless its CSV and summary are there; return what it measured."""
    summary = out.with_suffix(".json")
    if not (out.exists() and summary.exists()):
        line = run(python, script, *options, core=core)
        summary.write_text(json.dumps(line) + "\n")
    with out.open() as file:
        table = csv.DictReader(file)
        rows = [{key: float(value) for key, value in row.items() if value} for row in table]
    reached = {str(limit): stays_below(rows, limit) for limit in THRESHOLDS}
    return {**json.loads(summary.read_text()), "curve": out.name, "stays_below": reached}


def stays_below(rows: Curve, limit: float) -> dict[str, float] | None:
    """The first point from which on the total variation stays at or below the limit."""
    above = [i for i, row in enumerate(rows) if row["total_variation"] > limit]
    first = above[-1] + 1 if above else 0
    if first == len(rows):
        return None
    return {key: rows[first][key] for key in ("cpu_seconds", "trajectories", "total_variation")}


def table(lines: list[Line]) -> None:
    columns = " | ".join(f"≤ {limit}: CPU s / trajectories" for limit in THRESHOLDS)
    print(f"\n| contestant | seed | end: CPU s / trajectories | total variation | {columns} |")
    print("| --- | --- | --- | --- |" + " --- |" * len(THRESHOLDS))
    for line in sorted(lines, key=lambda line: str(line["contestant"])):
        end = f"{line['cpu_seconds']:.1f} / {line['trajectories']:,.0f}"
        cells = [reached(line["stays_below"][str(limit)]) for limit in THRESHOLDS]
        tv = f"{line['total_variation']:.4f}"
        print(f"| {line['contestant']} | {line['seed']} | {end} | {tv} |", " | ".join(cells), "|")


def reached(point: dict[str, float] | None) -> str:
    return "–" if point is None else f"{point['cpu_seconds']:.1f} / {point['trajectories']:,.0f}"


if __name__ == "__main__":
    main()
