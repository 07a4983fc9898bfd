"""Evaluation while training: exact where the DAG can be enumerated."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from gfn_gym.arguments import flag
from gfn_gym.dag import DAG
from gfn_gym.evaluation import Policy, elbo, evaluate_exact, initial_log_flow, sample
from gfn_gym.graph import enumerate_graph

from ..evaluation import as_policy, backward_policy_of, dag_of
from .archive import run_of
from .atomic_files import replaced, require_writable
from .frequency import Frequency

Metrics = Callable[[Policy], dict[str, float]]


class EvaluationCallback(BaseCallback):
    """Evaluates the policy every so often, logs ``eval/…`` and keeps the best model.

    Logged by default, exactly, by :func:`gfn_gym.evaluation.evaluate_exact`:
    ``eval/total_variation``, ``eval/kl``, ``eval/reverse_kl``, ``eval/jensen_shannon``,
    ``eval/log_z`` and ``eval/log_z_error``. Works with any algorithm that :func:`as_policy` knows.
    It runs between rollouts and draws no random number, so it changes nothing in the training.

    Args:
        eval_freq: (number, "episode") trajectories, or a number of environment steps.
        metrics: a function from policy to numbers by name; None: the exact ones above.
        best_model_save_path: a folder for ``best_model.zip``; None: don't keep it.
        monitor: the metric by which the best model is chosen.
        monitor_mode: whether its least ("min") or its largest ("max") value is best.
        max_states: refuse to enumerate DAGs with more states.
        overwrite: whether ``best_model.zip`` may be another run's; otherwise that is refused
            before the training begins. The run that was resumed is the same run.
        dag: whose objects are judged; None: that of the model or of its environment. Needed where
            the environment lives in other processes.

    Attributes:
        history: one dict an evaluation: timesteps, trajectories, cpu_seconds of training (this
            process's, evaluation left out), and the metrics.
        best: the best value of ``monitor`` so far; None before the first.

    History and best start anew with another DAG, and when counting does.
    """

    def __init__(
        self,
        eval_freq: int | tuple[int, str],
        metrics: Metrics | None = None,
        best_model_save_path: str | os.PathLike[str] | None = None,
        monitor: str = "total_variation",
        monitor_mode: str = "min",
        max_states: int = 1_000_000,
        verbose: int = 0,
        overwrite: bool = False,
        dag: DAG | None = None,
    ):
        super().__init__(verbose)
        if monitor_mode not in ("min", "max"):
            raise ValueError(f"monitor_mode={monitor_mode!r} must be 'min' or 'max'")
        self.frequency = Frequency(eval_freq, "eval_freq")
        self.metrics = metrics
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self.max_states = max_states
        self.save_path = None if best_model_save_path is None else Path(best_model_save_path)
        self.overwrite = flag("overwrite", overwrite)
        self._wrote = False  # best_model.zip is ours
        self.dag = dag
        self._dag: DAG | None = None
        self._clock = 0.0
        self._forget()

    def _forget(self) -> None:
        self.history: list[dict[str, float]] = []
        self.best: float | None = None
        self._cpu = 0.0  # seconds of training up to the clock's last start

    def _init_callback(self) -> None:
        self.frequency.count(self.model)  # a unit that the algorithm cannot count shows here
        if self.save_path is not None:
            require_writable(self.save_path / "best_model.zip", "the best model")
        dag = dag_of(self.model) if self.dag is None else self.dag
        as_policy(self.model, self.dag)  # what cannot be evaluated shows here
        if dag is not self._dag:  # another target than before: what was best is so no longer
            self._dag = dag
            self._forget()
            self._metrics = self.metrics or exact_metrics(self.model, self.max_states, dag)

    def _on_training_start(self) -> None:
        self._refuse_another_runs()
        self._clock = time.process_time()
        if self.history and self.model.num_timesteps < self.history[-1]["timesteps"]:
            self._forget()  # counting has started anew
        if not self.history:
            self._evaluate()

    def _refuse_another_runs(self) -> None:
        """Raise an error where the best model is another run's, which may be better than ours."""
        if self.save_path is None or self._wrote or self.overwrite:
            return
        path, run = self.save_path / "best_model.zip", getattr(self.model, "run", None)
        resumed = self.best is not None and run is not None and run_of(path) == run
        if path.exists() and not resumed:
            raise FileExistsError(
                17,
                "an earlier run's best model is there: choose another best_model_save_path, or "
                "pass overwrite=True to replace it",
                str(path),
            )

    def _on_rollout_start(self) -> None:
        if self.frequency.due(self.model):
            self._evaluate_once()

    def _on_training_end(self) -> None:
        self._evaluate_once()

    def _on_step(self) -> bool:
        return True

    def _evaluate_once(self) -> None:
        """Evaluate, unless it was done at this very step, at the end of an earlier learn()."""
        if self.history[-1]["timesteps"] != self.model.num_timesteps:
            self._evaluate()

    def _evaluate(self) -> None:
        self._cpu += time.process_time() - self._clock
        values = self._metrics(as_policy(self.model, self.dag))
        if self.monitor not in values:
            raise ValueError(f"monitor={self.monitor!r} is not among {sorted(values)}")
        counts: dict[str, float] = {"timesteps": self.model.num_timesteps}
        if not isinstance(self.model, OnPolicyAlgorithm):  # those don't count episodes
            counts["trajectories"] = self.model._episode_num
        counts["cpu_seconds"] = round(self._cpu, 3)
        self.history.append({**counts, **values})
        for name, value in values.items():
            self.logger.record(f"eval/{name}", value)
        self.logger.dump(self.model.num_timesteps)
        value, best = values[self.monitor], self.best
        better = best is None or (value < best if self.monitor_mode == "min" else value > best)
        if better and not math.isnan(value):  # than NaN nothing would ever be better
            self.best = value
            if self.save_path is not None:
                with replaced(self.save_path / "best_model.zip", "best model") as file:
                    self.model.save(file)
                self._wrote = True
        self._clock = time.process_time()

    def state_dict(self) -> dict[str, Any]:
        cpu = self._cpu + time.process_time() - self._clock
        return {
            "history": self.history,
            "best": self.best,
            "cpu": cpu,
            "frequency": self.frequency.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.best, self._cpu = state["history"], state["best"], state["cpu"]
        self.frequency.load_state_dict(state["frequency"])


def exact_metrics(
    model: BaseAlgorithm, max_states: int = 1_000_000, dag: DAG | None = None
) -> Metrics:
    """Enumerate a DAG once, and return the exact metrics as a function of a policy.

    ``dag`` is by default the model's.
    """
    graph = enumerate_graph(dag_of(model) if dag is None else dag, max_states)
    return lambda policy: evaluate_exact(graph, policy)


def sampled_metrics(
    model: BaseAlgorithm, n: int = 2048, seed: int = 0, dag: DAG | None = None
) -> Metrics:
    """Metrics for DAGs of any size, from ``n`` sampled trajectories, the same seed every time.

    ``elbo`` is a lower bound of log Z, E[log R + log P_B − log P_F], by the P_B that the model
    was trained with. Where log Z is known, the
    ``elbo_gap`` up to it is the divergence KL(policy's trajectories ‖ R/Z and then P_B), zero
    for a perfect sampler; ``log_z_error`` is V(s0) − log Z.
    ``dag`` is by default the model's.
    """
    dag = dag_of(model) if dag is None else dag

    def metrics(policy: Policy) -> dict[str, float]:
        backward_policy = backward_policy_of(model)
        bound = elbo(sample(dag, policy, n, seed, backward_policy=backward_policy))
        values, log_z = {"elbo": bound}, dag.log_partition()
        learnt = initial_log_flow(dag, policy)
        if learnt is not None:
            values["log_z"] = learnt
        if log_z is not None:
            values["elbo_gap"] = log_z - bound
            if learnt is not None:
                values["log_z_error"] = learnt - log_z
        return values

    return metrics
