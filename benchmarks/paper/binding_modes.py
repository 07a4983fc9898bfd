"""RNA that binds, words of 14 bases: what is found for the same number of reward calls.

    python benchmarks/paper/binding_modes.py run --calls 20000 --seeds 0 1 2
    python benchmarks/paper/binding_modes.py draw

Our agents (in any order of writing), a genetic algorithm and random words ask for the scores of
words, of each once: what a laboratory pays for. Agents learn R = score^8, or R = score^32, annealed
from score^8 over the first half of the training; one of them has a pool of the best words and
searches around these. At regular numbers of calls, of all words asked for so far that score at
least the threshold: the local optima (no word that differs in one base scores as much), and the
modes, greedily from the best down, three or more bases apart; the mean score of the best 100, and
how unlike these are, the mean Hamming distance of two. Neighbors are asked for by the judge, at no
cost to a method.

A CSV for each method and seed, in results/binding_modes/; what is there is not run again.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from matplotlib.ticker import EngFormatter
from stable_baselines3.common.callbacks import BaseCallback

import gfn_gym.agents
from algorithms import AGENTS
from experiment import HERE, read_rows
from gfn_gym.dag import Floats
from gfn_gym.envs.rna.binding import RNABinding
from gfn_gym.envs.sequence.metrics import are_local_optima, diverse_words, diversity

RESULTS = HERE / "results" / "binding_modes"
LENGTH, TARGETS = 14, "RNA1"
POINTS = 10  # of a curve


@dataclass
class Run:
    """Run the methods that have no CSV yet, one after another."""

    calls: int = 20_000
    """Words that each method may ask for."""
    seeds: tuple[int, ...] = (0,)
    """Seeds to run."""
    only: tuple[str, ...] = ()
    """Names of methods; by default all."""
    threshold: float = 0.8
    """Lowest score of a mode."""
    out: Path = RESULTS
    """The folder of the CSVs."""


@dataclass
class Draw:
    """Draw the curves from the CSVs alone, and print a table."""

    out: Path = RESULTS
    """The folder of the CSVs."""


class Ledger:
    """Counts and keeps the words that a method asks for, and their scores, in their order.

    Args:
        score: a list of words → scores.
        calls: words after which it raises :class:`Spent`; a word that was asked for costs nothing.
    """

    def __init__(self, score: Callable[[list[str]], Floats], calls: int):
        self.score, self.calls = score, calls
        self.scores: dict[str, float] = {}
        self.seconds = 0.0

    def __call__(self, words: list[str]) -> Floats:
        new = list(dict.fromkeys(word for word in words if word not in self.scores))
        left = self.calls - len(self.scores)
        begin = time.process_time()
        self.scores.update(zip(new[:left], self.score(new[:left]).tolist(), strict=True))
        self.seconds += time.process_time() - begin
        if len(new) > left:
            raise Spent
        return np.array([self.scores[word] for word in words])


class Spent(Exception):
    """All calls were made."""


# ---- methods: (ledger, seed) → nothing, when the ledger is full ------------------------------


def random_words(ledger: Ledger, seed: int) -> None:
    """Uniform words."""
    generator = np.random.default_rng(seed)
    while True:
        ledger(written(generator.integers(4, size=(100, LENGTH))))


def genetic_algorithm(
    ledger: Ledger, seed: int, population: int = 100, children: int = 100, parents: int = 25
) -> None:
    """Truncation selection, one-point crossover, each base mutated at a rate of 1/length."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(4, size=(population, LENGTH))
    while True:
        rows = np.unique(rows, axis=0)
        elite = rows[np.argsort(-ledger(written(rows)), kind="stable")][:population]
        pairs = elite[generator.integers(parents, size=(2, children))]
        cuts = generator.integers(1, LENGTH, size=(children, 1))
        mixed = np.where(np.arange(LENGTH) < cuts, pairs[0], pairs[1])
        mutates = generator.random(mixed.shape) < 1 / LENGTH
        mixed = np.where(mutates, generator.integers(4, size=mixed.shape), mixed)
        rows = np.concatenate([elite, mixed])


def written(rows: np.ndarray) -> list[str]:
    return ["".join("ACGU"[base] for base in row) for row in rows.tolist()]


def agent(
    name: str, exponent: float = 8.0, per_call: float = 1.0, **kwargs: Any
) -> Callable[[Ledger, int], None]:
    """One of our algorithms with preset fast.

    A larger exponent than 8 is annealed: a policy that meets it at once stays with the first good
    words that it finds.

    Args:
        name: its key in ``AGENTS``.
        exponent: of the score.
        per_call: trajectories over which schedules run, per call; more than one where many words
            are built again.
        kwargs: arguments that win over the preset's.
    """
    if exponent > 8:
        kwargs = {"reward_annealing": (8.0 / exponent, 0.5), **kwargs}

    def train(ledger: Ledger, seed: int) -> None:
        env = gymnasium.make("gfn_gym:RNABindingGFN-v0", length=LENGTH, reward_exponent=exponent)
        env.unwrapped.dag.reward.function.function = ledger  # type: ignore[attr-defined]
        algorithm: Any = getattr(gfn_gym.agents, AGENTS[name])
        model = algorithm("auto", env, preset="fast", seed=seed, device="cpu", **kwargs)
        model.learn(total_trajectories=int(per_call * ledger.calls), callback=StopAt(ledger))

    return train


