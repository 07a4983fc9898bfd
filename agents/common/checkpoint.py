"""Checkpoints: everything that a killed training needs to go on as if nothing had happened."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import random
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback

from .files import replaced, require_writable
from .frequency import Frequency
from .vec_env import GFNVecEnv

Self = TypeVar("Self", bound="Resumable")


class Resumable(BaseAlgorithm):
    """Adds checkpoints to an algorithm with a ``replay_buffer`` and a policy with a generator.

    ``save`` and ``load`` keep SB3's meaning: a model to predict with, or to train anew. A
    checkpoint goes further: networks, target and optimiser, replay with priorities, episodes in
    flight, counters and totals, every generator, and the callbacks' state.
    """

    policy: Any
    replay_buffer: Any
    mdp: Any
    observation: str
    _metrics: dict[str, list[float]]
    _resumed = False  # learn() shall go on to the original total
    _callback: BaseCallback | None = None
    _callback_states: Sequence[tuple[str, dict[str, Any]]] = ()

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint, to a temporary file that is renamed into place.

        Call it between rollouts (as :class:`TrainingCheckpoint` does), when every step taken is
        stored. A checkpoint is a pickle as SB3's models are: open only your own.

        Raises:
            OSError: it could not be written; an earlier checkpoint at ``path`` is untouched.
        """
        if not (getattr(self, "_total_timesteps", 0) or getattr(self, "_total_trajectories", 0)):
            raise ValueError("there is no training to checkpoint yet: call learn(), or save()")
        with replaced(path, "checkpoint") as file:
            self._write_checkpoint(file)

    @classmethod
    def resume(
        cls: type[Self], path: str | os.PathLike[str], device: th.device | str = "auto"
    ) -> Self:
        """Load a checkpoint; ``.learn()`` then goes on to the original total.

        Pass the same callbacks to ``learn`` again: their states are taken from the checkpoint.

        Raises:
            ValueError: the file is no checkpoint, or one of another algorithm.
        """
        if Path(path).exists() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no checkpoint")
        with zipfile.ZipFile(path) as archive:
            if "state.pkl" not in archive.namelist():
                raise ValueError(f"{path} is no checkpoint: use load() for what save() wrote")
            try:
                model = cls.load(io.BytesIO(archive.read("model.zip")), device=device)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            with archive.open("state.pkl") as file:
                state = pickle.load(file)
        env = GFNVecEnv(model.mdp, model.n_envs, model.observation)
        env.load_state_dict(state["env"])
        model.env = env
        model.replay_buffer.load_state_dict(state["replay_buffer"])
        model._callback_states = state["callbacks"]
        model._metrics.update(state["metrics"])
        model._resumed = True
        _set_generators(model, state["generators"])
        return model

    def _write_checkpoint(self, file: Any) -> None:
        assert isinstance(self.env, GFNVecEnv)
        model = io.BytesIO()
        self.save(model)
        state = {
            "env": self.env.state_dict(),
            "replay_buffer": self.replay_buffer.state_dict(),
            "callbacks": self._states_of_callbacks(),
            "generators": _generators(self),
            "metrics": dict(self._metrics),  # of which the next line of the log is the mean
        }
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model.zip", model.getvalue())
            with archive.open("state.pkl", "w", force_zip64=True) as entry:
                pickle.dump(state, entry, protocol=5)

    def _restore_callbacks(self, callback: BaseCallback) -> None:
        """Remember the callbacks for checkpoints, and give them their state after a resume."""
        states = list(self._callback_states) if self._resumed else []
        for member in _walk(callback):
            for entry in states:
                if entry[0] == type(member).__name__:
                    _load_state(member, entry[1])
                    states.remove(entry)
                    break
        self._callback, self._resumed = callback, False

    def _release_callbacks(self) -> None:
        """Keep the callbacks' states only: their locals would keep this model from being copied."""
        self._callback_states = self._states_of_callbacks()
        self._callback = None

    def _states_of_callbacks(self) -> Sequence[tuple[str, dict[str, Any]]]:
        if self._callback is None:
            return self._callback_states
        return [(type(member).__name__, _state_of(member)) for member in _walk(self._callback)]

    def _excluded_save_params(self) -> list[str]:
        ours = ["_callback", "_callback_states", "_resumed", "_metrics"]
        return [*super()._excluded_save_params(), *ours]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


class TrainingCheckpoint(BaseCallback):
    """Writes a checkpoint every so often, between rollouts, for :meth:`Resumable.resume`.

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
        if not isinstance(self.model, Resumable):
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
        assert isinstance(self.model, Resumable)
        try:
            self.model.save_checkpoint(self.path)
        except OSError as error:
            if self.on_error == "raise":
                raise
            self.logger.warn(f"{error}; training goes on")

    def state_dict(self) -> dict[str, Any]:
        return self.frequency.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.frequency.load_state_dict(state)


# ---- generators ---------------------------------------------------------------------------------


def _generators(model: Resumable) -> dict[str, Any]:
    return {
        "policy": model.policy.generator.bit_generator.state,
        "replay": model.replay_buffer.generator.bit_generator.state,
        "torch": th.get_rng_state(),  # dropout draws from torch's global generator
        "numpy": np.random.get_state(),  # noqa: NPY002 - SB3 seeds and uses the global ones
        "python": random.getstate(),
    }


def _set_generators(model: Resumable, states: dict[str, Any]) -> None:
    model.policy.generator.bit_generator.state = states["policy"]
    model.replay_buffer.generator.bit_generator.state = states["replay"]
    th.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])


# ---- callbacks ----------------------------------------------------------------------------------


def _walk(callback: BaseCallback | None) -> Iterator[BaseCallback]:
    """A callback and all that lie inside it."""
    if callback is None:
        return
    yield callback
    inside = callback.callbacks if isinstance(callback, CallbackList) else []
    if isinstance(callback, EventCallback) and callback.callback is not None:
        inside = [callback.callback]
    for member in inside:
        yield from _walk(member)


def _state_of(callback: BaseCallback) -> dict[str, Any]:
    """A callback's own ``state_dict``, else its counters and results.

    Those are numbers, arrays and lists that are no constructor argument: an argument, such as a
    frequency or a path, is for the user to change between runs.
    """
    counters = {"n_calls": callback.n_calls, "num_timesteps": callback.num_timesteps}
    if hasattr(callback, "state_dict"):
        return {"own": callback.state_dict(), "counters": counters}
    arguments = inspect.signature(type(callback).__init__).parameters
    kinds = (int, float, np.number, np.ndarray, list)
    found = {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, kinds) and name not in arguments and _plain(value)
    }
    return {"own": None, "counters": {**found, **counters}}


def _plain(value: Any) -> bool:
    """Whether a value is numbers all the way down; a list of callbacks or environments is not."""
    if isinstance(value, list):
        return all(
            isinstance(item, (int, float, str, np.number, np.ndarray, list)) for item in value
        )
    return True


def _load_state(callback: BaseCallback, state: dict[str, Any]) -> None:
    vars(callback).update(state["counters"])
    if state["own"] is not None:
        callback.load_state_dict(state["own"])  # type: ignore[attr-defined]
