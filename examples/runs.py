"""Shared by the examples: options, a folder per run, resuming, the curve, samples as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import gymnasium
import torch
import tyro
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

import gfn_gym
from gfn_gym import DAG
from gfn_gym.agents import (
    DetailedBalance,
    EntropicPPO,
    EvaluationCallback,
    FlowMatching,
    GFNAlgorithm,
    MunchausenDQN,
    SoftActorCritic,
    SoftDQN,
    SubTrajectoryBalance,
    TrainingCheckpoint,
    TrajectoryBalance,
    as_policy,
)
from gfn_gym.agents.training.archive import SavedFileError
from gfn_gym.evaluation import Samples, sample

AGENTS: dict[str, type[GFNAlgorithm]] = {
    "munchausen": MunchausenDQN,
    "soft": SoftDQN,
    "sac": SoftActorCritic,
    "flow_matching": FlowMatching,
    "tb": TrajectoryBalance,
    "db": DetailedBalance,
    "subtb": SubTrajectoryBalance,
    "ppo": EntropicPPO,
}
FAST = ("munchausen", "soft")  # these have the preset of this name
ENUMERABLE = 1_000_000  # states; larger DAGs are evaluated by sampling


@dataclass(kw_only=True)
class Options:
    """Options for training in any domain."""

    agent: Literal["munchausen", "soft", "sac", "flow_matching", "tb", "db", "subtb", "ppo"] = (
        "munchausen"
    )
    """The algorithm: Munchausen DQN, SoftDQN, …; docs/algorithms.md explains them."""
    preset: Literal["fast", "paper"] | None = None
    """Settings from gfn_gym.agents.presets; by default fast for the first two, otherwise paper."""
    learnt_backward: bool = False
    """Learn P_B instead of using a uniform one; not with flow_matching, which has none."""
    trajectories: int
    """Trajectories to train on."""
    evaluations: int = 20
    """Number of evaluations during training, for the curve."""
    n_envs: int | None = None
    """Environments stepped together, instead of the preset's number."""
    learning_rate: float | None = None
    """A constant learning rate instead of the preset's."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Threads for torch; one is fastest for networks this small, and exactly reproducible."""
    out: Path
    """The folder to write to."""
    resume: bool = False
    """Continue from the folder's checkpoint, with the settings in its config.json."""
    overwrite: bool = False
    """Replace the run that is in the folder; otherwise that is refused."""
    trusted: bool = False
    """With --resume: run the code in the checkpoint, which a reward function of your own is."""

    def __post_init__(self) -> None:
        check_counts(self, "trajectories", "evaluations", "threads")

    @property
    def every(self) -> tuple[int, str]:
        """How often to evaluate and to write a checkpoint."""
        return max(1, self.trajectories // self.evaluations), "episode"

    @property
    def agent_kwargs(self) -> dict[str, Any]:
        """The agent's arguments that were given on the command line."""
        given = {"n_envs": self.n_envs, "learning_rate": self.learning_rate}
        given["learnt_backward"] = self.learnt_backward or None
        return {name: value for name, value in given.items() if value is not None}


@dataclass
class Sample:
    """Sample from a trained model, as CSV: the object, log R, log P_F, log P_B, length."""

    model: Path
    """The model.zip of a run."""
    n: int = 1000
    """Number of samples."""
    out: Path = Path("samples.csv")
    """The CSV file."""
    seed: int = 0
    """Seed of the sampling."""
    trusted: bool = False
    """Run the code in the model, which a reward function of your own is."""

    def __post_init__(self) -> None:
        check_counts(self, "n")


def check_seconds(options: Any) -> None:
    """Leave with a sentence where ``seconds`` is not above 0, before any work is done."""
    seconds = options.seconds
    if not seconds > 0:
        raise SystemExit(f"--seconds {seconds} must be above 0")


def check_counts(options: object, *names: str) -> None:
    """Leave with a sentence where one of these options is below 1, before any work is done."""
    for name in names:
        if getattr(options, name) < 1:
            option = name.replace("_", "-")
            raise SystemExit(f"--{option} {getattr(options, name)} must be at least 1")


Chosen = TypeVar("Chosen", bound=Options)
RUN_FILES = ("config.json", "checkpoint.zip", "best_model.zip", "model.zip")


def start_or_resume(
    args: Chosen, new_model: Callable[[Chosen], GFNAlgorithm]
) -> tuple[Chosen, GFNAlgorithm]:
    """Return the settings and the model: new, or from the folder's config and checkpoint.

    Raises:
        SystemExit: the folder holds a run, and is neither to be resumed nor to be replaced.
    """
    torch.set_num_threads(args.threads)
    config = args.out / "config.json"
    if args.resume:
        saved = json.loads(config.read_text())
        given = {"out": args.out, "resume": True, "trusted": args.trusted}
        args = type(args)(**{**saved, **given})
        checkpoint = args.out / "checkpoint.zip"
        with readable():
            return args, AGENTS[args.agent].resume(checkpoint, trusted=args.trusted)
    found = [name for name in RUN_FILES if (args.out / name).exists()]
    if found and not args.overwrite:
        raise SystemExit(
            f"{args.out} holds a run ({', '.join(found)}): continue it with --resume, replace it "
            "with --overwrite, or choose another --out"
        )
    return args, new_model(args)


def make_agent(args: Options, policy: str, env: gymnasium.Env[Any, Any]) -> GFNAlgorithm:
    """A new agent with the given options."""
    algorithm: Any = AGENTS[args.agent]
    preset = args.preset or ("fast" if args.agent in FAST else "paper")
    agent: GFNAlgorithm = algorithm(
        policy, env, preset=preset, seed=args.seed, device="cpu", **args.agent_kwargs
    )
    return agent


def learn(
    args: Options,
    model: GFNAlgorithm,
    evaluation: EvaluationCallback,
    callbacks: Sequence[BaseCallback] = (),
) -> None:
    """Train to the end, writing checkpoints and curve.csv on the way and model.zip at the end."""
    model.set_logger(configure(str(args.out), ["tensorboard"]))
    checkpoint = TrainingCheckpoint(
        args.out / "checkpoint.zip", args.every, overwrite=args.overwrite
    )
    curve = CurveFile(evaluation, args.out / "curve.csv")
    model.learn(
        total_trajectories=None if args.resume else args.trajectories,
        callback=[NewRun(args), *callbacks, evaluation, curve, checkpoint],
        progress_bar=True,
    )
    model.save(args.out / "model.zip")


class NewRun(BaseCallback):
    """Writes a new run's config.json, over an earlier run, when training begins and not before."""

    def __init__(self, args: Options):
        super().__init__()
        self.args = args

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        if self.args.resume:
            return
        folder = self.args.out
        for name in RUN_FILES:  # --resume must not take an earlier run's for ours
            (folder / name).unlink(missing_ok=True)
        config = {**asdict(self.args), "out": str(folder), "overwrite": False, "trusted": False}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


class CurveFile(BaseCallback):
    """Keeps a CSV of an evaluation's history up to date, so that a killed run keeps its curve."""

    def __init__(self, evaluation: EvaluationCallback, path: Path):
        super().__init__()
        self.evaluation, self.path, self._rows = evaluation, path, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if len(self.evaluation.history) != self._rows:
            self._rows = len(self.evaluation.history)
            write_curve(self.path, self.evaluation.history)

    _on_training_end = _on_rollout_start


def write_curve(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def print_summary(args: Options, evaluation: EvaluationCallback) -> None:
    """Print where the files are, and the metric before and after."""
    history, metric = evaluation.history, evaluation.monitor
    print(f"wrote {args.out}/: " + ", ".join(sorted(p.name for p in args.out.iterdir())))
    print(f"trained on {history[-1]['trajectories']} trajectories, "
          f"{history[-1]['cpu_seconds']:.1f} CPU seconds without evaluation")  # fmt: skip
    name = metric.replace("_", " ")
    print(f"{name} before: {history[0][metric]:.4f}")
    print(f"{name} after: {history[-1][metric]:.4f}")


@contextmanager
def readable() -> Iterator[None]:
    """Leave with a sentence where a file is damaged, or holds code and is not trusted."""
    try:
        yield
    except SavedFileError as error:
        hint = " (here: --trusted)" if "trusted=" in str(error) else ""
        raise SystemExit(f"{error}{hint}") from error


def load_run(model: Path, trusted: bool = False) -> GFNAlgorithm:
    """Load the model.zip of a run, with the algorithm named in its config.json."""
    path = model.parent / "config.json"
    try:
        agent = json.loads(path.read_text())["agent"]
        algorithm = AGENTS[agent]
    except FileNotFoundError:
        raise SystemExit(f"{path} is not there: it tells which algorithm {model} is of") from None
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise SystemExit(
            f'{path} is damaged: it must be JSON with an "agent" of {sorted(AGENTS)}; '
            f"{type(error).__name__}: {error}"
        ) from None
    with readable():
        return algorithm.load(model, device="cpu", trusted=trusted)


def sample_model(model: GFNAlgorithm, args: Sample, kind: type[DAG]) -> Samples:
    """Sample from a model's policy, with log P_B under the P_B it was trained with.

    The model must be of this example's ``kind`` of DAG.
    """
    if not isinstance(model.dag, kind):
        raise SystemExit(
            f"{args.model} was trained on {model.dag!r}; this example samples from {kind.__name__}"
        )
    return sample(
        model.dag, as_policy(model), args.n, args.seed, backward_policy=model.backward_policy
    )


def write_samples(
    path: Path, columns: Sequence[str], objects: Sequence[Sequence[object]], samples: Samples
) -> None:
    """Write one row per object: its columns, and the numbers of its trajectory."""
    numbers = (samples.log_reward, samples.log_forward, samples.log_backward, samples.lengths)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "log_reward", "log_forward", "log_backward", "length"])
        for cells, *row in zip(objects, *numbers, strict=True):
            writer.writerow([*cells, *row])


def run_command(
    options: type[Chosen], train: Callable[[Chosen], None], sample_run: Callable[[Sample], None]
) -> None:
    """Run the command line: ``train`` with the example's options, or ``sample``."""
    print(f"GFN Gym {gfn_gym.__version__}")
    chosen = tyro.extras.subcommand_cli_from_dict({"train": options, "sample": Sample})
    sample_run(chosen) if isinstance(chosen, Sample) else train(chosen)