class StopAt(BaseCallback):
    """Ends the training where a vector step could ask for more words than are left."""

    def __init__(self, ledger: Ledger):
        super().__init__()
        self.ledger = ledger

    def _on_step(self) -> bool:
        return len(self.ledger.scores) + self.training_env.num_envs <= self.ledger.calls


METHODS: dict[str, Callable[[Ledger, int], None]] = {
    "SoftDQN": agent("SoftDQN"),
    "M-DQN": agent("M-DQN"),
    "TB": agent("TB"),
    "SubTB": agent("SubTB"),
    "SoftDQN, exponent 32": agent("SoftDQN", 32.0),
    "SoftDQN, exponent 32, pool": agent(
        "SoftDQN", 32.0, per_call=1.3, replay_pool=200, local_search=0.5
    ),
    "TB, exponent 32": agent("TB", 32.0),
    "genetic algorithm": genetic_algorithm,
    "random words": random_words,
}


# ---- what was found -------------------------------------------------------------------------


def judged(ledger: Ledger, threshold: float) -> list[dict[str, float]]:
    """A row for each of some numbers of calls, of the words asked for until then."""
    dag = RNABinding(TARGETS, LENGTH)
    words, scores = list(ledger.scores), np.array(list(ledger.scores.values()))
    states = dag.parse(words)
    good = np.flatnonzero(scores >= threshold)
    optima = np.zeros(len(words), dtype=bool)
    optima[good] = are_local_optima(dag, states[good])
    rows = []
    for calls in np.linspace(0, ledger.calls, POINTS + 1)[1:].astype(int).tolist():
        calls = min(calls, len(words))
        best = np.argsort(-scores[:calls], kind="stable")[:100]
        rows.append(
            {
                "calls": float(calls),
                "optima": float(optima[:calls].sum()),
                "modes": float(len(diverse_words(dag, states[:calls], threshold))),
                "good": float((scores[:calls] >= threshold).sum()),
                "best": float(scores[:calls].max()),
                "top_100": float(scores[best].mean()),
                "diversity": diversity(dag, states[best]),
            }
        )
    return rows


def csv_of(folder: Path, name: str, seed: int | str) -> Path:
    return folder / f"{name.lower().replace(',', '').replace(' ', '_')}-{seed}.csv"


def run(args: Run) -> None:
    torch.set_num_threads(1)
    score = RNABinding(TARGETS, LENGTH).reward.function.function  # type: ignore[attr-defined]
    for seed in args.seeds:
        for name in args.only or METHODS:
            path = csv_of(args.out, name, seed)
            if path.exists():
                continue
            ledger, begin = Ledger(score, args.calls), time.process_time()
            with suppress(Spent):
                METHODS[name](ledger, seed)
            spent = {"cpu_seconds": time.process_time() - begin, "reward_seconds": ledger.seconds}
            spent["threshold"] = args.threshold
            rows = [{**row, **spent} for row in judged(ledger, args.threshold)]
            args.out.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            print(name, seed, {key: round(value, 3) for key, value in rows[-1].items()}, flush=True)


# ---- curves ---------------------------------------------------------------------------------

PANELS = {
    "optima": "local optima found",
    "modes": "modes found",
    "top_100": "mean score of the best 100",
    "diversity": "Hamming distance of the best 100",
}


def draw(args: Draw) -> None:
    figure, axes = plt.subplots(1, len(PANELS), figsize=(16, 3.8), layout="constrained")
    print(
        "| | seeds | local optima | modes | best | top 100 | diversity | CPU s | reward's share |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, name in enumerate(METHODS):
        files = sorted(args.out.glob(csv_of(args.out, name, "*").name))
        if not files:
            continue
        runs = [read_rows(file) for file in files]
        for axis, metric in zip(axes, PANELS, strict=True):
            for rows in runs:
                axis.plot(
                    [row["calls"] for row in rows], [row[metric] for row in rows],
                    color=f"C{number}", label=name if rows is runs[0] else None,
                )  # fmt: skip
        last = {key: np.mean([rows[-1][key] for rows in runs]) for key in runs[0][-1]}
        print(
            f"| {name} | {len(runs)} | {last['optima']:.0f} | {last['modes']:.0f} | "
            f"{last['best']:.3f} | {last['top_100']:.3f} | {last['diversity']:.2f} | "
            f"{last['cpu_seconds']:.0f} | {last['reward_seconds'] / last['cpu_seconds']:.0%} |"
        )
    for axis, title in zip(axes, PANELS.values(), strict=True):
        axis.set(title=title, xlabel="words asked for")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.suptitle(f"{TARGETS}, words of {LENGTH} bases")
    figure.savefig(args.out / "binding_modes.png", dpi=110)
    print(args.out / "binding_modes.png")


if __name__ == "__main__":
    chosen: Any = tyro.extras.subcommand_cli_from_dict({"run": Run, "draw": Draw})
    run(chosen) if isinstance(chosen, Run) else draw(chosen)
