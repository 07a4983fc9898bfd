"""RNA that binds, words of 8 bases: SoftDQN and TB from left to right for five CPU minutes.

python benchmarks/paper/binding_exact_long.py train --workers 1

SoftDQN has more exploration than in the preset: a word whose probability is far too low is not
drawn again otherwise, and the weight of such words is what is left after a long training.
"""

from __future__ import annotations

from dataclasses import replace

from binding_exact import EXPERIMENT as TABLE_OF_ALL
from binding_exact import main

from experiment import Panel, quick_version

EXPLORATION = {"exploration_initial_eps": 0.3, "exploration_final_eps": 0.1}
RUNS = [
    replace(run, name=f"{run.name}-long", kwargs=EXPLORATION if run.agent == "SoftDQN" else {})
    for run in TABLE_OF_ALL.runs
    if run.name in ("softdqn-append-8", "tb-append-8")
]
EXPERIMENT = replace(
    TABLE_OF_ALL,
    name="binding_exact_long",
    runs=RUNS,
    panels=[Panel(metric="total_variation", title="append, exponent 8", label="total variation")],
    trajectories=250_000,
    every=25_000,
    seeds=(0,),
    columns=1,
)
QUICK = quick_version(EXPERIMENT, trajectories=1_600, every=800)

if __name__ == "__main__":
    main(EXPERIMENT, QUICK)
