"""Train a sampler of words and write the best ones it finds.

    python examples/sequences.py train --help
    python examples/sequences.py train --reward RNA1 --length 14
    python examples/sequences.py train --alphabet ACGU --length 14 --reward mine.py:score
    python examples/sequences.py train --alphabet ACDEFGHIKLMNPQRSTVWY --max-length 12 \\
        --order append --reward measured.csv --default 0
    python examples/sequences.py sample --model runs/sequences/model.zip --n 1000

``mine.py:score`` is a function of yours: a list of words → log R, a number for each. ``train``
writes a folder: config.json, curve.csv, curve.png, model.zip, best_model.zip, TensorBoard's events,
checkpoint.zip, from which ``--resume`` continues, the best words that are unlike each other as
best.fasta and best.csv, and logo.png, a sequence logo of what the sampler draws. A function of
yours is code: ``--resume`` and ``sample`` run it only with ``--trusted``.
"""

from __future__ import annotations

import csv
import importlib
import json
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium

from gfn_gym.agents import EvaluationCallback, GFNAlgorithm, ModesCallback, as_policy, exact_metrics
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.envs.sequence.metrics import (
    BestWords,
    Found,
    WordModes,
    diverse_words,
    diversity,
    scores_of,
    top_words,
)
from gfn_gym.envs.sequence.rewards import OfFunction
from gfn_gym.evaluation import Policy, elbo, initial_log_flow, sample
from gfn_gym.rewards import StringReward
from plots import draw_curve, draw_metrics
from runs import (
    Options,
    Sample,
    check_counts,
    learn,
    load_run,
    make_agent,
    print_summary,
    run_command,
    sample_model,
    start_or_resume,
    write_samples,
)
from sequence_plots import draw_logo

POLICIES = {"mlp": "MlpPolicy", "transformer": "TransformerPolicy"}
MODE_THRESHOLDS = dict.fromkeys(("RNA1", "RNA2", "RNA3"), 0.8)  # of the score


