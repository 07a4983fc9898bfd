"""Checkpoints: everything that a killed training needs to go on as if nothing had happened."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from ..vec_env import GFNVecEnv
from .atomic_files import replaced, require_writable
from .callback_states import CallbackStates
from .frequency import Frequency

if TYPE_CHECKING:
    from ..base import GFNAlgorithm

Model = TypeVar("Model", bound="GFNAlgorithm")


def write_checkpoint(model: GFNAlgorithm, path: str | os.PathLike[str]) -> None:
    """See :meth:`GFNAlgorithm.save_checkpoint`.

    ``save`` and ``load`` keep SB3's meaning: a model to predict with, or to train anew. A
    checkpoint goes further: networks, target and optimizer, replay with priorities, episodes in
    flight, counters and totals, every generator, and the callbacks' state.
    """
    if not (getattr(model, "_total_timesteps", 0) or model._total_trajectories):
        raise ValueError("there is no training to checkpoint yet: call learn(), or save()")
    saved = io.BytesIO()
    with replaced(path, "checkpoint") as file:
        model.save(saved)
        state = {
            "env": model.env.state_dict(),
            "replay_buffer": model.replay_buffer.state_dict(),
            "callbacks": model._callback_states.current(),
            "generators": _generators(model),
            "metrics": dict(model._metrics),  # the next line of the log is their mean
        }
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model.zip", saved.getvalue())
            with archive.open("state.pkl", "w", force_zip64=True) as entry:
                pickle.dump(state, entry, protocol=5)


def read_checkpoint(
    algorithm: type[Model], path: str | os.PathLike[str], device: th.device | str
) -> Model:
    """See :meth:`GFNAlgorithm.resume`."""
    if Path(path).exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a checkpoint")
    with zipfile.ZipFile(path) as archive:
        if "state.pkl" not in archive.namelist():
            raise ValueError(f"{path} is not a checkpoint: use load() for what save() wrote")
        try:
            model = algorithm.load(io.BytesIO(archive.read("model.zip")), device=device)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        with archive.open("state.pkl") as file:
            state = pickle.load(file)
    env = GFNVecEnv(model.mdp, model.n_envs, model.observation)
    env.load_state_dict(state["env"])
    model.env = env
    model.replay_buffer.load_state_dict(state["replay_buffer"])
    model._callback_states = CallbackStates(state["callbacks"])
    model._metrics.update(state["metrics"])
    model._resumed = True
    _set_generators(model, state["generators"])
    return model


class TrainingCheckpoint(BaseCallback):
    """Writes a checkpoint every so often, between rollouts, for :meth:`GFNAlgorithm.resume`.

    Args:
        path: the file; each checkpoint takes the place of the last.
        save_freq: (number, "episode") trajectories, or a number of environment steps.
        on_error: "raise" an OSError when a checkpoint cannot be written, or "warn" and go on
            training; the previous checkpoint survives either way.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: int | tuple[int, str] = (10_000, "episode"),
        on_error: str = "raise",
    ):
        super().__init__()
        if on_error not in ("raise", "warn"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'warn'")
        self.path = Path(path)
        self.on_error = on_error
        self.frequency = Frequency(save_freq, "save_freq")

    def _init_callback(self) -> None:
        if not hasattr(self.model, "save_checkpoint"):
            raise TypeError(f"{type(self.model).__name__} cannot be resumed from a checkpoint")
        require_writable(self.path, "checkpoints")

    def _on_rollout_start(self) -> None:
        if self.frequency.due(self.model):
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        model: Any = self.model
        try:
            model.save_checkpoint(self.path)
        except OSError as error:
            if self.on_error == "raise":
                raise
            self.logger.warn(f"{error}; training goes on")

    def state_dict(self) -> dict[str, Any]:
        return self.frequency.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.frequency.load_state_dict(state)


# ---- generators ---------------------------------------------------------------------------------


def _generators(model: GFNAlgorithm) -> dict[str, Any]:
    return {
        "policy": model.policy.generator.bit_generator.state,
        "replay": model.replay_buffer.generator.bit_generator.state,
        "torch": th.get_rng_state(),  # dropout draws from torch's global generator
        "numpy": np.random.get_state(),  # noqa: NPY002 - SB3 seeds and uses the global ones
        "python": random.getstate(),
    }


def _set_generators(model: GFNAlgorithm, states: dict[str, Any]) -> None:
    model.policy.generator.bit_generator.state = states["policy"]
    model.replay_buffer.generator.bit_generator.state = states["replay"]
    th.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
