"""Print the table of docs/performance.md as Markdown, from the files that convergence.py wrote.

    python benchmarks/performance_table.py

A range goes from the lowest to the highest of the seeds; CPU seconds of a whole training are means.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIMIT = 0.05
ROWS = {  # contestant: (what the table calls it, trained for)
    "GFN Gym soft fast, horizon 14,500": ('GFN Gym, `preset="fast"`', "14,500 trajectories"),
    "GFN Gym soft fast, horizon 240,000": ('GFN Gym, `preset="fast"`', "240,000"),
    "gfnx SoftDQN": ("gfnx 0.0.1, its settings", "240,000"),
}


def main() -> None:
    print(
        f"| SoftDQN | trained for | total variation | stays ≤ {LIMIT} after "
        f"| first reaches {LIMIT} after |"
    )
    print("| --- |" + " --- |" * 4)
    for contestant, (title, trained) in ROWS.items():
        lines = measured(contestant)
        seconds = mean_seconds(lines)
        stays = spread([line["stays_below"][str(LIMIT)]["cpu_seconds"] for line in lines])
        first = spread([first_below(line["curve"]) for line in lines])
        print(
            f"| {title} | {trained}, {seconds:.0f} CPU s | {distances(lines)} | {stays} CPU s "
            f"| {'the same' if first == stays else first + ' CPU s'} |"
        )


def measured(contestant: str) -> list[dict[str, Any]]:
    """What was measured of a contestant, a dict per seed."""
    text = (RESULTS / "convergence-standard-fast.json").read_text()
    return [line for line in json.loads(text)["measurements"] if line["contestant"] == contestant]


def mean_seconds(lines: list[dict[str, Any]]) -> float:
    return sum(line["cpu_seconds"] for line in lines) / len(lines)


def distances(lines: list[dict[str, Any]]) -> str:
    """The range of the total variations, with two significant digits."""
    values = [line["total_variation"] for line in lines]
    digits = 3 if min(values) >= 0.01 else 4
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}"


def first_below(curve: str) -> float:
    """CPU seconds of the first evaluation at or below LIMIT."""
    with (RESULTS / "convergence" / curve).open() as file:
        return min(
            float(row["cpu_seconds"])
            for row in csv.DictReader(file)
            if float(row["total_variation"]) <= LIMIT
        )


def spread(values: list[float]) -> str:
    digits = 1 if max(values) < 20 else 0
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}"


if __name__ == "__main__":
    main()