@dataclass(kw_only=True)
class Train(Options):
    """Train an agent and write the model, curves and pictures to a folder."""

    preset: Literal["fast"] | None = "fast"
    """Settings from gfn_gym.agents.presets; there are no others of this domain."""
    reward: str = "RNA1"
    """A landscape (RNA1, RNA2, RNA3), a .csv or .parquet table, or a function, as mine.py:score."""
    alphabet: str = "ACGU"
    """The letters; or tokens separated by commas, as Lys,Gly,Ala."""
    length: int | None = None
    """Number of tokens of a word, 14 by default; or the next two."""
    min_length: int | None = None
    """Smallest number of tokens, 1 by default; not with the order any."""
    max_length: int | None = None
    """Largest number of tokens."""
    order: Literal["any", "append", "both_ends"] = "any"
    """Fill positions in any order, write from left to right, or at both ends."""
    reward_exponent: float | None = None
    """β, which multiplies log R: by default 8 for landscapes, 1 otherwise."""
    scale: Literal["log", "linear"] = "log"
    """What functions and tables give: log R, or R itself."""
    floor: float | None = None
    """The least score of a landscape, or the least R of the linear scale."""
    default: float | None = None
    """A table's value of words that are not in it."""
    timeout: float | None = None
    """Seconds for a word, after which the function has failed; it then runs in a process."""
    workers: int = 0
    """Processes that a function runs in."""
    failed: float | None = None
    """The value of words for which a function fails; by default that ends the training."""
    network: Literal["mlp", "transformer"] = "mlp"
    """What reads a word; a transformer only with the order any."""
    exact: bool = False
    """Evaluate exactly, over all words: for small spaces, and rewards that are cheap."""
    evaluation_samples: int = 512
    """Words drawn at each evaluation, the last of them for the logo; new ones are asked for too."""
    mode_threshold: float | None = None
    """Lowest score of a mode; by default 0.8 for landscapes, and else modes are not counted."""
    apart: int = 3
    """Least distance of two modes, and of two of the best words."""
    metric: Literal["hamming", "edit"] = "hamming"
    """Distance of words: positions that differ, or insertions, deletions and replacements."""
    n_best: int = 100
    """How many of the best words to write."""
    trajectories: int = 50_000
    """Trajectories to train on."""
    out: Path = field(default_factory=lambda: Path("runs/sequences"))
    """The folder to write to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "n_best", "apart", "evaluation_samples")

    @property
    def threshold(self) -> float | None:
        """The lowest score of a mode; None: they are not counted."""
        given = self.mode_threshold
        return MODE_THRESHOLDS.get(self.reward) if given is None else given


def train(args: Train) -> None:
    if args.resume and args.trusted:
        find_function(args.out)
    args, model = start_or_resume(args, new_model)
    modes, best = None, BestCallback(BestWords)
    if args.threshold is not None:
        tracker = partial(WordModes, threshold=args.threshold, apart=args.apart, metric=args.metric)
        modes = ModesCallback(tracker)
    evaluation = EvaluationCallback(
        args.every,
        metrics=metrics_of(args, model, modes, best),
        best_model_save_path=args.out,
        monitor="total_variation" if args.exact else "elbo",
        monitor_mode="min" if args.exact else "max",
    )
    learn(args, model, evaluation, [best] if modes is None else [modes, best])
    report(args, model, evaluation, best)


def new_model(args: Train) -> GFNAlgorithm:
    if args.network == "transformer" and args.order != "any":
        raise SystemExit(f"--network transformer needs --order any, not {args.order}: it scores "
                         "every position")  # fmt: skip
    tokens = args.alphabet.split(",") if "," in args.alphabet else args.alphabet
    try:
        env = gymnasium.make(
            "gfn_gym:SequenceGFN-v0",
            alphabet=tokens,
            length=args.length,
            min_length=args.min_length,
            max_length=args.max_length,
            order=args.order,
            reward=reward_of(args),
            reward_exponent=args.reward_exponent,
            scale=args.scale,
            floor=args.floor,
            default=args.default,
        )
    except (ValueError, TypeError, OSError) as error:  # before any work is done
        raise SystemExit(str(error)) from error
    return make_agent(args, POLICIES[args.network], env)


def reward_of(args: Train) -> str | StringReward:
    """A landscape's name, a table's path, or the function that is named by its file."""
    file, colon, name = args.reward.rpartition(":")
    if not (colon and file.endswith(".py")):
        return args.reward
    return StringReward(
        import_function(Path(file), name),
        on_failure="raise" if args.failed is None else "floor",
        floor=args.failed,
        timeout=args.timeout,
        workers=args.workers,
    )


def import_function(file: Path, name: str) -> Callable[[list[str]], Any]:
    """Import a function from a file, as a module of its name, which processes can import too.

    Raises:
        SystemExit: the file or the function is not there, or another module has that name.
    """
    if not file.is_file():
        raise SystemExit(f"--reward {file}:{name}: there is no file {file}")
    sys.path.insert(0, str(file.resolve().parent))
    module = importlib.import_module(file.stem)
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise SystemExit(
            f"--reward {file}:{name}: a module {file.stem} is there already, {module.__file__}; "
            "rename the file"
        )
    function = getattr(module, name, None)
    if not callable(function):
        raise SystemExit(f"--reward {file}:{name}: {file} has no function {name}")
    found: Callable[[list[str]], Any] = function
    return found


def find_function(folder: Path) -> None:
    """Import the reward function that a run's config.json names, so that its files can be read."""
    file, colon, name = json.loads((folder / "config.json").read_text())["reward"].rpartition(":")
    if colon and file.endswith(".py"):
        import_function(Path(file), name)


class BestCallback(ModesCallback):
    """Remembers the best words of the training; there is nothing to log."""

    def _on_rollout_end(self) -> None:
        pass


