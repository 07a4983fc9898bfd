"""Settings searched by Ray Tune: exact total variation is the metric, our checkpoints the trials'.

    python examples/tune.py --out runs/tune
    python examples/tune.py --env gfn_gym:BitSequenceGFN-v0 --env-kwargs '{"n": 12, "k": 3}'

Trials draw a preset and a learning rate; bad ones are stopped early (ASHA, arXiv:1810.05934). The
search runs on the cluster that RAY_ADDRESS names, else on this machine, with a CPU a trial. Run
again with the same folder, it goes on: finished trials stay, others resume from their checkpoints,
as they do when a node is lost.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym.agents import SoftDQN, exact_metrics
from gfn_gym.ray_cluster import connected


@dataclass(kw_only=True)
class Options:
    """What is searched."""

    env: str = "gfn_gym:HypergridGFN-v0"
    """The environment's id; its DAG must be small enough to be enumerated."""
    env_kwargs: str = '{"ndim": 2, "height": 16}'
    """Its arguments, as JSON."""
    presets: tuple[str, ...] = ("fast", "paper")
    """Presets to choose from."""
    samples: int = 8
    """Trials."""
    trajectories: int = 20_000
    """Of a trial that is not stopped."""
    evaluations: int = 10
    """How often a trial is evaluated, checkpointed and compared with the others."""
    out: Path = Path("runs/tune")
    """The folder; on a cluster, one that all nodes see."""


class Report(BaseCallback):
    """Tells Tune the exact total variation every so often, and hands over a checkpoint."""

    def __init__(self, every: int):
        super().__init__()
        self.every = every
        self.next = every  # a counter, which the checkpoint keeps

    def _on_rollout_start(self) -> None:
        if self.model._episode_num >= self.next:
            self._report()

    def _on_training_end(self) -> None:
        self._report()

    def _on_step(self) -> bool:
        return True

    def _report(self) -> None:
        model: Any = self.model
        self.next += self.every
        metrics = exact_metrics(model)(model.policy.log_probs)
        metrics["trajectories"] = model._episode_num
        with tempfile.TemporaryDirectory() as folder:
            model.save_checkpoint(Path(folder) / "checkpoint.zip")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def trial(config: dict[str, Any]) -> None:
    """Train with one choice of settings, from the trial's checkpoint if it has one."""
    torch.set_num_threads(1)
    report, checkpoint = Report(config["trajectories"] // config["evaluations"]), None
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        model = SoftDQN(
            "auto", gymnasium.make(config["env"], **config["env_kwargs"]),
            preset=config["preset"], learning_rate=config["learning_rate"], seed=config["seed"],
        )  # fmt: skip
        model.learn(total_trajectories=config["trajectories"], callback=report)
    else:
        with checkpoint.as_directory() as folder:
            model = SoftDQN.resume(Path(folder) / "checkpoint.zip")
        model.learn(callback=report)


def main(options: Options) -> tune.ResultGrid:
    connected()
    space = {
        "preset": tune.choice(options.presets),
        "learning_rate": tune.loguniform(1e-4, 1e-2),
        "seed": 0,
        "env": options.env,
        "env_kwargs": json.loads(options.env_kwargs),
        "trajectories": options.trajectories,
        "evaluations": options.evaluations,
    }
    path = str(options.out.resolve())
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(path, trial, resume_unfinished=True, restart_errored=False)
    else:
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="total_variation",
                mode="min",
                num_samples=options.samples,
                scheduler=ASHAScheduler(
                    time_attr="trajectories",
                    max_t=options.trajectories,
                    grace_period=max(1, options.trajectories // 4),
                ),
            ),
            run_config=tune.RunConfig(
                name=options.out.name,
                storage_path=str(options.out.resolve().parent),
                failure_config=tune.FailureConfig(max_failures=3),  # a lost node is no verdict
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
        )
    results = tuner.fit()
    best = results.get_best_result("total_variation", "min")
    assert best.config is not None and best.metrics is not None
    print({name: best.config[name] for name in ("preset", "learning_rate")})
    print(f"exact total variation: {best.metrics['total_variation']:.4f}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