def metrics_of(
    args: Train, model: GFNAlgorithm, modes: ModesCallback | None, best: BestCallback
) -> Callable[[Policy], dict[str, float]]:
    """Metrics: score and diversity of samples, the best score and modes so far, reward calls."""
    dag = model.dag
    assert isinstance(dag, Sequence)
    exact = exact_metrics(model) if args.exact else None

    def metrics(policy: Policy) -> dict[str, float]:
        samples = sample(
            dag, policy, args.evaluation_samples, backward_policy=model.backward_policy
        )
        scores = scores_of(dag, samples.states)
        seen = best.tracker.scores if isinstance(best.tracker, BestWords) else scores
        values = {
            "mean_score": float(scores.mean()),
            "best_score": float(max(scores.max(), seen.max(initial=-float("inf")))),
            "diversity": diversity(dag, samples.states, args.metric),
            "elbo": elbo(samples),
            "log_z": initial_log_flow(dag, policy) or 0.0,
        }
        if isinstance(dag.reward, OfFunction):
            values["reward_calls"] = float(dag.reward.function.calls)
        if modes is not None:
            values["modes_found"] = float(len(modes.tracker))
        return values if exact is None else {**exact(policy), **values}

    return metrics


# ---- the best words -------------------------------------------------------------------------


def report(
    args: Train, model: GFNAlgorithm, evaluation: EvaluationCallback, best: BestCallback
) -> None:
    """Draw the pictures, write the best words and print the final metrics."""
    dag = model.dag
    assert isinstance(dag, Sequence) and isinstance(best.tracker, BestWords)
    panels = ["mean_score", "best_score", "diversity"]
    if args.exact:
        draw_curve(evaluation.history, ["total_variation", "log_z_error"], args.out / "exact.png")
    if args.threshold is not None:
        panels.append("modes_found")
    draw_metrics(evaluation.history, panels, args.out / "curve.png")
    chosen = diverse_words(
        dag, best.tracker.states, apart=args.apart, metric=args.metric, k=args.n_best
    )
    write_csv(chosen, args.out / "best.csv")
    write_fasta(chosen, args.out / "best.fasta")
    # Those of the last evaluation again, whose rewards need not be asked for.
    samples = sample(dag, as_policy(model), args.evaluation_samples).states
    draw_logo(dag, samples, args.out / "logo.png", f"{len(samples):,} words of the sampler")
    print_summary(args, evaluation)
    last = evaluation.history[-1]
    if "modes_found" in last:
        print(f"{last['modes_found']:.0f} modes of score {args.threshold} or more found while "
              "training")  # fmt: skip
    if "reward_calls" in last:
        print(f"the reward was asked for {last['reward_calls']:.0f} words")
    print(f"the best {len(chosen)} words unlike each other: {args.out / 'best.fasta'}, .csv")


def write_csv(found: Found, path: Path) -> None:
    """Write word, score and log R, best first."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["word", "score", "log_reward"])
        writer.writerows(zip(found.words, found.scores, found.log_reward, strict=True))


def write_fasta(found: Found, path: Path) -> None:
    """Write the words in FASTA, best first, with their scores in the headers."""
    with path.open("w") as file:
        for rank, (word, score) in enumerate(zip(found.words, found.scores, strict=True), start=1):
            file.write(f">word_{rank} score={score:.6g}\n")
            file.write("\n".join(textwrap.wrap(word, 60)) + "\n")


def sample_run(args: Sample) -> None:
    if args.trusted:
        find_function(args.model.parent)
    model = load_run(args.model, args.trusted)
    samples = sample_model(model, args, Sequence)
    dag = model.dag
    assert isinstance(dag, Sequence)
    scores = scores_of(dag, samples.states)
    objects = list(zip(dag.format(samples.states), scores.tolist(), strict=True))
    write_samples(args.out, ["word", "score"], objects, samples)
    found = top_words(dag, samples.states)
    write_fasta(found, args.out.with_suffix(".fasta"))
    print(f"wrote {args.n} samples to {args.out} and the {len(found)} different ones to "
          f"{args.out.with_suffix('.fasta')}; mean score {scores.mean():.3f}, "
          f"diversity {diversity(dag, found.states[:100]):.3f}")  # fmt: skip


if __name__ == "__main__":
    run_command(Train, train, sample_run)
